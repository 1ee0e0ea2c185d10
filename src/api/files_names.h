/* What a file is called and as what it is served. Pure. Names are random; the caller's own is kept as a label alone, and
 * nothing he declares lets his bytes run as a page of ours. */
#ifndef ANYLLM_API_FILES_NAMES_H
#define ANYLLM_API_FILES_NAMES_H

#include "base/buf.h"
#include "base/random.h"

#define FILE_ID_BYTES 33 /* 128 random bits as hex, and NUL */
#define FILE_LABEL_BYTES 129
#define FILE_TYPE_BYTES 128
#define FILE_EXTENSION_BYTES 10

void file_id_new(const struct random *r, char out[FILE_ID_BYTES]);
/* The last segment of an address, "{id}" or "{id}.{extension}": *id gets a slice of it. */
bool file_id_read(struct slice segment, struct slice *id);

/* What may be shown of a name: its last part, without control characters, quotes, and what turns the direction of text;
 * "file" when nothing is left. */
void file_label(struct slice name, char out[FILE_LABEL_BYTES]);
/* type/subtype in lower case, parameters dropped. False: it is none. */
bool file_type(struct slice header, char out[FILE_TYPE_BYTES]);
/* ".png" from the label, else from the type, else empty. For the eye of whoever reads an address: nothing depends on it. */
void file_extension(struct slice label, struct slice type, char out[FILE_EXTENSION_BYTES]);

/* The first and the last bytes of a file, gathered while it comes. */
#define FILE_FIRST_BYTES 16
#define FILE_LAST_BYTES 22 /* the end of a ZIP without a comment */
struct file_ends {
    unsigned char first[FILE_FIRST_BYTES], last[FILE_LAST_BYTES];
    size_t nfirst, nlast;
};
void file_ends_add(struct file_ends *e, struct slice data);
/* Of two pieces one after the other. */
void file_ends_join(struct file_ends *e, const struct file_ends *next);

/* The type to keep: the declared one; of pictures the one that the bytes have; application/octet-stream where a picture,
 * a sound, a film or a PDF was declared and the bytes are none. Static, or `declared` itself. */
const char *file_kept_type(const char *declared, const struct file_ends *e);
/* The type to serve, static: those which no browser runs as a page; all others are application/octet-stream. */
struct file_served {
    const char *type;
    bool is_inline;
};
struct file_served file_served_as(struct slice kept_type);
/* `inline; filename="…"; filename*=UTF-8''…` (RFC 6266) */
void file_disposition(struct buf *b, bool is_inline, struct slice label);

#endif
