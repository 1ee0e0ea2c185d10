/* docs/bad-input.md, upstream, as data: what the mock does and what becomes of it at each surface. */
#ifndef ANYLLM_TEST_WIRE_BAD_UPSTREAM_H
#define ANYLLM_TEST_WIRE_BAD_UPSTREAM_H

#include <stddef.h>

/* How a stream ends: as the direct call does (nothing was sent before the fault), by an error in its last event and a
 * cut connection, or well. BEFORE: as SAME, while the direct call is well. Queued requests are streamed from the upstream
 * and end as a stream does; in OpenAI's dialect they are not. */
enum stream { SAME, IN_BAND, WELL, BEFORE };

struct row {
    const char *name;
    const char *path; /* of the mock */
    unsigned status;  /* of the direct call; 0: not made */
    const char *type; /* error_type; NULL: an answer, or a fault list */
    const char *says; /* in the answer; NULL: anything */
    enum stream stream;
    unsigned calls;      /* that reached the upstream, for one direct call; 0: any */
    const char *options; /* of the upstream, as YAML */
};

#define SHORT ", first_byte_timeout: 300ms, idle_timeout: 300ms"
#define ODD "unexpected upstream response"
#define TEXT "\"output\":\"The meaning of life"

/* clang-format off */
static const struct row rows[] = {
    {"good", "/ok", 200, NULL, TEXT, WELL, 1, ""},

    {"U3_401_of_the_upstream_is_502", "/status/401", 502, "runner_server_error", "upstream rejected the server's credentials", SAME, 1, ""},
    {"U3_403_of_the_upstream_is_502", "/status/403", 502, "runner_server_error", "upstream rejected the server's credentials", SAME, 1, ""},
    {"U4_400_is_422", "/status/400", 422, NULL, "\"loc\":", SAME, 1, ""},
    {"U4_422_is_422", "/status/422", 422, NULL, "\"loc\":", SAME, 1, ""},
    {"U5_404_is_502", "/status/404", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U7_no_quota_is_502", "/status/429/error-code/insufficient_quota", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U7_no_quota_with_retry_after_is_502", "/status/429/retry-after/7/error-code/insufficient_quota", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U8_500_is_502", "/status/500", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U8_502_is_502", "/status/502", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U9_503_is_503", "/status/503", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},
    {"U9_504_is_503", "/status/504", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},
    {"U9_524_is_503", "/status/524", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},
    {"U9_529_is_503", "/status/529", 503, "runner_scheduling_failure", NULL, SAME, 1, ""},

    {"U10_no_headers_is_504", "/silent", 504, "request_timeout", NULL, SAME, 1, SHORT},
    {"U11_silence_behind_the_head_is_504", "/stall/200", 504, "request_timeout", NULL, SAME, 0, SHORT},
    {"U11_silence_in_a_stream_is_told_in_it", "/stall/e3", 0, "request_timeout", NULL, IN_BAND, 0, SHORT},

    {"U12_HTML_is_502", "/html", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_empty_body_is_502", "/empty", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_null_is_502", "/null", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_no_choices_is_502", "/no-choices", 502, "runner_server_error", ODD, SAME, 2, ""},
    {"U12_empty_choices_are_502", "/choices-empty", 502, "runner_server_error", ODD, SAME, 2, ""},

    {"U13_cut_body_is_502", "/cut/300", 502, "runner_incomplete_response", NULL, SAME, 0, ""},
    {"U13_reset_body_is_502", "/reset/300", 502, "runner_incomplete_response", NULL, SAME, 0, ""},
    {"U13_stream_cut_by_FIN", "/cut/e5", 0, "runner_incomplete_response", NULL, IN_BAND, 0, ""},
    {"U13_stream_cut_by_RST", "/sse-interval/5/reset/e5", 0, "runner_incomplete_response", NULL, IN_BAND, 0, ""},
    {"U13_stream_without_DONE", "/no-done", 0, "runner_incomplete_response", NULL, IN_BAND, 0, ""},
    {"U13_stream_without_finish_reason", "/no-finish", 0, "runner_incomplete_response", NULL, IN_BAND, 0, ""},
    {"U13_stream_without_either", "/no-finish/no-done", 0, "runner_incomplete_response", NULL, IN_BAND, 0, ""},

    {"U14_error_in_the_body_is_502", "/error-in-stream", 502, "runner_server_error", NULL, IN_BAND, 0, ""},
    {"U14_error_429_in_the_body_is_429", "/error-in-stream/429", 429, "rate_limit_exceeded", NULL, IN_BAND, 0, ""},
    {"U14_error_503_in_the_body_is_503", "/error-in-stream/503", 503, "runner_scheduling_failure", NULL, IN_BAND, 0, ""},

    {"U15_lines_that_end_in_CR", "/cr-only", 0, NULL, NULL, WELL, 0, ""},
    {"U15_lines_that_end_in_CRLF", "/crlf", 0, NULL, NULL, WELL, 0, ""},
    {"U15_byte_order_mark", "/bom", 0, NULL, NULL, WELL, 0, ""},
    {"U15_flood_of_comments", "/comments/200", 0, NULL, NULL, WELL, 0, ""},
    {"U15_line_of_100_KB", "/bigline/100000", 200, NULL, NULL, WELL, 1, ""},
    {"U15_line_of_900_KB", "/bigline/900000", 200, NULL, NULL, WELL, 1, ""},
    {"U15_line_over_1_MiB", "/bigline/1100000", 200, NULL, NULL, BEFORE, 0, ""},
    {"U15_line_of_10_MB", "/bigline/10000000", 0, NULL, NULL, BEFORE, 0, ""},
    {"U15_data_in_1000_lines", "/data-lines/1000", 0, NULL, NULL, WELL, 0, ""},
    {"U15_other_fields", "/sse-fields", 0, NULL, NULL, WELL, 0, ""},
    {"U16_one_byte_at_a_time", "/onebyte/tokens/20", 200, NULL, TEXT, WELL, 1, ""},
    {"U16_chunks_of_one_byte", "/chunked/1", 200, NULL, TEXT, WELL, 1, ""},

    {"U18_flood_of_1xx_is_502", "/flood-1xx", 502, NULL, NULL, SAME, 0, ""},
    {"U18_10_MB_of_headers_is_502", "/headers-big", 502, NULL, NULL, SAME, 0, ""},
    {"U19_length_longer_than_the_body_is_502", "/longer-cl", 502, "runner_incomplete_response", NULL, WELL, 0, ""},
    {"U19_length_shorter_than_the_body_is_502", "/shorter-cl", 502, "runner_server_error", NULL, WELL, 0, ""},

    {"U20_301_is_not_followed", "/status/301", 502, NULL, NULL, SAME, 0, ""},
    {"U20_302_is_not_followed", "/status/302", 502, NULL, NULL, SAME, 0, ""},
    {"U20_307_is_not_followed", "/redirect", 502, NULL, NULL, SAME, 0, ""},
    {"U20_308_is_not_followed", "/status/308", 502, NULL, NULL, SAME, 0, ""},

    {"U21_gzip_is_502", "/gzip", 502, "runner_server_error", NULL, SAME, 0, ""},
    {"U21_unknown_encoding_is_502", "/encoding/br", 502, "runner_server_error", NULL, SAME, 0, ""},
    {"U21_identity_is_good", "/encoding/identity", 200, NULL, TEXT, WELL, 1, ""},

    {"U22_no_usage", "/usage/missing", 200, NULL, TEXT, WELL, 1, ""},
    {"U22_negative_usage", "/usage/negative", 200, NULL, TEXT, WELL, 1, ""},
    {"U22_absurd_usage", "/usage/absurd", 200, NULL, TEXT, WELL, 1, ""},

    {"U23_finish_reason_length", "/length-finish", 200, NULL, "\"partial\":false", WELL, 1, ""},
    {"U23_finish_reason_content_filter", "/finish/content_filter", 200, NULL, "\"partial\":false", WELL, 1, ""},
    {"U23_unknown_finish_reason", "/finish/tired", 200, NULL, "\"partial\":false", WELL, 1, ""},

    {"U26_echoed_key_is_scrubbed", "/echo-auth", 502, "runner_server_error", NULL, SAME, 1, ""},
    {"U26_echoed_key_in_a_400_is_scrubbed", "/status/400/echo-auth", 422, NULL, "\"loc\":", SAME, 1, ""},
    {"U26_echoed_key_in_a_500_is_scrubbed", "/status/500/echo-auth", 502, NULL, NULL, SAME, 0, ""},
    {"U26_echoed_key_in_a_429_is_scrubbed", "/status/429/echo-auth", 429, NULL, NULL, SAME, 0, ""},
};
/* clang-format on */

#define NROWS (sizeof rows / sizeof *rows)

#endif
