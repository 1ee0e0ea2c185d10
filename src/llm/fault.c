/* Classification: one table for callers and for the relay, one for the names upstreams give their errors. */
#include "llm/fault.h"

#include <time.h>

struct fault_row {
    struct llm_fault_info info;
    bool fails_over, blames_upstream;
    const char *name, *sentence;
};

/* fal names no infrastructure type for 502 but runner_incomplete_response, so a failing upstream is a
 * runner_server_error with the status of docs/bad-input.md. BAD_ANSWER was already tried twice by the relay. */
static const struct fault_row rows[] = {
    [LLM_OK] = {{200, "", false, false, 1, LLM_FAILURE_OTHER}, false, false, "ok", ""},
    [LLM_BUSY] = {{429, "concurrent_requests_limit", false, true, 10, LLM_FAILURE_OTHER},
                  false,
                  false,
                  "busy",
                  "all slots of the model's upstreams are taken"},
    [LLM_NO_ROUTE] = {{422, "value_error", true, false, 1, LLM_FAILURE_OTHER},
                      false,
                      false,
                      "no_route",
                      "no upstream answers this model"},
    [LLM_REFUSED] = {{422, "value_error", true, false, 1, LLM_FAILURE_OTHER},
                     false,
                     false,
                     "refused",
                     "the upstream refused the input"},
    [LLM_RATE_LIMITED] = {{429, "rate_limit_exceeded", false, true, 10, LLM_FAILURE_OTHER},
                          true,
                          false,
                          "rate_limited",
                          "the upstream limits the rate of requests"},
    [LLM_QUOTA] = {{502, "runner_server_error", false, false, 1, LLM_FAILURE_OTHER},
                   true,
                   true,
                   "quota",
                   "the server's quota or balance at the upstream is used up"},
    [LLM_CREDENTIALS] = {{502, "runner_server_error", false, false, 1, LLM_FAILURE_OTHER},
                         true,
                         true,
                         "credentials",
                         "upstream rejected the server's credentials"},
    [LLM_UNKNOWN_MODEL] = {{502, "runner_server_error", false, false, 1, LLM_FAILURE_OTHER},
                           true,
                           false,
                           "unknown_model",
                           "the upstream does not know the model"},
    [LLM_UPSTREAM_ERROR] = {{502, "runner_server_error", false, true, 4, LLM_FAILURE_SERVER_ERROR},
                            true,
                            true,
                            "upstream_error",
                            "the upstream failed"},
    [LLM_UPSTREAM_OVERLOADED] = {{503, "runner_scheduling_failure", false, true, 10,
                                  LLM_FAILURE_SERVER_ERROR},
                                 true,
                                 true,
                                 "overloaded",
                                 "the upstream is overloaded"},
    [LLM_CONNECT] = {{503, "runner_connection_refused", false, true, 10, LLM_FAILURE_CONNECTION},
                     true,
                     true,
                     "connect",
                     "the upstream cannot be reached"},
    [LLM_CONNECT_TIMEOUT] = {{503, "runner_connection_timeout", false, true, 10,
                              LLM_FAILURE_CONNECTION},
                             true,
                             true,
                             "connect_timeout",
                             "connecting to the upstream timed out"},
    [LLM_TLS] = {{502, "runner_connection_error", false, false, 1, LLM_FAILURE_CONNECTION},
                 true,
                 true,
                 "tls",
                 "upstream TLS error"},
    [LLM_TIMEOUT] = {{504, "request_timeout", false, true, 4, LLM_FAILURE_TIMEOUT},
                     true,
                     true,
                     "timeout",
                     "Request timed out"},
    [LLM_CUT] = {{502, "runner_incomplete_response", false, true, 4, LLM_FAILURE_CONNECTION},
                 true,
                 true,
                 "cut",
                 "the upstream's answer ended before it was whole"},
    [LLM_BAD_ANSWER] = {{502, "runner_server_error", false, false, 1, LLM_FAILURE_SERVER_ERROR},
                        true,
                        true,
                        "bad_answer",
                        "unexpected upstream response"},
    [LLM_ENGINE] = {{503, "runner_disconnected", false, true, 10, LLM_FAILURE_CONNECTION},
                    true,
                    true,
                    "engine",
                    "the local engine is not running"},
    [LLM_CONTENT_POLICY] = {{422, "content_policy_violation", true, false, 1, LLM_FAILURE_OTHER},
                            false,
                            false,
                            "content_policy",
                            "the content was refused by a content policy"},
    [LLM_UNSUPPORTED] = {{422, "feature_not_supported", true, false, 1, LLM_FAILURE_OTHER},
                         true,
                         false,
                         "unsupported",
                         "the upstream of this model does not take this kind of input"},
    [LLM_FILE] = {{422, "file_download_error", true, false, 1, LLM_FAILURE_OTHER},
                  false,
                  false,
                  "file",
                  "a file of the input cannot be read"},
    [LLM_FILE_TOO_LARGE] = {{413, "file_too_large", true, false, 1, LLM_FAILURE_OTHER},
                            false,
                            false,
                            "file_too_large",
                            "a file of the input is too large"},
    [LLM_MEMORY] = {{503, "runner_scheduling_failure", false, true, 10, LLM_FAILURE_OTHER},
                    false,
                    false,
                    "memory",
                    "the server is out of memory"},
};

