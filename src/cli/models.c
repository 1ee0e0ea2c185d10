/* anyllm models: what can be asked. Of an anyllm server the ids for --model, from /v1/models; of fal its endpoints, from its
 * platform API. Neither is of libfal's API, so this file speaks HTTP itself. */
#include "cli/admin.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PLATFORM "https://api.fal.ai/v1"
#define PLATFORM_PAGE "100"
#define PLATFORM_PAGES 100 /* a server whose list never ends */
#define ANSWER_MAX_BYTES ((size_t)64 << 20)
#define CONNECT_TIMEOUT_MS 10000L
#define URL_MAX_BYTES 16384U

/* ---- Asking ---- */

static size_t take(char *bytes, size_t size, size_t count, void *user) {
    return buf_add(user, slice_make(bytes, size * count)) ? size * count : 0;
}

static struct curl_slist *make_headers(const struct cli_args *args) {
    char line[1024];
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
    if (headers != NULL && cli_authorization(args, line, sizeof(line))) {
        struct curl_slist *more = curl_slist_append(headers, line);
        if (more == NULL) {
            curl_slist_free_all(headers);
        }
        headers = more;
    }
    explicit_bzero(line, sizeof(line));
    return headers;
}

static CURLcode get(const struct cli_args *args, const char *url, struct buf *answer,
                    long *status) {
    CURL *e = curl_easy_init();
    struct curl_slist *headers = make_headers(args);
    const char *socket = cli_unix_socket(args);
    CURLcode rc = CURLE_OUT_OF_MEMORY;
    if (e != NULL && headers != NULL) {
        curl_easy_setopt(e, CURLOPT_URL, url);
        curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, socket);
        curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
        curl_easy_setopt(e, CURLOPT_USERAGENT, "anyllm/" ANYLLM_VERSION);
        curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)cli_timeout_ms(args));
        curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
        curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(e, CURLOPT_WRITEDATA, answer);
        if (cli_is_set("SSL_CERT_FILE")) {
            curl_easy_setopt(e, CURLOPT_CAINFO, getenv("SSL_CERT_FILE"));
        }
        if (cli_is_loopback(args)) {
            curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
        }
        rc = curl_easy_perform(e);
        curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, status);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(e);
    return rc;
}

static int no_answer(const struct cli_args *args, CURLcode rc) {
    if (rc == CURLE_COULDNT_CONNECT && cli_no_server(args)) {
        return CLI_TRANSPORT;
    }
    cli_usage_error(args->command, "%s: %s", args->base, curl_easy_strerror(rc));
    return rc == CURLE_OPERATION_TIMEDOUT ? CLI_TIMED_OUT : CLI_TRANSPORT;
}

static int refusal(const struct cli_args *args, yyjson_val *root, long status) {
    const char *text = yyjson_get_str(yyjson_obj_get(root, "detail"));
    if (text == NULL) {
        text = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(root, "error"), "message"));
    }
    fprintf(stderr, "anyllm %s: ", args->command);
    cli_print_text(stderr, text != NULL ? text : "the server refused", false);
    fprintf(stderr, " (HTTP %ld)%s\n", status, cli_key_hint(args, status));
    return CLI_FAILED;
}

/* The answer (yyjson_doc_free); NULL: said why, *code is the exit code. */
static yyjson_doc *ask(const struct cli_args *args, const char *url, int *code) {
    struct buf answer;
    long status = 0;
    buf_init(&answer, ANSWER_MAX_BYTES);
    CURLcode rc = get(args, url, &answer, &status);
    yyjson_doc *doc = rc == CURLE_OK ? yyjson_read(buf_slice(&answer).ptr, buf_len(&answer), 0)
                                     : NULL;
    buf_free(&answer);
    *code = CLI_DONE;
    if (rc != CURLE_OK) {
        *code = no_answer(args, rc);
    } else if (status / 100 != 2) {
        *code = refusal(args, yyjson_doc_get_root(doc), status);
    } else if (doc == NULL) {
        cli_usage_error(args->command, "%s: the answer is not JSON", args->base);
        *code = CLI_TRANSPORT;
    }
    if (*code != CLI_DONE) {
        yyjson_doc_free(doc);
        return NULL;
    }
    return doc;
}

/* ---- An anyllm server ---- */

/* Each word of the query stands in the id. */
static bool fits(const char *id, const char *query) {
    char word[256];
    for (const char *w = query != NULL ? query : ""; *w != '\0';) {
        size_t len = strcspn(w, " ");
        snprintf(word, sizeof(word), "%.*s", (int)(len < 255 ? len : 255), w);
        if (strcasestr(id, word) == NULL) {
            return false;
        }
        w += len + strspn(w + len, " ");
    }
    return true;
}

static int print_json(const struct cli_args *args, yyjson_mut_doc *doc) {
    char *text = doc != NULL ? yyjson_mut_write(doc, 0, NULL) : NULL;
    if (text == NULL) {
        cli_usage_error(args->command, "out of memory");
        return CLI_FAILED;
    }
    cli_print_json(text, true);
    free(text);
    return CLI_DONE;
}

