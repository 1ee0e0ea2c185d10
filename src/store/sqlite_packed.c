/* The layout, version 1: a byte 1; a byte of flags; the numbers, each 7 bits to a byte, lowest first, the sign in the lowest
 * bit; the texts, each after its length. To change it: another first byte, and a reader that knows both. */
#include "store/sqlite_packed.h"

#define VERSION 1

enum { PARTIAL = 1, HAS_COST = 2, HAS_CHARGE = 4, KIND_SHIFT = 4 };

/* In the order in which they lie. */
enum number {
    STARTED,
    AT,
    STATUS,
    ATTEMPT,
    COST,
    CHARGED,
    UNITS,
    PROMPT,
    COMPLETION,
    CACHED,
    REASONING,
    NNUMBERS
};
enum text { ID, OWNER, KEY_ID, ENDPOINT, UPSTREAM, MODEL, RAW, NTEXTS };

/* The ledger's columns from the first on: n is the table's own. */
static const struct column {
    enum { FLAG, KIND, NUMBER, MONEY, TEXT, BLOB } what;
    int which;
} columns[] = {
    {TEXT, ID},       {NUMBER, ATTEMPT},    {KIND, 0},         {TEXT, OWNER},
    {TEXT, KEY_ID},   {TEXT, ENDPOINT},     {NUMBER, STARTED}, {NUMBER, AT},
    {NUMBER, STATUS}, {TEXT, UPSTREAM},     {TEXT, MODEL},     {BLOB, RAW},
    {FLAG, PARTIAL},  {MONEY, COST},        {MONEY, CHARGED},  {NUMBER, UNITS},
    {NUMBER, PROMPT}, {NUMBER, COMPLETION}, {NUMBER, CACHED},  {NUMBER, REASONING},
};
#define NCOLUMNS (sizeof columns / sizeof *columns)

/* --- writing */

static char *put_bits(char *at, uint64_t v) {
    for (; v >= 0x80; v >>= 7) *at++ = (char)(v | 0x80);
    *at++ = (char)v;
    return at;
}

static char *put_number(char *at, int64_t v) {
    return put_bits(at, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

static void texts_of(const struct store_charge *c, struct slice out[NTEXTS]) {
    out[ID] = slice_of(c->id);
    out[OWNER] = c->owner;
    out[KEY_ID] = c->key_id;
    out[ENDPOINT] = c->endpoint;
    out[UPSTREAM] = c->usage.upstream;
    out[MODEL] = c->usage.model;
    out[RAW] = c->usage.raw;
}

size_t sqlite_packed_bytes(const struct store_charge *c) {
    struct slice texts[NTEXTS];
    size_t n = PACKED_BYTES + 10 * NTEXTS;
    texts_of(c, texts);
    for (size_t i = 0; i < NTEXTS; i++) n += texts[i].len;
    return n;
}

size_t sqlite_pack(const struct store_charge *c, char *out) {
    const struct store_usage *u = &c->usage;
    const int64_t numbers[NNUMBERS] = {[STARTED] = c->started_ms,
                                       [AT] = c->at_ms,
                                       [STATUS] = c->http_status,
                                       [ATTEMPT] = c->attempt,
                                       [COST] = u->cost_microusd,
                                       [CHARGED] = u->charge_microusd,
                                       [UNITS] = u->units_micro,
                                       [PROMPT] = (int64_t)u->prompt_tokens,
                                       [COMPLETION] = (int64_t)u->completion_tokens,
                                       [CACHED] = (int64_t)u->cached_tokens,
                                       [REASONING] = (int64_t)u->reasoning_tokens};
    struct slice texts[NTEXTS];
    char *at = out;
    *at++ = VERSION;
    *at++ = (char)((u->partial ? PARTIAL : 0) | (u->has_cost ? HAS_COST : 0) |
                   (u->has_charge ? HAS_CHARGE : 0) | (int)c->kind << KIND_SHIFT);
    for (size_t i = 0; i < NNUMBERS; i++) at = put_number(at, numbers[i]);
    texts_of(c, texts);
    for (size_t i = 0; i < NTEXTS; i++) {
        at = put_bits(at, texts[i].len);
        if (texts[i].len > 0) memcpy(at, texts[i].ptr, texts[i].len);
        at += texts[i].len;
    }
    return (size_t)(at - out);
}

/* --- reading; what is cut off or not ours reads as NULL */

static bool take_bits(struct slice *in, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; shift < 64 && in->len > 0; shift += 7) {
        unsigned char c = (unsigned char)in->ptr[0];
        *in = slice_from(*in, 1);
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) return true;
    }
    return false;
}

static bool take_number_at(struct slice in, int which, int64_t *out) {
    uint64_t v = 0;
    for (int i = 0; i <= which; i++)
        if (!take_bits(&in, &v)) return false;
    *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    return true;
}

static bool take_text_at(struct slice in, int which, struct slice *out) {
    uint64_t v;
    for (int i = 0; i < NNUMBERS; i++)
        if (!take_bits(&in, &v)) return false;
    for (int i = 0;; i++) {
        if (!take_bits(&in, &v) || v > in.len) return false;
        if (i == which) {
            *out = slice_make(in.ptr, (size_t)v);
            return true;
        }
        in = slice_from(in, (size_t)v);
    }
}

static void answer_number(sqlite3_context *c, struct slice in, int which) {
    int64_t v;
    if (take_number_at(in, which, &v)) sqlite3_result_int64(c, v);
}

/* The row outlives the call of the function, not the step: the value is copied. */
static void answer_text(sqlite3_context *c, struct slice in, const struct column *k) {
    struct slice s;
    if (!take_text_at(in, k->which, &s)) return;
    if (k->what == BLOB)
        sqlite3_result_blob64(c, s.ptr, s.len, SQLITE_TRANSIENT);
    else
        sqlite3_result_text64(c, s.ptr, s.len, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static void packed(sqlite3_context *c, int n, sqlite3_value **values) {
    const char *bytes = sqlite3_value_blob(values[0]);
    int64_t column = sqlite3_value_int64(values[1]);
    struct slice in = slice_make(bytes, (size_t)sqlite3_value_bytes(values[0]));
    if (in.len < 2 || bytes[0] != VERSION || column < 1 || column > (int64_t)NCOLUMNS) return;
    const struct column *k = &columns[column - 1];
    int flags = (unsigned char)bytes[1];
    in = slice_from(in, 2);
    switch (k->what) {
    case FLAG: sqlite3_result_int(c, (flags & k->which) != 0); break;
    case KIND: sqlite3_result_int(c, flags >> KIND_SHIFT); break;
    case MONEY:
        if ((flags & (k->which == COST ? HAS_COST : HAS_CHARGE)) != 0)
            answer_number(c, in, k->which);
        break;
    case NUMBER: answer_number(c, in, k->which); break;
    case TEXT:
    case BLOB: answer_text(c, in, k); break;
    }
}

int sqlite_packed_register(sqlite3 *db) {
    return sqlite3_create_function_v2(db, "packed", 2,
                                      SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
                                      packed, NULL, NULL, NULL);
}
