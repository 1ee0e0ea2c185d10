/* Private to inputs*.c: fetching, and the parts of OpenAI's messages. */
#ifndef ANYLLM_API_INPUTS_INNER_H
#define ANYLLM_API_INPUTS_INNER_H

#include "api/inputs.h"

struct net_tls;

/* What all requests share. */
struct inputs_room {
    struct net_tls *tls; /* made when the first https address is fetched */
    size_t held_bytes, running;
    struct log_rate rate;
};

/* Why no more may be held: LLM_FILE_TOO_LARGE or LLM_MEMORY. */
const char *inputs_no_room(enum llm_fault f);

/* --- media types */

/* "image/png" of "image/png; charset=x", as a slice of the header; len 0: none, or one that does not fit into a data URI. */
struct slice media_type(struct slice header);
/* MEDIA_NONE takes every type. */
bool media_fits(enum media m, struct slice type);

/* --- fetching */

struct fetch;

struct fetch_options {
    struct slice url; /* borrowed until done */
    enum media media;
    bool bare;          /* base64 alone, without data:…;base64, */
    uint64_t max_bytes; /* decoded */
    const char *request_id;
    /* LLM_OK: so many bytes more may be held; they are the asker's to give back, after done too. */
    enum llm_fault (*hold)(void *user, size_t bytes);
    /* Once, never before fetch_start has returned. `text` is malloc's and the receiver's; NULL: `fault` and a static `why`,
     * which is NULL when the answer is of another kind or too large. */
    void (*done)(void *user, char *text, size_t len, enum llm_fault fault, const char *why);
    void *user;
};

struct fetch *fetch_start(struct api *a, const struct fetch_options *o); /* NULL: out of memory */
void fetch_cancel(struct fetch *f);                                      /* before done */

/* --- OpenAI's parts */

#define PART_PARAM_BYTES 80

struct part {
    size_t message, part; /* indices */
    const char *name;     /* "image_url" */
    const char
        *member; /* "url" of {"image_url":{"url":…}}; NULL: the value itself is the address */
    enum media media;
    bool bare;
    struct slice url;
};

/* Every part of the messages that names media, in order. */
void parts_each(yyjson_val *messages, void (*visit)(void *user, const struct part *p), void *user);
/* Looks for what inputs_look must know. */
void parts_look(yyjson_val *messages, struct llm_request *r);

/* --- the items of one request */

enum inputs_state { STARTING, FINDING, READING, FETCHING, DONE };

struct item {
    enum media media;
    bool bare;
    struct slice url;
    char *text; /* what travels instead; NULL: the url as it is */
    size_t len;
    char param[PART_PARAM_BYTES]; /* "image_urls.2" */
    struct part part;             /* of OpenAI's dialect */
};

struct inputs {
    struct api *api;
    struct llm_request *r;
    void (*done)(void *user, const struct llm_error *err);
    void *user;
    enum inputs_state state;
    bool left; /* freed while somebody is still to answer */
    struct slice owner;
    struct item *items;
    size_t n, at, size;
    struct fetch *fetch;
    struct net_defer start;
    size_t held_bytes;
    yyjson_doc *doc; /* of OpenAI's members */
    char *members;
    struct slice *lists;
    char message[192];
};

/* All media of i->r, in its order. False: out of memory. */
bool items_gather(struct inputs *i, const struct inputs_asker *asker);
/* What travels instead, into i->r. False: out of memory. */
bool items_write(struct inputs *i);

#endif
