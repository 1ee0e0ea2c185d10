#include "api/files_names.h"
#include "base/hex.h"

#include <stdio.h>

/* --- ids */

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

void file_id_new(const struct random *r, char out[FILE_ID_BYTES]) {
    unsigned char bytes[(FILE_ID_BYTES - 1) / 2];
    random_fill(r, bytes, sizeof bytes);
    hex_write(out, bytes, sizeof bytes);
}

bool file_id_read(struct slice segment, struct slice *id) {
    size_t n = FILE_ID_BYTES - 1;
    if (segment.len < n || (segment.len > n && segment.ptr[n] != '.')) return false;
    if (segment.len > n + FILE_EXTENSION_BYTES - 1) return false;
    for (size_t i = 0; i < n; i++)
        if (!is_hex(segment.ptr[i])) return false;
    for (size_t i = n + 1; i < segment.len; i++)
        if (!is_alnum(segment.ptr[i])) return false;
    *id = slice_make(segment.ptr, n);
    return segment.len != n + 1;
}

/* --- labels */

/* Length of the UTF-8 character at the front, its number in *rune; 0: it is none. */
static size_t next_rune(struct slice s, uint32_t *rune) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n == 0 || p[0] > 0xf4 || n > s.len) return 0;
    *rune = n == 1 ? p[0] : p[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        *rune = *rune << 6 | (p[i] & 0x3fU);
    }
    bool surrogate = *rune >= 0xd800 && *rune < 0xe000;
    return *rune < least[n] || *rune > 0x10ffff || surrogate ? 0 : n;
}

/* Controls, what is not seen, and what turns the direction of the text around it. */
static bool is_unseen(uint32_t r) {
    return r < 0x20 || (r >= 0x7f && r < 0xa0) || r == 0xad || r == 0x61c || r == 0xfeff ||
           (r >= 0x200b && r <= 0x200f) || (r >= 0x2028 && r <= 0x202e) ||
           (r >= 0x2060 && r <= 0x206f) || (r >= 0xfff9 && r <= 0xfffb) || r >= 0xe0000;
}

static struct slice last_part(struct slice name) {
    for (size_t i = name.len; i > 0; i--)
        if (name.ptr[i - 1] == '/' || name.ptr[i - 1] == '\\') return slice_from(name, i);
    return name;
}

/* Names that Windows gives to devices, whatever follows their first dot. */
static bool is_device(struct slice label) {
    static const char *const names[] = {"con", "prn", "aux", "nul"};
    struct slice rest, stem = slice_cut(label, '.', &rest);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_eq_nocase(stem, slice_of(names[i]))) return true;
    return stem.len == 4 && stem.ptr[3] >= '0' && stem.ptr[3] <= '9' &&
           (slice_eq_nocase(slice_make(stem.ptr, 3), SLICE("com")) ||
            slice_eq_nocase(slice_make(stem.ptr, 3), SLICE("lpt")));
}

/* Room for the bytes of one character; the end of a name is cut, not its beginning. */
static size_t add_rune(char *out, size_t at, struct slice s, uint32_t rune) {
    bool odd = rune < 0x80 && strchr("\"<>|:*?%", (int)rune) != NULL;
    if (at + s.len >= FILE_LABEL_BYTES) return at;
    memcpy(out + at, odd ? "_" : s.ptr, s.len);
    return at + s.len;
}

void file_label(struct slice name, char out[FILE_LABEL_BYTES]) {
    struct slice s = last_part(name);
    size_t at = 1, from = 1; /* the first byte is kept free for the sign before a device's name */
    while (s.len > 0) {
        uint32_t rune = '_';
        size_t n = next_rune(s, &rune);
        if (n == 0)
            at = add_rune(out, at, SLICE("_"), '_');
        else if (!is_unseen(rune))
            at = add_rune(out, at, slice_make(s.ptr, n), rune);
        s = slice_from(s, n > 0 ? n : 1);
    }
    while (at > from && (out[at - 1] == '.' || out[at - 1] == ' ')) at--;
    while (from < at && out[from] == ' ') from++;
    if (is_device(slice_make(out + from, at - from))) out[--from] = '_';
    memmove(out, out + from, at - from);
    out[at - from] = '\0';
    if (out[0] == '\0') memcpy(out, "file", 5);
}

/* --- types */

static bool is_token(char c) {
    return is_alnum(c) || (c != '\0' && strchr("!#$&^_.+-", c) != NULL);
}

