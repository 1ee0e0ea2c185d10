/* For operators: health and readiness. */
#include "api/ops.h"

#include <stdio.h>

struct store_stats ops_store_stats(const struct api *a) {
    struct store_stats s = {0};
    if (a->store != NULL && a->store->backend->stats != NULL)
        a->store->backend->stats(a->store, &s);
    return s;
}

const char *ops_check_name(int check) {
    static const char *const names[] = {[STORE_UNCHECKED] = "unchecked",
                                        [STORE_CHECKING] = "checking",
                                        [STORE_SOUND] = "sound",
                                        [STORE_DAMAGED] = "damaged"};
    return names[check];
}

void handle_health(struct call *c) {
    call_json(c, 200, SLICE("{\"status\":\"ok\"}"));
}

/* Ready: the store can write and one upstream can serve. While what is unfinished is still being read, and while the store is
 * looked through after a crash, submits are taken: damage that is found ends that. */
void handle_ready(struct call *c) {
    struct api *a = c->api;
    struct queue_stats q = {0};
    int check = (int)ops_store_stats(a).check;
    if (a->queue != NULL) queue_get_stats(a->queue, &q);
    bool upstream = a->llm != NULL && llm_ready(a->llm);
    bool store = a->queue != NULL && a->store_ok && check != STORE_DAMAGED;
    bool ready = upstream && store && !a->draining;
    struct buf *b = call_scratch(c);
    buf_printf(b,
               "{\"status\":\"%s\",\"store\":%s,\"check\":\"%s\",\"loading\":%s,\"upstream\":%s,"
               "\"draining\":%s}",
               ready ? "ready" : "not_ready", store ? "true" : "false", ops_check_name(check),
               q.loading ? "true" : "false", upstream ? "true" : "false",
               a->draining ? "true" : "false");
    if (!ready) net_header(c->x, SLICE("retry-after"), SLICE("1"));
    call_scratch_json(c, ready ? 200 : 503);
}
