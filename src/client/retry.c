#include "client/client.h"

#include <stdlib.h>

/* Statuses after which a request that changes nothing, or changes the same thing twice, is sent
 * again. The ones marked `undone` say that the server did not carry it out at all, so that even a
 * POST may be repeated. 502 and 504 come from a gateway that lost sight of its server: the fate is
 * unknown. */
static const struct {
    int status;
    bool undone;
} passing[] = {{408, true}, {409, true}, {429, true}, {502, false}, {503, true}, {504, false}};

static bool status_passes(int status, bool *undone) {
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (passing[i].status == status) {
            *undone = passing[i].undone;
            return true;
        }
    }
    return false;
}

bool client_retry_useful(const struct client_attempt *a) {
    bool undone = false;
    if (a->code != FAL_OK) {
        return a->may_pass;
    }
    return status_passes(a->http_status, &undone) && !a->start_timeout && !a->marked_final;
}

bool client_retry_wanted(const struct client_attempt *a) {
    if (!client_retry_useful(a)) {
        return false;
    }
    if (a->method != CLIENT_POST) {
        return true;
    }
    bool undone = a->not_sent;
    if (a->code == FAL_OK) {
        status_passes(a->http_status, &undone);
    }
    return undone || (a->keyed && !a->fal);
}

int64_t client_retry_pause_ms(const struct random *random, int64_t base_ms, unsigned attempt) {
    int64_t pause = base_ms;
    for (unsigned i = 0; i < attempt && pause < CLIENT_RETRY_CAP_MS; i++) {
        pause *= 2;
    }
    if (pause > CLIENT_RETRY_CAP_MS) {
        pause = CLIENT_RETRY_CAP_MS;
    }
    int64_t quarter = pause / 4;
    return pause - quarter + (int64_t)random_below(random, (uint64_t)(2 * quarter) + 1);
}

double client_retry_after_s(const char *value, int64_t now_s) {
    uint64_t seconds = 0;
    if (slice_to_range(slice_of(value), 0, 1000000000, &seconds)) {
        return (double)seconds;
    }
    time_t when = curl_getdate(value, NULL);
    if (when == (time_t)-1) {
        return -1.0;
    }
    return when > now_s ? (double)(when - now_s) : 0.0;
}