static int print_ids(const struct cli_args *args, yyjson_doc *answer) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *fitting = yyjson_mut_arr(doc);
    yyjson_val *model;
    size_t i, n;
    int code = CLI_DONE;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(answer), "data"), i, n, model) {
        const char *id = yyjson_get_str(yyjson_obj_get(model, "id"));
        if (id == NULL || !fits(id, args->operand)) {
            continue;
        }
        yyjson_mut_arr_append(fitting, yyjson_val_mut_copy(doc, model));
        if (!args->json) {
            cli_print_text(stdout, id, false);
            putchar('\n');
        }
    }
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "object", "list");
    yyjson_mut_obj_add_val(doc, root, "data", fitting);
    if (args->json) {
        code = print_json(args, doc);
    } else if (yyjson_mut_arr_size(fitting) == 0) {
        cli_usage_error(args->command, "no model fits");
    }
    yyjson_mut_doc_free(doc);
    return code;
}

static int list_models(const struct cli_args *args, const char *base) {
    char url[URL_MAX_BYTES];
    int code;
    snprintf(url, sizeof(url), "%s/v1/models", base);
    yyjson_doc *answer = ask(args, url, &code);
    if (answer != NULL) {
        code = print_ids(args, answer);
    }
    yyjson_doc_free(answer);
    return code;
}

/* ---- fal ---- */

static void print_endpoints(yyjson_mut_val *models) {
    static const char *const heads[] = {"ENDPOINT", "CATEGORY", "NAME"};
    struct columns t;
    yyjson_mut_val *m;
    size_t i, n;
    columns_begin(&t, heads, sizeof(heads) / sizeof(heads[0]), 0);
    yyjson_mut_arr_foreach(models, i, n, m) {
        yyjson_mut_val *about = yyjson_mut_obj_get(m, "metadata");
        columns_add(&t, yyjson_mut_get_str(yyjson_mut_obj_get(m, "endpoint_id")));
        columns_add(&t, yyjson_mut_get_str(yyjson_mut_obj_get(about, "category")));
        columns_add(&t, yyjson_mut_get_str(yyjson_mut_obj_get(about, "display_name")));
    }
    columns_print(&t, stdout);
}

/* Adds one page to `models`; *cursor (from malloc) is the next one's, or NULL. */
static int add_page(const struct cli_args *args, yyjson_mut_doc *doc, yyjson_mut_val *models,
                    char **cursor) {
    const char *platform = cli_is_set("FAL_PLATFORM_URL") ? getenv("FAL_PLATFORM_URL") : PLATFORM;
    struct buf url;
    int code = CLI_USAGE;
    yyjson_doc *answer = NULL;
    yyjson_val *m;
    size_t i, n;
    buf_init(&url, URL_MAX_BYTES);
    buf_printf(&url, "%s/models", platform);
    admin_add_query(&url, "limit", PLATFORM_PAGE);
    admin_add_query(&url, "status", "active");
    admin_add_query(&url, "q", args->operand);
    admin_add_query(&url, "cursor", *cursor);
    free(*cursor);
    *cursor = NULL;
    if (buf_addc(&url, '\0')) {
        answer = ask(args, buf_slice(&url).ptr, &code);
    } else {
        cli_usage_error(args->command, "the query is too long");
    }
    yyjson_val *root = yyjson_doc_get_root(answer);
    yyjson_arr_foreach(yyjson_obj_get(root, "models"), i, n, m) {
        yyjson_mut_arr_append(models, yyjson_val_mut_copy(doc, m));
    }
    const char *next = yyjson_get_str(yyjson_obj_get(root, "next_cursor"));
    if (next != NULL && yyjson_is_true(yyjson_obj_get(root, "has_more"))) {
        *cursor = strdup(next);
    }
    yyjson_doc_free(answer);
    buf_free(&url);
    return code;
}

static int list_endpoints(const struct cli_args *args) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *models = yyjson_mut_arr(doc);
    char *cursor = NULL;
    int code = CLI_DONE;
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_val(doc, root, "models", models);
    for (int page = 0; code == CLI_DONE && (page == 0 || cursor != NULL) && page < PLATFORM_PAGES;
         page++) {
        code = add_page(args, doc, models, &cursor);
    }
    if (code == CLI_DONE && args->json) {
        code = print_json(args, doc);
    } else if (code == CLI_DONE) {
        print_endpoints(models);
    }
    free(cursor);
    yyjson_mut_doc_free(doc);
    return code;
}

/* libfal's client knows how the address is read: "…/queue" is under it. */
int cmd_models(int argc, char **argv) {
    struct cli_args args;
    char base[URL_MAX_BYTES / 2];
    int code;
    if (!cli_parse(argc, argv, CLI_MODELS, &args, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client == NULL) {
        return code;
    }
    const char *queue = fal_client_queue_url(client);
    snprintf(base, sizeof(base), "%.*s", (int)(strlen(queue) - strlen("/queue")), queue);
    code = strcmp(args.base, FAL_BASE_FAL) == 0 ? list_endpoints(&args) : list_models(&args, base);
    fal_client_free(client);
    int flushed = cli_flush(args.command);
    return code != CLI_DONE ? code : flushed;
}
