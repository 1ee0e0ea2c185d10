#include "client/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

fal_client *client_for(struct script *s) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = script_base(s);
    o.credentials = "kid:ksecret";
    o.retry_base_ms = 1;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    return c;
}

int forget_the_environment(void **state) {
    (void)state;
    static const char *const names[] = {"FAL_KEY",      "FAL_KEY_ID",  "FAL_KEY_SECRET",
                                        "FAL_BASE_URL", "FAL_RUN_URL", "FAL_QUEUE_URL",
                                        "FAL_REST_URL", "FAL_CDN_URL", "http_proxy",
                                        "HTTP_PROXY",   "all_proxy",   "ALL_PROXY"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unsetenv(names[i]);
    }
    /* The loopback is never asked for through a proxy. */
    return setenv("http_proxy", "http://127.0.0.1:1", 1);
}
