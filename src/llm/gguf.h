/* The header of a GGUF file, pure: bytes in; a description, need-more or a reason out. Nothing in the file is trusted:
 * every count and length is bounded and every sum is checked, so that a corrupt or cut model is told from a good one
 * before an engine spends a minute on it. */
#ifndef ANYLLM_LLM_GGUF_H
#define ANYLLM_LLM_GGUF_H

#include "base/slice.h"

#define GGUF_MAX_HEADER_BYTES (256U << 20) /* vocabularies of today's models take 2 to 20 MB */

struct gguf_info {
    uint32_t version;
    uint64_t tensors, pairs;
    uint64_t context_tokens;   /* what the model was trained with; 0: not told */
    uint64_t header_bytes;     /* tensor data begins here */
    uint64_t data_bytes;       /* as far as the tensors whose type is known reach */
    struct slice architecture; /* points into the data; after gguf_check_file it is empty */
};

enum gguf_result { GGUF_DONE, GGUF_MORE, GGUF_BAD };

/* Reads the header from data[0..len), the beginning of the file. GGUF_MORE: call again with more bytes from the same
 * start. GGUF_BAD: *reason is a static text that fits after "FILE ". */
enum gguf_result gguf_read(const unsigned char *data, size_t len, struct gguf_info *out,
                           const char **reason);

/* Reads the file's header and compares its length with what the header requires. False with one line in reason that
 * names the file. Blocking; a few milliseconds. */
bool gguf_check_file(const char *path, struct gguf_info *out, char *reason, size_t size);

#endif
