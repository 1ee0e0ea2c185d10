/* Columns for people: as wide as their widest cell. */
#include "cli/admin.h"

#include <string.h>

#define COLUMNS_MAX_BYTES ((size_t)64 << 20)

void columns_add_cut(struct columns *t, const char *text, size_t n) {
    struct slice s = slice_of(text != NULL && text[0] != '\0' ? text : "-");
    buf_add(&t->text, slice_make(s.ptr, s.len < n ? s.len : n));
    buf_addc(&t->text, '\0');
    t->cells++;
}

void columns_add(struct columns *t, const char *text) {
    columns_add_cut(t, text, SIZE_MAX);
}

void columns_begin(struct columns *t, const char *const *heads, size_t n, unsigned right) {
    *t = (struct columns){.columns = n, .right = right};
    buf_init(&t->text, COLUMNS_MAX_BYTES);
    for (size_t i = 0; i < n; i++) columns_add(t, heads[i]);
}

/* Characters, not bytes. */
static int width_of(const char *text) {
    int n = 0;
    for (; *text != '\0'; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void print_cell(const struct columns *t, size_t column, const char *text, int width,
                       FILE *out) {
    int pad = width - width_of(text);
    bool right = (t->right >> column & 1) != 0, last = column + 1 == t->columns;
    fprintf(out, "%*s", right ? pad : 0, "");
    cli_print_text(out, text, false);
    fprintf(out, "%*s", right || last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", out);
}

void columns_print(struct columns *t, FILE *out) {
    int widths[COLUMNS_MAX] = {0};
    const char *first = buf_slice(&t->text).ptr, *text = first;
    size_t cells = t->text.failed ? 0 : t->cells;
    for (size_t i = 0; i < cells; i++, text += strlen(text) + 1) {
        int width = width_of(text), *widest = &widths[i % t->columns];
        if (width > *widest) *widest = width;
    }
    text = first;
    for (size_t i = 0; i < cells; i++, text += strlen(text) + 1)
        print_cell(t, i % t->columns, text, widths[i % t->columns], out);
    buf_free(&t->text);
}
