#include "client/client.h"

/* Statuses after which a request that changes nothing, or changes the same thing twice, is sent
 * again. The ones marked `undone` say that the server did not carry it out at all, so that even a
 * POST may be repeated. 502 and 504 come from a gateway that lost sight of its server: the fate is
 * unknown. */
static const struct {
    int status;
    bool undone;
} passing[] = {{408, true}, {409, true}, {429, true}, {502, false}, {503, true}, {504, false}};

static bool status_undone(int status) {
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (passing[i].status == status) {
            return passing[i].undone;
        }
    }
    return false;
}

/* A list of the caller's says which statuses pass; what is known of their fate stays. */
static bool status_passes(const struct client_attempt *a) {
    if (a->statuses != NULL) {
        for (size_t i = 0; i < a->status_count; i++) {
            if (a->statuses[i] == a->http_status) {
                return true;
            }
        }
        return false;
    }
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (passing[i].status == a->http_status) {
            return true;
        }
    }
    return false;
}

bool client_retry_useful(const struct client_attempt *a) {
    if (a->code != FAL_OK) {
        return a->may_pass;
    }
    return status_passes(a) && !a->start_timeout && !a->marked_final;
}

bool client_retry_wanted(const struct client_attempt *a) {
    if (!client_retry_useful(a)) {
        return false;
    }
    if (a->method != CLIENT_POST || a->repeatable) {
        return true;
    }
    bool undone = a->code == FAL_OK ? status_undone(a->http_status) : a->not_sent;
    return undone || (a->keyed && !a->fal);
}

int64_t client_retry_pause_ms(const struct random *random, const struct client_pauses *pauses,
                              unsigned attempt) {
    double grown = (double)pauses->base_ms;
    for (unsigned i = 0; i < attempt && grown < (double)pauses->max_ms; i++) {
        grown *= pauses->factor;
        if (pauses->factor <= 1.0) {
            break;
        }
    }
    int64_t pause = grown < (double)pauses->max_ms ? (int64_t)grown : pauses->max_ms;
    if (pauses->no_jitter) {
        return pause;
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