bool file_type(struct slice header, char out[FILE_TYPE_BYTES]) {
    struct slice rest, type = slice_trim(slice_cut(header, ';', &rest));
    size_t slashes = 0;
    if (type.len < 3 || type.len >= FILE_TYPE_BYTES) return false;
    for (size_t i = 0; i < type.len; i++) {
        if (type.ptr[i] == '/')
            slashes++;
        else if (!is_token(type.ptr[i]))
            return false;
        out[i] = lower(type.ptr[i]);
    }
    out[type.len] = '\0';
    return slashes == 1 && out[0] != '/' && out[type.len - 1] != '/';
}

enum content {
    CONTENT_OTHER = 0,
    CONTENT_PNG = 1,
    CONTENT_JPEG = 2,
    CONTENT_GIF = 4,
    CONTENT_WEBP = 8,
    CONTENT_AVIF = 16,
    CONTENT_BMP = 32,
    CONTENT_MP3 = 64,
    CONTENT_WAV = 128,
    CONTENT_OGG = 256,
    CONTENT_FLAC = 512,
    CONTENT_AAC = 1024,
    CONTENT_MP4 = 2048,
    CONTENT_MATROSKA = 4096,
    CONTENT_PDF = 8192
};
#define CONTENT_PICTURE \
    (CONTENT_PNG | CONTENT_JPEG | CONTENT_GIF | CONTENT_WEBP | CONTENT_AVIF | CONTENT_BMP)

/* THE table of what is served as what it is. The first row of a picture's content is its name. */
static const struct kind {
    const char *type, *extension;
    unsigned contents; /* one of these must be found in it */
    bool download;
} kinds[] = {
    {"image/png", ".png", CONTENT_PNG, false},
    {"image/apng", ".png", CONTENT_PNG, false},
    {"image/jpeg", ".jpg", CONTENT_JPEG, false},
    {"image/jpg", ".jpg", CONTENT_JPEG, false},
    {"image/gif", ".gif", CONTENT_GIF, false},
    {"image/webp", ".webp", CONTENT_WEBP, false},
    {"image/avif", ".avif", CONTENT_AVIF, false},
    {"image/bmp", ".bmp", CONTENT_BMP, false},
    {"audio/mpeg", ".mp3", CONTENT_MP3, false},
    {"audio/mp3", ".mp3", CONTENT_MP3, false},
    {"audio/wav", ".wav", CONTENT_WAV, false},
    {"audio/x-wav", ".wav", CONTENT_WAV, false},
    {"audio/wave", ".wav", CONTENT_WAV, false},
    {"audio/ogg", ".ogg", CONTENT_OGG, false},
    {"audio/opus", ".opus", CONTENT_OGG, false},
    {"audio/flac", ".flac", CONTENT_FLAC, false},
    {"audio/x-flac", ".flac", CONTENT_FLAC, false},
    {"audio/aac", ".aac", CONTENT_AAC, false},
    {"audio/mp4", ".m4a", CONTENT_MP4, false},
    {"audio/m4a", ".m4a", CONTENT_MP4, false},
    {"audio/x-m4a", ".m4a", CONTENT_MP4, false},
    {"audio/webm", ".webm", CONTENT_MATROSKA, false},
    {"video/mp4", ".mp4", CONTENT_MP4, false},
    {"video/quicktime", ".mov", CONTENT_MP4, false},
    {"video/webm", ".webm", CONTENT_MATROSKA, false},
    {"video/x-matroska", ".mkv", CONTENT_MATROSKA, false},
    {"video/ogg", ".ogv", CONTENT_OGG, false},
    {"application/pdf", ".pdf", CONTENT_PDF, true},
};
#define NKINDS (sizeof kinds / sizeof *kinds)
#define OCTETS "application/octet-stream"

static const struct kind *kind_of(struct slice type) {
    for (size_t i = 0; i < NKINDS; i++)
        if (slice_is(type, kinds[i].type)) return &kinds[i];
    return NULL;
}

void file_extension(struct slice label, struct slice type, char out[FILE_EXTENSION_BYTES]) {
    size_t n = 0;
    while (n < label.len && n < FILE_EXTENSION_BYTES - 2 && is_alnum(label.ptr[label.len - 1 - n]))
        n++;
    bool named = n > 0 && n < label.len && label.ptr[label.len - 1 - n] == '.';
    const struct kind *k = named ? NULL : kind_of(type);
    out[0] = '\0';
    if (k != NULL) snprintf(out, FILE_EXTENSION_BYTES, "%s", k->extension);
    if (!named) return;
    for (size_t i = 0; i <= n; i++) out[i] = lower(label.ptr[label.len - 1 - n + i]);
    out[n + 1] = '\0';
}

/* --- contents */

