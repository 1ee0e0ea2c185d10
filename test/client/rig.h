/* What the tests of libfal's calls share: a request's way as script steps, a client for a
 * script. */
#ifndef ANYLLM_TEST_CLIENT_RIG_H
#define ANYLLM_TEST_CLIENT_RIG_H

#include "client/script.h"
#include "fal.h"

#define APP "fal-ai/any-llm"
#define URLS                                                    \
    "\"status_url\":\"$BASE/queue/" APP                         \
    "/requests/r1/status\",\"response_url\":\"$BASE/queue/" APP \
    "/requests/r1\",\"cancel_url\":\"$BASE/queue/" APP "/requests/r1/cancel\""
#define SUBMITTED   \
    {.status = 200, \
     .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":0," URLS "}"}
#define IN_QUEUE    \
    {.status = 202, \
     .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\",\"queue_position\":2,\"logs\":null}"}
#define COMPLETED   \
    {.status = 200, \
     .body = "{\"status\":\"COMPLETED\",\"request_id\":\"r1\",\"logs\":null,\"metrics\":{}}"}
#define ANSWER {.status = 200, .body = "{\"output\":\"42\"}", .headers = "x-fal-request-id: r1\r\n"}
#define STATUS_LINE "GET /queue/" APP "/requests/r1/status?logs=0 HTTP/1.1"
#define RESULT_LINE "GET /queue/" APP "/requests/r1 HTTP/1.1"
#define CANCEL_LINE "PUT /queue/" APP "/requests/r1/cancel HTTP/1.1"

/* A client for the script's address with credentials "kid:ksecret" and pauses of a millisecond. */
fal_client *client_for(struct script *s);

/* A group's set-up: no variable of the user's environment reaches libfal, and a proxy that would
 * swallow everything. */
int forget_the_environment(void **state);

#endif
