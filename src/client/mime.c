#include "client/mime.h"

#include <inttypes.h>

/* What models take and make. Weights (safetensors, gguf, …) have no type of their own and are left out on purpose. */
static const struct {
    const char *ending, *type;
} types[] = {
    {"aac", "audio/aac"},         {"aif", "audio/aiff"},
    {"aiff", "audio/aiff"},       {"apng", "image/apng"},
    {"avi", "video/x-msvideo"},   {"avif", "image/avif"},
    {"bmp", "image/bmp"},         {"c", "text/plain"},
    {"css", "text/css"},          {"csv", "text/csv"},
    {"flac", "audio/flac"},       {"gif", "image/gif"},
    {"glb", "model/gltf-binary"}, {"gltf", "model/gltf+json"},
    {"gz", "application/gzip"},   {"h", "text/plain"},
    {"heic", "image/heic"},       {"heif", "image/heif"},
    {"htm", "text/html"},         {"html", "text/html"},
    {"ico", "image/x-icon"},      {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},        {"js", "text/javascript"},
    {"json", "application/json"}, {"jsonl", "application/jsonl"},
    {"log", "text/plain"},        {"m4a", "audio/mp4"},
    {"m4v", "video/x-m4v"},       {"md", "text/markdown"},
    {"mjs", "text/javascript"},   {"mkv", "video/x-matroska"},
    {"mov", "video/quicktime"},   {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},         {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},        {"obj", "model/obj"},
    {"oga", "audio/ogg"},         {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},         {"opus", "audio/ogg"},
    {"pdf", "application/pdf"},   {"png", "image/png"},
    {"py", "text/x-python"},      {"stl", "model/stl"},
    {"svg", "image/svg+xml"},     {"tar", "application/x-tar"},
    {"tif", "image/tiff"},        {"tiff", "image/tiff"},
    {"toml", "application/toml"}, {"tsv", "text/tab-separated-values"},
    {"txt", "text/plain"},        {"wav", "audio/wav"},
    {"weba", "audio/webm"},       {"webm", "video/webm"},
    {"webp", "image/webp"},       {"xml", "application/xml"},
    {"yaml", "application/yaml"}, {"yml", "application/yaml"},
    {"zip", "application/zip"},
};

const char *client_mime_of(const char *name) {
    const char *slash = strrchr(name, '/');
    const char *last = slash != NULL ? slash + 1 : name;
    const char *dot = strrchr(last, '.');
    if (dot != NULL && dot != last) {
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
            if (slice_eq_nocase(slice_of(dot + 1), slice_of(types[i].ending))) {
                return types[i].type;
            }
        }
    }
    return "application/octet-stream";
}

/* The subtype up to its first '-' or ';': "image/png" is "png", "application/octet-stream" is "octet". */
bool client_mime_name(struct buf *out, int64_t wall_ms, const char *content_type) {
    const char *slash = strchr(content_type, '/');
    const char *subtype = slash != NULL ? slash + 1 : "";
    size_t len = strcspn(subtype, "-;");
    struct slice ending = slice_trim(slice_make(subtype, len));
    buf_printf(out, "%" PRId64 ".", wall_ms);
    return buf_add(out, ending.len > 0 ? ending : SLICE("bin"));
}
