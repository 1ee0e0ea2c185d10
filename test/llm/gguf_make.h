/* A tiny but whole GGUF file for tests. */
#ifndef ANYLLM_TEST_LLM_GGUF_MAKE_H
#define ANYLLM_TEST_LLM_GGUF_MAKE_H

#include "base/buf.h"

#include <stdio.h>

#define GGUF_MAKE_TENSOR_BYTES 20U /* one block of Q4_1: 32 elements */

static inline void gguf_number(struct buf *b, uint64_t v, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) buf_addc(b, (char)(v >> (8 * i)));
}

static inline void gguf_text(struct buf *b, const char *s) {
    gguf_number(b, strlen(s), 8);
    buf_puts(b, s);
}

static inline void gguf_begin(struct buf *b, uint32_t version, uint64_t tensors, uint64_t pairs) {
    buf_puts(b, "GGUF");
    gguf_number(b, version, 4);
    gguf_number(b, tensors, 8);
    gguf_number(b, pairs, 8);
}

static inline void gguf_pair_text(struct buf *b, const char *key, const char *value) {
    gguf_text(b, key);
    gguf_number(b, 8, 4);
    gguf_text(b, value);
}

static inline void gguf_pair_u32(struct buf *b, const char *key, uint32_t value) {
    gguf_text(b, key);
    gguf_number(b, 4, 4);
    gguf_number(b, value, 4);
}

static inline void gguf_tensor(struct buf *b, const char *name, uint64_t elements, uint32_t type,
                               uint64_t offset) {
    gguf_text(b, name);
    gguf_number(b, 1, 4);
    gguf_number(b, elements, 8);
    gguf_number(b, type, 4);
    gguf_number(b, offset, 8);
}

/* Header only, without the padding; *end is where the file ends. */
static inline void gguf_make_header(struct buf *b, size_t *end) {
    gguf_begin(b, 3, 2, 4);
    gguf_pair_text(b, "general.architecture", "llama");
    gguf_pair_u32(b, "llama.context_length", 4096);
    gguf_text(b, "tokenizer.ggml.tokens");
    gguf_number(b, 9, 4); /* an array of 2 texts */
    gguf_number(b, 8, 4);
    gguf_number(b, 2, 8);
    gguf_text(b, "<s>");
    gguf_text(b, "hello");
    gguf_text(b, "tokenizer.ggml.scores");
    gguf_number(b, 9, 4); /* an array of 3 floats */
    gguf_number(b, 6, 4);
    gguf_number(b, 3, 8);
    for (int i = 0; i < 3; i++) gguf_number(b, 0, 4);
    gguf_tensor(b, "token_embd.weight", 32, 3, 0);
    gguf_tensor(b, "output.weight", 32, 3, 32);
    *end = (buf_len(b) + 31) / 32 * 32 + 32 + GGUF_MAKE_TENSOR_BYTES;
}

static inline bool gguf_make_file(const char *path) {
    struct buf b;
    size_t end;
    buf_init(&b, 1U << 20);
    gguf_make_header(&b, &end);
    while (buf_len(&b) < end) buf_addc(&b, '\0');
    FILE *f = fopen(path, "w");
    struct slice s = buf_slice(&b);
    bool ok = f != NULL && fwrite(s.ptr, 1, s.len, f) == s.len;
    if (f != NULL) ok = fclose(f) == 0 && ok;
    buf_free(&b);
    return ok;
}

#endif
