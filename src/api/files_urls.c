/* Addresses of files: how they begin, and which are ours. */
#include "api/files_room.h"

/* --- addresses */

void files_add_base(struct buf *b, const struct config *cfg, const struct reach *at) {
    struct slice host = at->host;
    if (cfg->public_url != NULL) {
        buf_printf(b, "%s/cdn", cfg->public_url);
        return;
    }
    if (host.len == 0) /* HTTP/1.0 may leave it out */
        host = slice_of(cfg->nlisten > 0 ? cfg->listen[0] : cfg->listen_tls[0]);
    buf_printf(b, "%s://%.*s/cdn", at->tls ? "https" : "http", SLICE_ARG(host));
}

/* What a client uploads goes past the proxy, straight to this address. */
void files_base(struct buf *b, struct call *c) {
    struct reach at = c->at;
    if (c->proxied) reach_of(&at, c->api->config, c->x);
    files_add_base(b, c->api->config, &at);
}

void files_address(struct buf *b, struct call *c, const char *id, const char *label,
                   const char *type) {
    char extension[FILE_EXTENSION_BYTES];
    file_extension(slice_of(label), slice_of(type), extension);
    files_base(b, c);
    buf_printf(b, "/files/b/%s%s", id, extension);
}

/* fal's own: v3.fal.media, v3b.fal.media and what may follow them. */
static bool is_fals_cdn(struct slice host) {
    return slice_eq_nocase(host, SLICE("fal.media")) ||
           (host.len > 10 && slice_eq_nocase(slice_from(host, host.len - 10), SLICE(".fal.media")));
}

bool files_own_url(const struct api *a, const struct reach *at, struct slice url,
                   struct slice *id) {
    struct slice rest, host, path = SLICE("/files/b/"), cdn = SLICE("/cdn/files/b/");
    url = slice_cut(slice_cut(url, '#', &rest), '?', &rest);
    if (slice_starts(url, SLICE("https://")))
        url = slice_from(url, 8);
    else if (slice_starts(url, SLICE("http://")))
        url = slice_from(url, 7);
    else
        return false;
    host = slice_cut(url, '/', &rest);
    url = slice_from(url, host.len);
    enum config_surface surface;
    bool by_name = is_fals_cdn(host) ||
                   (reach_host(a->config, host, &surface) && surface == SURFACE_CDN);
    if (slice_starts(url, cdn)) return file_id_read(slice_from(url, cdn.len), id);
    if (by_name && slice_starts(url, path)) return file_id_read(slice_from(url, path.len), id);
    /* public_url may have a path of its own */
    for (size_t i = 0; a->config->public_url != NULL && i + cdn.len <= url.len; i++)
        if (slice_starts(slice_from(url, i), cdn))
            return file_id_read(slice_from(url, i + cdn.len), id);
    return false;
}