void file_ends_add(struct file_ends *e, struct slice data) {
    size_t room = FILE_FIRST_BYTES - e->nfirst, n = data.len < room ? data.len : room;
    if (n > 0) memcpy(e->first + e->nfirst, data.ptr, n);
    e->nfirst += n;
    if (data.len > FILE_LAST_BYTES) data = slice_from(data, data.len - FILE_LAST_BYTES);
    size_t keep = FILE_LAST_BYTES - data.len;
    if (keep > e->nlast) keep = e->nlast;
    memmove(e->last, e->last + e->nlast - keep, keep);
    if (data.len > 0) memcpy(e->last + keep, data.ptr, data.len);
    e->nlast = keep + data.len;
}

void file_ends_join(struct file_ends *e, const struct file_ends *next) {
    struct file_ends first = *e;
    file_ends_add(&first, slice_make((const char *)next->first, next->nfirst));
    file_ends_add(e, slice_make((const char *)next->last, next->nlast));
    memcpy(e->first, first.first, sizeof e->first);
    e->nfirst = first.nfirst;
}

static bool has(const struct file_ends *e, size_t at, const char *magic, size_t n) {
    return e->nfirst >= at + n && memcmp(e->first + at, magic, n) == 0;
}

static enum content content_of(const struct file_ends *e) {
    static const struct {
        size_t at;
        const char *magic;
        size_t len;
        enum content content;
    } magics[] = {
        {0, "\x89PNG\r\n\x1a\n", 8, CONTENT_PNG},
        {0, "\xff\xd8\xff", 3, CONTENT_JPEG},
        {0, "GIF87a", 6, CONTENT_GIF},
        {0, "GIF89a", 6, CONTENT_GIF},
        {4, "ftypavif", 8, CONTENT_AVIF},
        {4, "ftypavis", 8, CONTENT_AVIF},
        {4, "ftyp", 4, CONTENT_MP4},
        {4, "moov", 4, CONTENT_MP4},
        {4, "mdat", 4, CONTENT_MP4},
        {4, "wide", 4, CONTENT_MP4},
        {0, "BM", 2, CONTENT_BMP},
        {0, "ID3", 3, CONTENT_MP3},
        {0, "OggS", 4, CONTENT_OGG},
        {0, "fLaC", 4, CONTENT_FLAC},
        {0, "\x1a\x45\xdf\xa3", 4, CONTENT_MATROSKA},
        {0, "%PDF-", 5, CONTENT_PDF},
    };
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (has(e, magics[i].at, magics[i].magic, magics[i].len)) return magics[i].content;
    if (has(e, 0, "RIFF", 4) && has(e, 8, "WEBP", 4)) return CONTENT_WEBP;
    if (has(e, 0, "RIFF", 4) && has(e, 8, "WAVE", 4)) return CONTENT_WAV;
    if (e->nfirst < 2 || e->first[0] != 0xff) return CONTENT_OTHER;
    if ((e->first[1] & 0xf6) == 0xf0) return CONTENT_AAC; /* layer 00 is ADTS */
    return (e->first[1] & 0xe0) == 0xe0 ? CONTENT_MP3 : CONTENT_OTHER;
}

/* An archive behind a picture: one file, two meanings. */
static bool ends_as_zip(const struct file_ends *e) {
    return e->nlast == FILE_LAST_BYTES && memcmp(e->last, "PK\x05\x06", 4) == 0;
}

const char *file_kept_type(const char *declared, const struct file_ends *e) {
    const struct kind *k = kind_of(slice_of(declared));
    enum content content = content_of(e);
    if (k == NULL) return declared;
    if (ends_as_zip(e)) return OCTETS;
    if ((k->contents & content) != 0) return declared;
    if ((k->contents & CONTENT_PICTURE) == 0 || (content & CONTENT_PICTURE) == 0) return OCTETS;
    for (size_t i = 0; i < NKINDS; i++)
        if (kinds[i].contents == content) return kinds[i].type;
    return OCTETS;
}

struct file_served file_served_as(struct slice kept_type) {
    const struct kind *k = kind_of(kept_type);
    return k != NULL ? (struct file_served){k->type, !k->download}
                     : (struct file_served){OCTETS, false};
}

void file_disposition(struct buf *b, bool is_inline, struct slice label) {
    buf_puts(b, is_inline ? "inline; filename=\"" : "attachment; filename=\"");
    for (size_t i = 0; i < label.len; i++)
        buf_addc(b, (unsigned char)label.ptr[i] < 0x80 ? label.ptr[i] : '_');
    buf_puts(b, "\"; filename*=UTF-8''");
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        if (is_alnum(c) || (c != '\0' && strchr("!#$&+-.^_`|~", c) != NULL))
            buf_addc(b, c);
        else
            buf_printf(b, "%%%02X", (unsigned char)c);
    }
}
