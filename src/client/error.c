#include "base/json.h"
#include "client/client.h"

#include <stdio.h>

/* The longest prefix of at most `max` bytes that does not cut a UTF-8 character. */
static size_t whole_chars(struct slice s, size_t max) {
    if (s.len <= max) {
        return s.len;
    }
    size_t n = max;
    while (n > 0 && ((unsigned char)s.ptr[n] & 0xC0) == 0x80) {
        n--;
    }
    return n;
}

void client_error_set_text(char out[CLIENT_MESSAGE_BYTES], struct slice text) {
    size_t n = whole_chars(text, CLIENT_MESSAGE_BYTES - 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)text.ptr[i];
        out[i] = ch < 0x20 || ch == 0x7F ? ' ' : text.ptr[i];
    }
    out[n] = '\0';
}

/* ["body", "messages", 0] is body.messages.0 */
static void add_loc(struct buf *out, yyjson_val *loc) {
    size_t i, n;
    yyjson_val *part;
    if (!yyjson_is_arr(loc) || yyjson_arr_size(loc) == 0) {
        return;
    }
    yyjson_arr_foreach(loc, i, n, part) {
        if (i > 0) {
            buf_addc(out, '.');
        }
        if (yyjson_is_str(part)) {
            buf_add(out, json_str(part));
        } else if (yyjson_is_uint(part)) {
            buf_u64(out, yyjson_get_uint(part));
        }
    }
    buf_puts(out, ": ");
}

static bool detail_list_text(yyjson_val *detail, struct buf *out) {
    yyjson_val *first = yyjson_arr_get_first(detail);
    yyjson_val *msg = json_get(first, "msg");
    if (!yyjson_is_str(msg)) {
        return false;
    }
    add_loc(out, json_get(first, "loc"));
    return buf_add(out, json_str(msg));
}

/* The server's own words, by the order in the header. */
static bool server_text(yyjson_val *root, struct buf *out) {
    yyjson_val *detail = json_get(root, "detail");
    if (yyjson_is_str(detail) && yyjson_get_len(detail) > 0) {
        return buf_add(out, json_str(detail));
    }
    if (yyjson_is_arr(detail) && detail_list_text(detail, out)) {
        return true;
    }
    yyjson_val *message = json_get(json_get(root, "error"), "message");
    if (!yyjson_is_str(message) || yyjson_get_len(message) == 0) {
        message = json_get(root, "message");
    }
    return yyjson_is_str(message) && yyjson_get_len(message) > 0 && buf_add(out, json_str(message));
}

static void set_type(fal_result *r, const struct client_reply *reply, yyjson_val *root) {
    yyjson_val *type = json_get(root, "error_type");
    if (!yyjson_is_str(type)) {
        type = json_get(yyjson_arr_get_first(json_get(root, "detail")), "type");
    }
    if (!yyjson_is_str(type)) {
        type = json_get(json_get(root, "error"), "type");
    }
    const char *text = yyjson_is_str(type) ? yyjson_get_str(type) : reply->error_type;
    snprintf(r->error_type, sizeof(r->error_type), "%s", text);
}

void client_error_read(fal_result *r, const struct client_reply *reply) {
    yyjson_val *root = yyjson_doc_get_root(r->doc);
    struct buf text;
    buf_init(&text, FAL_MAX_REPLY_BYTES);
    if (server_text(root, &text) && !text.failed) {
        client_error_set_text(r->message, buf_slice(&text));
    } else {
        /* {"status":"ALREADY_COMPLETED"} is all that a refused cancel says. */
        char line[CLIENT_MESSAGE_BYTES];
        struct slice word = json_str(json_get(root, "status"));
        snprintf(line, sizeof(line), "HTTP %d%s%.*s", reply->http_status, word.len > 0 ? " " : "",
                 (int)whole_chars(word, 100), word.len > 0 ? word.ptr : "");
        client_error_set_text(r->message, slice_of(line));
    }
    buf_free(&text);
    set_type(r, reply, root);
}
