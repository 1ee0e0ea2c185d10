#include "store/sqlite_packed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COLUMNS 20

static const struct store_charge row = {.id = "01234567-89ab-7000-8000-000000000000",
                                        .kind = STORE_CALL_REALTIME,
                                        .owner = {"team", 4},
                                        .key_id = {"k", 1},
                                        .endpoint = {"a/b", 3},
                                        .started_ms = 1795438375000,
                                        .at_ms = 1795438375250,
                                        .http_status = 499,
                                        .usage = {.present = true,
                                                  .upstream = {"lab", 3},
                                                  .model = {"m", 1},
                                                  .raw = {"{\"x\":1}", 7},
                                                  .has_charge = true,
                                                  .partial = true,
                                                  .charge_microusd = -5,
                                                  .units_micro = INT64_MIN,
                                                  .prompt_tokens = 1,
                                                  .completion_tokens = 127,
                                                  .cached_tokens = 128,
                                                  .reasoning_tokens = INT64_MAX}};

static sqlite3 *open_db(void) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite_packed_register(db), SQLITE_OK);
    return db;
}

/* The column as text, "NULL" when it is; in a block of its own size, so that a read beyond it is seen. */
static void column(sqlite3 *db, const char *bytes, size_t n, int k, char out[128]) {
    sqlite3_stmt *st;
    char *own = malloc(n > 0 ? n : 1);
    assert_non_null(own);
    memcpy(own, bytes, n);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT packed(?1, ?2)", -1, &st, NULL), SQLITE_OK);
    sqlite3_bind_blob(st, 1, own, (int)n, SQLITE_STATIC);
    sqlite3_bind_int(st, 2, k);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    const unsigned char *text = sqlite3_column_text(st, 0);
    snprintf(out, 128, "%s", text != NULL ? (const char *)text : "NULL");
    sqlite3_finalize(st);
    free(own);
}

static void every_column_is_read_as_it_was_packed(void **state) {
    static const char *const want[COLUMNS] = {"01234567-89ab-7000-8000-000000000000",
                                              "0",
                                              "4",
                                              "team",
                                              "k",
                                              "a/b",
                                              "1795438375000",
                                              "1795438375250",
                                              "499",
                                              "lab",
                                              "m",
                                              "{\"x\":1}",
                                              "1",
                                              "NULL",
                                              "-5",
                                              "-9223372036854775808",
                                              "1",
                                              "127",
                                              "128",
                                              "9223372036854775807"};
    char bytes[512], text[128];
    sqlite3 *db = open_db();
    assert_true(sqlite_packed_bytes(&row) <= sizeof bytes);
    size_t n = sqlite_pack(&row, bytes);
    assert_true(n <= sqlite_packed_bytes(&row));
    for (int k = 1; k <= COLUMNS; k++) {
        column(db, bytes, n, k, text);
        assert_string_equal(text, want[k - 1]);
    }
    sqlite3_close(db);
}

static void what_is_cut_off_or_not_ours_is_null(void **state) {
    char bytes[512], text[128];
    sqlite3 *db = open_db();
    size_t n = sqlite_pack(&row, bytes);
    for (size_t len = 0; len < n; len++)
        for (int k = 1; k <= COLUMNS; k++) column(db, bytes, len, k, text);
    column(db, bytes, n - 1, 12, text); /* the last text */
    assert_string_equal(text, "NULL");
    static const int no_columns[] = {-1, 0, COLUMNS + 1};
    for (size_t i = 0; i < 3; i++) {
        column(db, bytes, n, no_columns[i], text);
        assert_string_equal(text, "NULL");
    }
    memset(bytes, 0xff, sizeof bytes);
    bytes[0] = 1;
    for (int k = 1; k <= COLUMNS; k++) column(db, bytes, sizeof bytes, k, text);
    sqlite_pack(&row, bytes);
    bytes[0] = 2; /* another layout */
    column(db, bytes, n, 1, text);
    assert_string_equal(text, "NULL");
    sqlite3_close(db);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_column_is_read_as_it_was_packed),
        cmocka_unit_test(what_is_cut_off_or_not_ours_is_null),
    };
    return cmocka_run_group_tests_name("packed", tests, NULL, NULL);
}
