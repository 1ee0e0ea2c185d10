#include "api/webhooks.h"

bool webhooks_open(struct api *a, char *reason, size_t size) {
    return true;
}

void webhooks_load(struct api *a) {
    api_loaded(a, true);
}

void webhooks_drain(struct api *a) {
}

void webhooks_close(struct api *a) {
}

void webhooks_free(struct api *a) {
}

void webhooks_due(void *api, const char *id) {
}

void webhooks_replayed(struct api *a) {}