static const struct fault_row *row(enum llm_fault f) {
    size_t i = (size_t)f;
    return &rows[i < sizeof rows / sizeof *rows ? i : LLM_UPSTREAM_ERROR];
}

const struct llm_fault_info *llm_fault_info(enum llm_fault f) {
    return &row(f)->info;
}

bool fault_fails_over(enum llm_fault f) {
    return row(f)->fails_over;
}

bool fault_blames_upstream(enum llm_fault f) {
    return row(f)->blames_upstream;
}

const char *fault_name(enum llm_fault f) {
    return row(f)->name;
}

const char *fault_sentence(enum llm_fault f) {
    return row(f)->sentence;
}

/* --- classification */

/* `sure`: the name says more than the status it came with (429 insufficient_quota, 400 model_not_found). */
static const struct {
    const char *name;
    enum llm_fault fault;
    bool sure;
} names[] = {
    {"insufficient_quota", LLM_QUOTA, true},
    {"billing_hard_limit_reached", LLM_QUOTA, true},
    {"billing_not_active", LLM_QUOTA, true},
    {"payment_required", LLM_QUOTA, true},
    {"model_not_found", LLM_UNKNOWN_MODEL, true},
    {"content_policy_violation", LLM_CONTENT_POLICY, true},
    {"content_filter", LLM_CONTENT_POLICY, true},
    {"context_length_exceeded", LLM_REFUSED, true},
    {"exceed_context_size_error", LLM_REFUSED, true},
    {"rate_limit_exceeded", LLM_RATE_LIMITED, false},
    {"rate_limit_error", LLM_RATE_LIMITED, false},
    {"authentication", LLM_CREDENTIALS, false},
    {"authentication_error", LLM_CREDENTIALS, false},
    {"invalid_api_key", LLM_CREDENTIALS, false},
    {"permission_denied", LLM_CREDENTIALS, false},
    {"permission_error", LLM_CREDENTIALS, false},
    {"not_found_error", LLM_UNKNOWN_MODEL, false},
    {"invalid_request_error", LLM_REFUSED, false},
    {"invalid_request", LLM_REFUSED, false},
    {"provider_overloaded", LLM_UPSTREAM_OVERLOADED, false},
    {"overloaded_error", LLM_UPSTREAM_OVERLOADED, false},
    {"unavailable_error", LLM_UPSTREAM_OVERLOADED, false},
    {"timeout", LLM_UPSTREAM_OVERLOADED, false},
    {"provider_unavailable", LLM_UPSTREAM_ERROR, false},
    {"server_error", LLM_UPSTREAM_ERROR, false},
};

static enum llm_fault by_name(struct slice name, bool sure) {
    for (size_t i = 0; i < sizeof names / sizeof *names && name.len > 0; i++)
        if ((names[i].sure || !sure) && slice_is(name, names[i].name)) return names[i].fault;
    return LLM_OK;
}

static enum llm_fault by_status(unsigned status) {
    switch (status) {
    case 400:
    case 413:
    case 422: return LLM_REFUSED;
    case 401:
    case 403: return LLM_CREDENTIALS;
    case 402: return LLM_QUOTA;
    case 404: return LLM_UNKNOWN_MODEL;
    case 408: return LLM_TIMEOUT;
    case 429: return LLM_RATE_LIMITED;
    case 500:
    case 502: return LLM_UPSTREAM_ERROR;
    case 503:
    case 504:
    case 524:
    case 529: return LLM_UPSTREAM_OVERLOADED;
    default: return status >= 500 && status < 600 ? LLM_UPSTREAM_ERROR : LLM_BAD_ANSWER;
    }
}

/* Where no name tells, the sentence does. */
static const struct {
    unsigned status;
    const char *words;
    enum llm_fault fault;
} sentences[] = {
    {400, "is not a valid model", LLM_UNKNOWN_MODEL},          /* OpenRouter */
    {404, "No endpoints found that support", LLM_UNSUPPORTED}, /* OpenRouter: … image input */
    {500, "input is not supported - hint", LLM_UNSUPPORTED},   /* llama-server without mmproj */
    {400, "unsupported content[].type", LLM_UNSUPPORTED},      /* llama-server */
};

static bool contains(struct slice s, const char *what) {
    return s.len > 0 && memmem(s.ptr, s.len, what, strlen(what)) != NULL;
}

static enum llm_fault by_sentence(unsigned status, struct slice message) {
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++)
        if (sentences[i].status == status && contains(message, sentences[i].words))
            return sentences[i].fault;
    return LLM_OK;
}

