#include "api/realtime_input.h"

#include "api/admit.h"
#include "api/ledger.h"

#define INPUT_ARENA_BYTES (64U << 20)

void input_init(struct input *in, struct call *c) {
    *in = (struct input){.call = c};
    arena_init(&in->arena, INPUT_ARENA_BYTES);
    faults_init(&in->faults);
}

void input_free(struct input *in) {
    arena_free(&in->arena);
    faults_free(&in->faults);
}

void input_end(struct input *in) {
    admit_gone(in->call);
    call_drop_input(in->call);
    faults_free(&in->faults);
    faults_init(&in->faults);
    arena_reset(&in->arena);
    in->id = SLICE("");
}

/* --- beginning */

/* A token may expire meanwhile, a revoked key may not. */
static bool key_holds(struct call *c, struct input_refusal *why) {
    struct identity now;
    if (keyring_identity(c->api->keys, c->who.key_name, &now)) return true;
    *why = (struct input_refusal){.status = 401, .type = "unauthorized", .key_ended = true};
    why->reason = SLICE("The key behind this connection is no longer valid");
    return false;
}

static bool has_room(struct call *c, struct input_refusal *why) {
    const char *detail;
    uint64_t wait_ms = 0;
    enum limit over = admit_input(c, &wait_ms);
    if (over == LIMIT_NONE) return true;
    *why = (struct input_refusal){.status = 429, .wait_ms = wait_ms > 0 ? wait_ms : 1000};
    admit_refusal(over, &why->type, &detail);
    why->reason = slice_of(detail);
    return false;
}

static void keep_id(struct input *in) {
    struct slice id = json_str(json_get(yyjson_doc_get_root(in->call->input), "request_id"));
    if (id.len > 0 && id.len <= INPUT_ID_MAX_BYTES) in->id = arena_copy(&in->arena, id);
}

static bool read_input(struct input *in, struct slice json, struct input_refusal *why) {
    struct call *c = in->call;
    struct faults *f = &in->faults;
    c->input = endpoint_parse(json, f);
    if (c->input != NULL) keep_id(in);
    bool ok = c->input != NULL &&
              endpoint_read(c->endpoint, yyjson_doc_get_root(c->input), c->api->llm,
                            c->api->catalogue, &in->arena, &c->request, f);
    if (ok) return true;
    *why = (struct input_refusal){
        .status = 422, .reason = buf_slice(&f->text), .faults = f->count > 0 ? f : NULL};
    return false;
}

static bool start(struct input *in, const struct llm_sink *sink, struct input_refusal *why) {
    struct call *c = in->call;
    bool begun = call_launch(c, sink, &in->err);
    if (!begun) input_failed(in, &in->err, why);
    return begun;
}

bool input_start(struct input *in, struct slice json, bool stream, const struct llm_sink *sink,
                 struct input_refusal *why) {
    struct call *c = in->call;
    random_uuid7(c->api->random, clock_wall_ms(c->api->clock), c->request_id);
    c->request = (struct llm_request){.request_id = c->request_id,
                                      .stream = stream,
                                      .hint = c->options.hint,
                                      .no_fallback = c->options.no_fallback};
    if (!key_holds(c, why) || !read_input(in, json, why)) return false;
    c->request.stream = stream;
    return has_room(c, why) && start(in, sink, why);
}

/* --- what went wrong */

void input_failed(struct input *in, const struct llm_error *err, struct input_refusal *why) {
    const struct llm_fault_info *info = llm_fault_info(err->fault);
    *why = (struct input_refusal){
        .status = info->http_status, .type = info->error_type, .reason = err->message, .err = err};
    if (info->retryable && err->retry_after_ms >= 0) why->wait_ms = (uint64_t)err->retry_after_ms;
}

void input_add_id(struct buf *b, const struct input *in) {
    if (in->id.len == 0) return;
    buf_puts(b, "\"request_id\":");
    json_add_string(b, in->id, true);
}

/* The words of fal's own runners are in capitals. */
static void add_word(struct buf *b, const char *type) {
    buf_addc(b, '"');
    for (; *type != '\0'; type++)
        buf_addc(b, (char)(*type >= 'a' && *type <= 'z' ? *type - 'a' + 'A' : *type));
    buf_addc(b, '"');
}

void input_event(struct buf *b, const struct input *in, const struct input_refusal *why) {
    buf_puts(b, "{\"type\":\"x-fal-error\",\"error\":");
    add_word(b, why->type != NULL ? why->type : "validation_error");
    buf_puts(b, ",\"reason\":");
    json_add_string(b, why->reason, true);
    buf_printf(b, ",\"status\":%u", why->status);
    if (why->wait_ms > 0)
        buf_printf(b, ",\"retry_after\":%llu", (unsigned long long)(why->wait_ms + 999) / 1000);
    if (why->faults != NULL) {
        buf_puts(b, ",\"detail\":");
        buf_add(b, buf_slice(&why->faults->json));
        buf_addc(b, ']');
    }
    if (in->id.len > 0) buf_addc(b, ',');
    input_add_id(b, in);
    buf_addc(b, '}');
}

void input_body(struct buf *b, const struct input_refusal *why) {
    if (why->faults != NULL)
        faults_json(b, why->faults);
    else if (why->err != NULL)
        error_json(b, why->err);
    else
        flat_json(b, why->reason, why->type);
}
