#include "client/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool header_or_null(const char *s) {
    return s == NULL ||
           (s[0] != '\0' && strlen(s) < CLIENT_URL_BYTES / 2 && client_text_is_header(s));
}

/* NULL when all is well, else what is not. */
static const char *check(const struct client_post_options *o) {
    if (o->start_timeout_s != 0.0 && !(o->start_timeout_s > 1.0 && o->start_timeout_s < 1e9)) {
        return "start_timeout_s must be more than 1";
    }
    if (!header_or_null(o->hint) || !header_or_null(o->priority)) {
        return "hint or priority is empty or holds characters that a header cannot";
    }
    if (o->webhook_url != NULL && strlen(o->webhook_url) >= CLIENT_URL_BYTES / 2) {
        return "webhook_url is too long";
    }
    return NULL;
}

static bool keep(char **out, const char *s) {
    *out = s != NULL ? slice_dup(slice_of(s)) : NULL;
    return s == NULL || *out != NULL;
}

static enum fal_code copy(struct client_post *p, const struct client_post_options *o,
                          const char **why) {
    const char *input = o->input_json;
    enum fal_code code = client_check_input(&input, why);
    if (code != FAL_OK) {
        return code;
    }
    *why = "a line of headers is no header";
    code = client_lines_add(&p->headers, o->headers, o->header_count);
    if (code != FAL_OK) {
        return code;
    }
    p->start_timeout_s = o->start_timeout_s;
    bool ok = keep(&p->input, input) && keep(&p->hint, o->hint) &&
              keep(&p->priority, o->priority) && keep(&p->webhook_url, o->webhook_url);
    return ok ? FAL_OK : FAL_ERR_MEMORY;
}

enum fal_code client_post_init(struct client_post *p, fal_client *c, const char *endpoint_id,
                               const struct client_post_options *o, const char **why) {
    p->client = c;
    buf_init(&p->headers, CLIENT_LINES_BYTES);
    *why = check(o);
    if (*why != NULL) {
        return FAL_ERR_ARGUMENT;
    }
    if (!client_endpoint_parse(endpoint_id, &p->endpoint)) {
        *why = "endpoint_id must be in the format owner/alias";
        return FAL_ERR_ARGUMENT;
    }
    enum fal_code code = copy(p, o, why);
    if (code == FAL_OK && o->lifecycle != NULL) {
        *why = "lifecycle makes no sense";
        code = client_lifecycle_json(o->lifecycle, &p->lifecycle);
    }
    if (code == FAL_OK && o->files != NULL) {
        code = client_inputs_new(c, o->files, p->input, &p->files, why);
    }
    if (code == FAL_ERR_MEMORY) {
        *why = fal_strerror(code);
    }
    return code;
}

void client_post_free(struct client_post *p) {
    if (p->files != NULL) {
        client_inputs_free(p->files);
    }
    free(p->input);
    free(p->hint);
    free(p->priority);
    free(p->webhook_url);
    free(p->lifecycle);
    buf_free(&p->headers);
    *p = (struct client_post){0};
}

static void files_are_there(enum fal_code code, char *input, void *owner) {
    struct client_post *p = owner;
    if (code == FAL_OK) {
        free(p->input);
        p->input = input;
        code = p->go(p->call);
    }
    if (code != FAL_OK) {
        client_call_fail_code(p->call,
                              code); /* the result says it already when the upload failed */
    }
}

enum fal_code client_post_begin(struct client_post *p, fal_call *call,
                                enum fal_code (*go)(fal_call *call)) {
    if (p->files == NULL) {
        return go(call);
    }
    p->go = go;
    p->call = call;
    return client_inputs_begin(p->files, call->result, call->deadline_ms, files_are_there, p);
}

/* Not with %g: the program's locale may write a decimal comma. */
static bool add_start_timeout(struct client_request *r, double seconds) {
    char text[40];
    int64_t ms = (int64_t)(seconds * 1000.0 + 0.5);
    if (ms == 0) {
        return true;
    }
    if (ms % 1000 == 0) {
        snprintf(text, sizeof(text), "%" PRId64, ms / 1000);
    } else {
        int n = snprintf(text, sizeof(text), "%" PRId64 ".%03" PRId64, ms / 1000, ms % 1000);
        while (text[n - 1] == '0') {
            text[--n] = '\0';
        }
    }
    return client_request_line(r, "x-fal-request-timeout", text);
}

bool client_post_fill(const struct client_post *p, struct client_request *r) {
    client_request_line(r, "x-fal-runner-hint", p->hint);
    client_request_line(r, "x-fal-object-lifecycle-preference", p->lifecycle);
    add_start_timeout(r, p->start_timeout_s);
    buf_add(&r->lines, buf_slice(&p->headers));
    r->body = slice_of(p->input);
    return !r->lines.failed;
}
