/* docs/endpoints.md says of every endpoint what the table says, no more and no less. */
#include "cmocka_all.h"

#include "api/endpoints.h"

#include <stdio.h>
#include <stdlib.h>

static char *page;

static int read_page(void **state) {
    FILE *f = fopen(ENDPOINTS_PAGE, "re");
    page = calloc(1, 1U << 20);
    if (f == NULL || page == NULL) return -1;
    size_t n = fread(page, 1, (1U << 20) - 1, f);
    fclose(f);
    return n > 0 ? 0 : -1;
}

static int free_page(void **state) {
    free(page);
    return 0;
}

/* From a heading to the next one. */
static char *section(const char *heading) {
    const char *at = strstr(page, heading);
    if (at == NULL) fail_msg("no section %s", heading);
    at += strlen(heading);
    const char *end = strstr(at, "\n#");
    return slice_dup(slice_make(at, end != NULL ? (size_t)(end - at) : strlen(at)));
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) n++;
    return n;
}

static void expect(const char *where, const char *text, const char *line) {
    if (count(text, line) != 1) fail_msg("%s lacks: %s", where, line);
}

static const char *mark(const struct endpoint *e, unsigned row) {
    unsigned bit = 1U << row;
    return (e->needs & bit) != 0       ? "required"
           : (e->needs_one & bit) != 0 ? "one required"
           : (e->one_only & bit) != 0  ? "only one"
                                       : "optional";
}

static void check_inputs(const struct endpoint *e, const char *text) {
    char line[120];
    size_t rows = 0;
    for (unsigned row = 0; row < IN_COUNT; row++) {
        if ((e->takes & 1U << row) == 0) continue;
        const char *name = input_field_at((enum input_row)row)->name;
        snprintf(line, sizeof line, "\n| `%s` | %s |\n", name, mark(e, row));
        expect(e->id, text, line);
        rows++;
    }
    if (count(text, "\n| `") != rows) fail_msg("%s: a field that it does not take", e->id);
}

static void check_outputs(const struct endpoint *e, const char *text) {
    static const char *const names[] = {"output", "reasoning", "partial", "error", "usage"};
    char line[120] = "\nAnswers ";
    if (e->outputs == 0) return;
    for (size_t i = 0; i < 5; i++) {
        size_t n = strlen(line);
        if ((e->outputs & 1U << i) != 0)
            snprintf(line + n, sizeof line - n, "%s`%s`", n > 9 ? ", " : "", names[i]);
    }
    snprintf(line + strlen(line), sizeof line - strlen(line), ".\n");
    expect(e->id, text, line);
}

static void page_says_what_each_endpoint_takes_and_answers(void **state) {
    char heading[120];
    for (size_t i = 0; i < endpoint_count(); i++) {
        const struct endpoint *e = endpoint_at(i);
        snprintf(heading, sizeof heading, "\n### `%s`\n", e->id);
        char *text = section(heading);
        check_inputs(e, text);
        check_outputs(e, text);
        if ((strstr(text, "keep nothing") != NULL) != e->keeps_nothing)
            fail_msg("%s: whether it keeps nothing", e->id);
        free(text);
    }
    assert_int_equal(count(page, "\n### `"), endpoint_count());
}

static void add_bounds(struct buf *b, const struct input_field *in) {
    switch (in->type) {
    case INPUT_STRING: buf_printf(b, "at most %.0f bytes ", in->max); break;
    case INPUT_NUMBER:
    case INPUT_INTEGER: buf_printf(b, "%.0f to %.0f ", in->min, in->max); break;
    case INPUT_ENUM: buf_printf(b, "`%s` or `%s` ", in->values[0], in->values[1]); break;
    case INPUT_URL: buf_puts(b, "an address or a data URI "); break;
    case INPUT_URLS: buf_printf(b, "at most %u addresses or data URIs ", INPUT_MAX_URLS); break;
    case INPUT_MODEL: buf_puts(b, "an id the server has a way to "); break;
    case INPUT_BOOL:
    case INPUT_MESSAGES: break;
    }
}

static void page_says_the_bounds_of_each_field(void **state) {
    static const char *const types[] = {
        [INPUT_STRING] = "string", [INPUT_MODEL] = "string",    [INPUT_BOOL] = "boolean",
        [INPUT_NUMBER] = "number", [INPUT_INTEGER] = "integer", [INPUT_ENUM] = "string",
        [INPUT_URL] = "string",    [INPUT_URLS] = "array",      [INPUT_MESSAGES] = "array"};
    char *text = section("\n## Fields\n");
    for (unsigned row = 0; row < IN_COUNT; row++) {
        const struct input_field *in = input_field_at((enum input_row)row);
        struct buf line;
        buf_init(&line, 4096);
        buf_printf(&line, "\n| `%s` | %s | ", in->name, types[in->type]);
        add_bounds(&line, in);
        buf_puts(&line, "| ");
        if (in->standard != NULL) buf_printf(&line, "`%s` ", in->standard);
        if (in->type == INPUT_MODEL) buf_puts(&line, "see below ");
        buf_puts(&line, "|\n");
        buf_addc(&line, '\0');
        expect("Fields", text, buf_slice(&line).ptr);
        buf_free(&line);
    }
    assert_int_equal(count(text, "\n| `"), IN_COUNT - 1); /* model has two rows of the table */
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_says_what_each_endpoint_takes_and_answers),
        cmocka_unit_test(page_says_the_bounds_of_each_field),
    };
    return cmocka_run_group_tests(tests, read_page, free_page);
}
