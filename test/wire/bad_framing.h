/* docs/bad-input.md as data: what a peer sends, the status it gets, and whether the connection goes on. Each row is sent
 * whole, one byte at a time, and as the second request of a pipelined pair; each time another request follows, which
 * must not be answered where the connection is to end. */
#ifndef ANYLLM_TEST_WIRE_BAD_FRAMING_H
#define ANYLLM_TEST_WIRE_BAD_FRAMING_H

#include "peer.h"

enum after { CLOSED, KEPT, EITHER };

struct row {
    const char *name, *bytes;
    size_t len;
    unsigned status;
    enum after after;
    const char *says; /* in the answer; NULL: anything */
};

/* clang-format off */
#define ROW(name, bytes, status, after, says) {name, bytes, sizeof(bytes) - 1, status, after, says}
#define BAD(name, bytes) ROW(name, bytes, 400, CLOSED, "Bad request: ")
#define BAD_SAYS(name, bytes, says) ROW(name, bytes, 400, CLOSED, "Bad request: " says)
#define BODY "{\"prompt\":\"x\"}" /* 14 bytes */
#define SUBMIT_LINE "POST /queue/fal-ai/any-llm HTTP/1.1\r\n"
#define SUBMIT(headers) SUBMIT_LINE HOST headers "\r\n"
#define GET_WITH(headers) "GET /healthz HTTP/1.1\r\n" HOST headers "\r\n"
#define LENGTH(value) SUBMIT("Content-Length:" value "\r\n") BODY
#define CODING(value) SUBMIT("Transfer-Encoding:" value "\r\n") "e\r\n" BODY "\r\n0\r\n\r\n"
#define CHUNKED SUBMIT("Transfer-Encoding: chunked\r\n")
#define LINE(line) line "\r\n" HOST "\r\n"
#define WITH_HOST(value) "GET /healthz HTTP/1.1\r\nHost:" value "\r\n\r\n"
#define GET_PATH(path) LINE("GET " path " HTTP/1.1")
/* The body that would follow if the request were good: it must not become a request either. */
#define HELLO_CHUNK "e\r\n" BODY "\r\n"
#define LAST_CHUNK "0\r\n\r\n"

#define BOTH "both Content-Length and Transfer-Encoding"
#define REPEATED "repeated Content-Length"
#define INVALID "invalid Content-Length"
#define RANGE "Content-Length out of range"
#define TE "unsupported or repeated Transfer-Encoding"
#define CRLF "line must end in CRLF"
#define NAME "invalid header name"