enum llm_fault fault_of_error(unsigned status, const struct upstream_error *e) {
    uint64_t own;
    enum llm_fault f;
    if (e == NULL) return status == 200 ? LLM_UPSTREAM_ERROR : by_status(status);
    if ((f = by_name(e->code, true)) != LLM_OK || (f = by_name(e->type, true)) != LLM_OK) return f;
    if (e->flagged) return LLM_CONTENT_POLICY;
    if (status == 200 && slice_to_range(e->code, 300, 599, &own)) status = (unsigned)own;
    if ((f = by_sentence(status, e->message)) != LLM_OK) return f;
    if (status != 200) return by_status(status);
    if ((f = by_name(e->code, false)) != LLM_OK || (f = by_name(e->type, false)) != LLM_OK)
        return f;
    return LLM_UPSTREAM_ERROR;
}

struct slice fault_code(const struct upstream_error *e) {
    uint64_t number;
    if (slice_is(e->type, "exceed_context_size_error")) return SLICE("context_length_exceeded");
    if (e->code.len > 0 && !slice_to_u64(e->code, &number)) return e->code;
    return by_name(e->type, true) != LLM_OK ? e->type : SLICE("");
}

enum llm_fault fault_of_net(enum net_fault f) {
    switch (f) {
    case NET_OK: return LLM_OK;
    case NET_DNS:
    case NET_FORBIDDEN:
    case NET_REFUSED: return LLM_CONNECT;
    case NET_CONNECT_TIMEOUT: return LLM_CONNECT_TIMEOUT;
    case NET_TLS: return LLM_TLS;
    case NET_FIRST_BYTE_TIMEOUT:
    case NET_IDLE_TIMEOUT:
    case NET_TOTAL_TIMEOUT: return LLM_TIMEOUT;
    case NET_CUT:
    case NET_CANCELLED: return LLM_CUT;
    case NET_PROTOCOL: return LLM_BAD_ANSWER;
    case NET_MEMORY: return LLM_MEMORY;
    }
    return LLM_UPSTREAM_ERROR;
}

/* --- Retry-After */

static bool two_digits(const char *p, int *out) {
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9') return false;
    *out = (p[0] - '0') * 10 + (p[1] - '0');
    return true;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", the one form that is sent today. */
static bool http_date(struct slice s, int64_t *unix_s) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm t = {0};
    int high, low;
    if (s.len != 29 || memcmp(s.ptr + 3, ", ", 2) != 0 || memcmp(s.ptr + 25, " GMT", 4) != 0)
        return false;
    if (s.ptr[7] != ' ' || s.ptr[11] != ' ' || s.ptr[16] != ' ' || s.ptr[19] != ':' ||
        s.ptr[22] != ':')
        return false;
    while (t.tm_mon < 12 && memcmp(months + (size_t)t.tm_mon * 3, s.ptr + 8, 3) != 0) t.tm_mon++;
    if (t.tm_mon == 12 || !two_digits(s.ptr + 5, &t.tm_mday) || !two_digits(s.ptr + 12, &high) ||
        !two_digits(s.ptr + 14, &low) || !two_digits(s.ptr + 17, &t.tm_hour) ||
        !two_digits(s.ptr + 20, &t.tm_min) || !two_digits(s.ptr + 23, &t.tm_sec))
        return false;
    t.tm_year = high * 100 + low - 1900;
    *unix_s = (int64_t)timegm(&t);
    return true;
}

static int64_t capped(uint64_t ms) {
    return ms > FAULT_MAX_RETRY_AFTER_MS ? FAULT_MAX_RETRY_AFTER_MS : (int64_t)ms;
}

/* Digits of any length are a number: 20 nines are still "very long". A fraction of a second rounds up. */
static bool whole_number(struct slice s, uint64_t *out) {
    struct slice fraction, whole = slice_cut(s, '.', &fraction);
    if (whole.len == 0) return false;
    for (size_t i = 0; i < s.len; i++)
        if ((s.ptr[i] < '0' || s.ptr[i] > '9') && i != whole.len) return false;
    if (!slice_to_u64(whole, out)) *out = UINT64_MAX / 2000;
    if (fraction.len > 0) *out += 1;
    return true;
}

int64_t fault_retry_after(const struct h1_head *head, int64_t wall_ms) {
    uint64_t n;
    int64_t at_s;
    if (whole_number(h1_get(head, SLICE("retry-after-ms"), NULL), &n)) return capped(n);
    struct slice value = h1_get(head, SLICE("retry-after"), NULL);
    if (whole_number(value, &n)) return capped(n > FAULT_MAX_RETRY_AFTER_MS ? n : n * 1000);
    if (!http_date(value, &at_s)) return -1;
    return at_s * 1000 <= wall_ms ? 0 : capped((uint64_t)(at_s * 1000 - wall_ms));
}