static const struct row rows[] = {
    BAD_SAYS("H1_length_then_chunked_is_400", SUBMIT("Content-Length: 14\r\nTransfer-Encoding: chunked\r\n") HELLO_CHUNK LAST_CHUNK, BOTH),
    BAD_SAYS("H1_chunked_then_length_is_400", SUBMIT("Transfer-Encoding: chunked\r\nContent-Length: 14\r\n") HELLO_CHUNK LAST_CHUNK, BOTH),
    BAD_SAYS("H1_with_length_0_is_400", SUBMIT("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n") HELLO_CHUNK LAST_CHUNK, BOTH),

    BAD_SAYS("H2_same_length_twice_is_400", SUBMIT("Content-Length: 14\r\nContent-Length: 14\r\n") BODY, REPEATED),
    BAD_SAYS("H2_different_lengths_are_400", SUBMIT("Content-Length: 14\r\ncontent-length: 0\r\n") BODY, REPEATED),
    BAD_SAYS("H2_list_of_same_lengths_is_400", LENGTH(" 14, 14"), REPEATED),
    BAD_SAYS("H2_list_of_different_lengths_is_400", LENGTH(" 14,15"), REPEATED),

    BAD_SAYS("H3_plus_is_400", LENGTH(" +14"), INVALID),
    BAD_SAYS("H3_minus_is_400", LENGTH(" -14"), INVALID),
    BAD_SAYS("H3_minus_0_is_400", LENGTH(" -0"), INVALID),
    BAD_SAYS("H3_hexadecimal_is_400", LENGTH(" 0xe"), INVALID),
    BAD_SAYS("H3_underscore_is_400", LENGTH(" 1_4"), INVALID),
    BAD_SAYS("H3_inner_space_is_400", LENGTH(" 1 4"), INVALID),
    BAD_SAYS("H3_letter_behind_is_400", LENGTH(" 14Z"), INVALID),
    BAD_SAYS("H3_empty_is_400", LENGTH(""), INVALID),
    BAD_SAYS("H3_tab_only_is_400", LENGTH("\t"), INVALID),
    BAD("H3_decimal_point_is_400", LENGTH(" 14.0")),
    BAD("H3_exponent_is_400", LENGTH(" 1e1")),

    BAD_SAYS("H4_2_to_the_64_is_400", LENGTH(" 18446744073709551616"), RANGE),
    BAD_SAYS("H4_2_to_the_64_and_14_is_400", LENGTH(" 18446744073709551630"), RANGE),
    BAD_SAYS("H4_2_to_the_63_is_400", LENGTH(" 9223372036854775808"), RANGE),
    BAD_SAYS("H4_40_digits_are_400", LENGTH(" 1000000000000000000000000000000000000014"), RANGE),

    BAD("H6_leading_zero_is_400", LENGTH(" 014")),
    BAD("H6_octal_is_400", LENGTH(" 016")),

    BAD_SAYS("H7_two_headers_are_400", SUBMIT("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") HELLO_CHUNK LAST_CHUNK, TE),
    BAD_SAYS("H7_chunked_twice_is_400", CODING(" chunked, chunked"), TE),
    BAD_SAYS("H7_leading_comma_is_400", CODING(" ,chunked"), TE),
    BAD_SAYS("H7_trailing_comma_is_400", CODING(" chunked,"), TE),
    BAD_SAYS("H7_xchunked_is_400", CODING(" xchunked"), TE),
    BAD_SAYS("H7_chunkedchunked_is_400", CODING(" chunkedchunked"), TE),
    BAD_SAYS("H7_parameter_is_400", CODING(" chunked;q=1"), TE),
    BAD_SAYS("H7_empty_is_400", CODING(""), TE),
    BAD_SAYS("H7_identity_then_chunked_is_400", SUBMIT("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n") HELLO_CHUNK LAST_CHUNK, TE),

    ROW("H8_gzip_then_chunked_is_501", CODING(" gzip, chunked"), 501, CLOSED, "transfer coding not implemented"),
    ROW("H8_identity_is_501", CODING(" identity"), 501, CLOSED, "transfer coding not implemented"),
    ROW("H8_unknown_coding_is_501", CODING(" cow"), 501, CLOSED, "transfer coding not implemented"),

    BAD("H9_vertical_tab_before_is_400", CODING(" \x0b" "chunked")),
    BAD("H9_vertical_tab_behind_is_400", CODING(" chunked\x0b")),
    BAD("H9_form_feed_before_is_400", CODING(" \x0c" "chunked")),
    BAD("H9_form_feed_behind_is_400", CODING(" chunked\x0c")),
    BAD("H9_nul_before_is_400", CODING(" \0chunked")),
    BAD("H9_nul_behind_is_400", CODING(" chunked\0")),
    BAD("H9_no_break_space_before_is_400", CODING(" \xa0" "chunked")),
    BAD("H9_no_break_space_behind_is_400", CODING(" chunked\xa0")),
    BAD("H9_ff_before_is_400", CODING(" \xff" "chunked")),
    BAD("H9_ff_behind_is_400", CODING(" chunked\xff")),

    BAD_SAYS("H10_space_before_colon_of_coding_is_400", SUBMIT("Transfer-Encoding : chunked\r\n") HELLO_CHUNK LAST_CHUNK, NAME),
    BAD_SAYS("H10_space_before_colon_of_length_is_400", SUBMIT("Content-Length : 14\r\n") BODY, NAME),
    BAD_SAYS("H10_tab_before_colon_is_400", SUBMIT("Content-Length\t: 14\r\n") BODY, NAME),
    BAD_SAYS("H10_x85_before_colon_is_400", SUBMIT("Transfer-Encoding\x85: chunked\r\n") HELLO_CHUNK LAST_CHUNK, NAME),

    ROW("H11_underscore_is_an_unknown_header", "POST /run/fal-ai/any-llm HTTP/1.1\r\n" HOST "Transfer_Encoding: chunked\r\n\r\n", 422, KEPT, "\"missing\""),

    BAD("H12_chunked_on_http_1_0_is_400", "POST /queue/fal-ai/any-llm HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n" HELLO_CHUNK LAST_CHUNK),
    BAD("H12_kept_http_1_0_is_400", "POST /queue/fal-ai/any-llm HTTP/1.0\r\n" HOST "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" HELLO_CHUNK LAST_CHUNK),

    BAD_SAYS("H13_folded_value_is_400", SUBMIT("X: a\r\n b\r\nContent-Length: 14\r\n") BODY, "line folding not allowed"),
    BAD_SAYS("H13_folded_by_tab_is_400", SUBMIT("X: a\r\n\tb\r\nContent-Length: 14\r\n") BODY, "line folding not allowed"),
    BAD_SAYS("H13_folded_coding_is_400", SUBMIT("Transfer-Encoding:\r\n chunked\r\n") HELLO_CHUNK LAST_CHUNK, "line folding not allowed"),
    BAD_SAYS("H13_folded_length_is_400", SUBMIT("Content-Length:\r\n 14\r\n") BODY, "line folding not allowed"),
    BAD_SAYS("H13_folded_host_is_400", SUBMIT_LINE "Host:\r\n 127.0.0.1\r\nContent-Length: 14\r\n\r\n" BODY, "line folding not allowed"),
    BAD_SAYS("H13_folded_last_header_is_400", SUBMIT("Content-Length: 14\r\n \r\n") BODY, "line folding not allowed"),

    BAD("H14_space_before_first_header_is_400", SUBMIT_LINE " Host: 127.0.0.1\r\nContent-Length: 14\r\n\r\n" BODY),
    BAD("H14_tab_before_first_header_is_400", SUBMIT_LINE "\tHost: 127.0.0.1\r\nContent-Length: 14\r\n\r\n" BODY),

    BAD_SAYS("H15_bare_lf_ends_request_line_is_400", "GET /healthz HTTP/1.1\n" HOST "\r\n", CRLF),
    BAD_SAYS("H15_bare_lf_ends_header_is_400", GET_WITH("X: y\n"), CRLF),
    BAD_SAYS("H15_bare_lf_ends_head_is_400", "GET /healthz HTTP/1.1\r\n" HOST "\n", CRLF),
    BAD_SAYS("H15_bare_lf_ends_chunk_line_is_400", CHUNKED "e\n" BODY "\r\n" LAST_CHUNK, CRLF),
    BAD("H15_bare_lf_ends_chunk_data_is_400", CHUNKED "e\r\n" BODY "\n" LAST_CHUNK),
    BAD_SAYS("H15_bare_lf_ends_last_chunk_is_400", CHUNKED HELLO_CHUNK "0\n\r\n", CRLF),
    BAD_SAYS("H15_bare_lf_ends_trailer_is_400", CHUNKED HELLO_CHUNK "0\r\nX: y\n\r\n", CRLF),
    BAD_SAYS("H15_bare_lf_ends_trailers_is_400", CHUNKED HELLO_CHUNK "0\r\n\n", CRLF),

    BAD("H16_bare_cr_in_name_is_400", GET_WITH("X\rY: z\r\n")),
    BAD("H16_bare_cr_in_value_is_400", GET_WITH("X: y\rz\r\n")),
    BAD("H16_bare_cr_ends_value_is_400", GET_WITH("X: y\r\r\n")),
    BAD("H16_bare_cr_as_line_end_is_400", GET_WITH("X: y\rContent-Length: 5\r\n")),
    BAD("H16_bare_cr_in_target_is_400", GET_PATH("/heal\rthz")),
    BAD("H16_bare_cr_in_method_is_400", LINE("GE\rT /healthz HTTP/1.1")),
    BAD("H16_bare_cr_behind_version_is_400", LINE("GET /healthz HTTP/1.1\r")),
    BAD("H16_two_cr_in_chunk_line_are_400", CHUNKED "2\r\r;a\r\n02\r\n2d\r\n" LAST_CHUNK),
    BAD("H16_cr_x_in_chunk_line_is_400", CHUNKED "2\rX\r\nab\r\n" LAST_CHUNK),
    BAD("H16_chunk_line_begins_with_cr_is_400", CHUNKED "\rX2\r\nab\r\n" LAST_CHUNK),
    BAD("H16_bare_cr_in_trailer_is_400", CHUNKED HELLO_CHUNK "0\r\nX: y\rz\r\n\r\n"),

    BAD("H17_nul_in_method_is_400", LINE("GE\0T /healthz HTTP/1.1")),
    BAD("H17_nul_first_is_400", LINE("\0GET /healthz HTTP/1.1")),
    BAD("H17_nul_in_target_is_400", GET_PATH("/healthz\0")),
    BAD("H17_nul_in_version_is_400", LINE("GET /healthz HTTP/1.1\0")),
    BAD("H17_nul_in_name_is_400", GET_WITH("X\0Y: z\r\n")),
    BAD("H17_nul_in_value_is_400", GET_WITH("X: y\0z\r\n")),
    BAD("H17_nul_in_host_is_400", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\0.evil.example\r\n\r\n"),
    BAD("H17_nul_in_trailer_is_400", CHUNKED HELLO_CHUNK "0\r\nX: \0\r\n\r\n"),

    BAD("H19_empty_name_is_400", GET_WITH(": x\r\n")),
    BAD("H19_no_colon_is_400", GET_WITH("X\r\n")),
    BAD("H19_colon_alone_is_400", GET_WITH(":\r\n")),
    BAD("H19_space_as_name_is_400", SUBMIT_LINE HOST "X: y\r\n : z\r\n\r\n"),

    BAD_SAYS("H20_hexadecimal_prefix_is_400", CHUNKED "0xe\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_plus_is_400", CHUNKED "+e\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_minus_is_400", CHUNKED "-e\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_underscore_is_400", CHUNKED "0_e\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_leading_space_is_400", CHUNKED " e\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_trailing_space_is_400", CHUNKED "e \r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_trailing_tab_is_400", CHUNKED "e\t\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_empty_is_400", CHUNKED "\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_not_hexadecimal_is_400", CHUNKED "g\r\n" BODY "\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_words_are_400", CHUNKED "1these\r\nx\r\n" LAST_CHUNK, "invalid chunk size"),
    BAD_SAYS("H20_later_chunk_is_400", CHUNKED HELLO_CHUNK "+0\r\n\r\n", "invalid chunk size"),

    BAD("H21_16_f_are_400", CHUNKED "ffffffffffffffff\r\n" BODY "\r\n" LAST_CHUNK),
    BAD("H21_17_digits_are_400", CHUNKED "1000000000000000e\r\n" BODY "\r\n" LAST_CHUNK),
    BAD("H21_17_digits_with_zeros_are_400", CHUNKED "0000000000000000e\r\n" BODY "\r\n" LAST_CHUNK),

    BAD("H22_data_longer_than_size_is_400", CHUNKED "d\r\n" BODY "\r\n" LAST_CHUNK),
    BAD("H22_data_shorter_than_size_is_400", CHUNKED "f\r\n" BODY "\r\n" LAST_CHUNK),
    BAD("H22_no_crlf_behind_data_is_400", CHUNKED "e\r\n" BODY LAST_CHUNK),
    BAD("H22_trailer_without_colon_is_400", CHUNKED HELLO_CHUNK "0\r\nX\r\n\r\n"),
    BAD("H22_folded_trailer_is_400", CHUNKED HELLO_CHUNK "0\r\nX: y\r\n z\r\n\r\n"),

    BAD_SAYS("H23_control_in_extension_is_400", CHUNKED "e;a\x01\r\n" BODY "\r\n" LAST_CHUNK, "chunk extension"),
    BAD("H23_bare_cr_in_extension_is_400", CHUNKED "e;a\rX\r\n" BODY "\r\n" LAST_CHUNK),
    BAD("H23_bare_lf_in_extension_is_400", CHUNKED "e;a\nX\r\n" BODY "\r\n" LAST_CHUNK),
    BAD("H23_bare_lf_first_in_extension_is_400", CHUNKED "e;\n" BODY "\r\n" LAST_CHUNK),
    BAD("H23_extension_of_last_chunk_is_400", CHUNKED HELLO_CHUNK "0;\n\r\n"),

    BAD_SAYS("H27_no_host_is_400", "GET /healthz HTTP/1.1\r\n\r\n", "invalid Host"),
    BAD_SAYS("H27_two_hosts_are_400", GET_WITH("Host: 127.0.0.1\r\n"), "invalid Host"),
    BAD_SAYS("H27_two_hosts_that_differ_are_400", GET_WITH("Host: evil.example\r\n"), "invalid Host"),
    BAD_SAYS("H27_list_is_400", WITH_HOST(" 127.0.0.1, b"), "invalid Host"),
    BAD_SAYS("H27_slash_is_400", WITH_HOST(" 127.0.0.1/b"), "invalid Host"),
    BAD_SAYS("H27_user_is_400", WITH_HOST(" user@127.0.0.1"), "invalid Host"),
    BAD_SAYS("H27_query_is_400", WITH_HOST(" 127.0.0.1/?"), "invalid Host"),
    BAD_SAYS("H27_fragment_is_400", WITH_HOST(" 127.0.0.1/#"), "invalid Host"),
    BAD_SAYS("H27_question_mark_is_400", WITH_HOST(" 127.0.0.1?"), "invalid Host"),
    BAD_SAYS("H27_empty_is_400", WITH_HOST(""), "invalid Host"),
    BAD_SAYS("H27_space_only_is_400", WITH_HOST("  "), "invalid Host"),

    BAD("H28_target_names_another_host_is_400", GET_PATH("http://evil.example/healthz")),
    BAD("H28_target_names_another_port_is_400", GET_PATH("http://127.0.0.1:1/healthz")),
    BAD("H28_target_with_user_is_400", GET_PATH("http://x@127.0.0.1/healthz")),
    ROW("H28_target_names_the_same_host_is_200", GET_PATH("http://127.0.0.1/healthz"), 200, KEPT, NULL),

    BAD("H29_two_spaces_are_400", LINE("GET  /healthz HTTP/1.1")),
    BAD("H29_two_spaces_before_version_are_400", LINE("GET /healthz  HTTP/1.1")),
    BAD("H29_tab_is_400", LINE("GET\t/healthz HTTP/1.1")),
    BAD("H29_tab_before_version_is_400", LINE("GET /healthz\tHTTP/1.1")),
    BAD("H29_leading_space_is_400", LINE(" GET /healthz HTTP/1.1")),
    BAD("H29_leading_tab_is_400", LINE("\tGET /healthz HTTP/1.1")),
    BAD("H29_space_behind_version_is_400", LINE("GET /healthz HTTP/1.1 ")),
    BAD("H29_space_in_target_is_400", LINE("GET /heal thz HTTP/1.1")),

    ROW("H30_1_2_is_505", LINE("GET /healthz HTTP/1.2"), 505, CLOSED, "HTTP version not supported"),
    ROW("H30_2_0_is_505", LINE("GET /healthz HTTP/2.0"), 505, CLOSED, "HTTP version not supported"),
    ROW("H30_1_32_is_505", LINE("GET /healthz HTTP/1.32"), 505, CLOSED, "HTTP version not supported"),
    ROW("H30_9_9_is_505", LINE("GET /healthz HTTP/9.9"), 505, CLOSED, "HTTP version not supported"),
    ROW("H30_large_is_505", LINE("GET /healthz HTTP/4294967295.255"), 505, CLOSED, "HTTP version not supported"),
    BAD("H30_no_minor_is_400", LINE("GET /healthz HTTP/1.")),
    BAD("H30_no_point_is_400", LINE("GET /healthz HTTP/11")),
    BAD("H30_lower_case_is_400", LINE("GET /healthz http/1.1")),
    BAD("H30_letters_are_400", LINE("GET /healthz HTTP/a.b")),
    BAD("H30_another_protocol_is_400", LINE("GET /healthz RTSP/1.0")),

    BAD("H31_http_0_9_is_400", "GET /healthz\r\n"),
    BAD("H31_http_0_9_with_space_is_400", "GET /healthz \r\n\r\n"),

    ROW("H32_http_2_preface_is_505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, CLOSED, NULL),

    BAD("H33_lower_case_is_400", LINE("get /healthz HTTP/1.1")),
    BAD("H33_quotes_are_400", LINE("G=\"(e) /healthz HTTP/1.1")),
    ROW("H33_unknown_method_is_501", LINE("BREW /healthz HTTP/1.1"), 501, EITHER, NULL),
    ROW("H33_webdav_is_501", LINE("PROPFIND / HTTP/1.1"), 501, EITHER, NULL),

    ROW("H34_connect_is_405", "CONNECT 127.0.0.1:443 HTTP/1.1\r\n" "Host: 127.0.0.1:443\r\n\r\n", 405, EITHER, NULL),
    ROW("H34_trace_is_405", LINE("TRACE /healthz HTTP/1.1"), 405, EITHER, NULL),
    ROW("H34_options_star_is_204", LINE("OPTIONS * HTTP/1.1"), 204, KEPT, NULL),

    ROW("H36_two_good_requests_are_answered", HEALTHZ, 200, KEPT, NULL),

    ROW("H39_upgrade_to_h2c_is_ignored", GET_WITH("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), 200, KEPT, NULL),
    ROW("H39_upgrade_to_websocket_is_ignored", GET_WITH("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 200, KEPT, NULL),

    BAD("H40_escaped_nul_is_400", GET_PATH("/healthz%00")),
    BAD("H40_bad_escape_is_400", GET_PATH("/healthz%zz")),
    BAD("H40_cut_escape_is_400", GET_PATH("/healthz%4")),
    BAD("H40_lone_percent_is_400", GET_PATH("/%/healthz")),
    ROW("H40_escaped_crlf_is_404", GET_PATH("/healthz%0d%0aX:y"), 404, KEPT, NULL),
    ROW("H40_escaped_dots_are_404", GET_PATH("/run/%2e%2e/healthz"), 404, KEPT, NULL),
    ROW("H40_dots_are_404", GET_PATH("/run/../healthz"), 404, KEPT, NULL),
    ROW("H40_dots_with_semicolon_are_404", GET_PATH("/run/..;/healthz"), 404, KEPT, NULL),
    ROW("H40_backslash_is_404", GET_PATH("/run\\..\\healthz"), 404, KEPT, NULL),
    ROW("H40_overlong_utf8_is_404", GET_PATH("/run/%c0%ae%c0%ae/healthz"), 404, KEPT, NULL),
    ROW("H40_two_slashes_are_404", GET_PATH("//healthz"), 404, KEPT, NULL),
    ROW("H40_single_dot_is_404", GET_PATH("/./healthz"), 404, KEPT, NULL),
    ROW("H40_escaped_letter_is_404", GET_PATH("/%68ealthz"), 404, KEPT, NULL),
    ROW("H40_escaped_slash_is_404", GET_PATH("/queue%2ffal-ai/any-llm/requests/00000000-0000-4000-8000-000000000000/status"), 404, KEPT, NULL),

    BAD("H41_fragment_is_400", GET_PATH("/healthz#x")),
    BAD("H41_raw_utf8_is_400", GET_PATH("/caf\xc3\xa9")),
    BAD("H41_raw_byte_is_400", GET_PATH("/\xff")),

    BAD("H42_three_empty_lines_are_400", "\r\n\r\n\r\n"),
    ROW("H42_two_empty_lines_are_skipped", "\r\n\r\n" HEALTHZ, 200, KEPT, NULL),
    BAD("H42_tls_hello_is_400", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x9a\x10\x00\x0a\r\n\r\n"),
    BAD("H42_binary_noise_is_400", "\xde\xad\xbe\xef\x00\x01\x02\x03\x80\xff\r\n\r\n"),

    ROW("H43_nothing_is_read_behind_close", GET_WITH("Connection: close\r\n"), 200, CLOSED, NULL),
    ROW("H43_close_in_a_list", GET_WITH("Connection: TE, Close\r\n"), 200, CLOSED, NULL),
};
/* clang-format on */

#define NROWS (sizeof rows / sizeof *rows)

#endif
