/* What is left when everything has ended: the database, read as a file, against what the clients were told, what the mock
 * upstream has seen and what the receiver of webhooks got. */
#ifndef ANYLLM_TEST_WIRE_KILL_BOOKS_H
#define ANYLLM_TEST_WIRE_KILL_BOOKS_H

#include "kill_load.h"
#include "receiver.h"

struct book_row {
    char id[ID_BYTES];
    unsigned n; /* of its prompt; UINT_MAX: none of ours */
    unsigned state, attempt, crashes;
    int64_t created_ms, completed_ms;
    unsigned http_status; /* 0: there is no result */
    char error_type[32];
    bool repeats;                  /* the result has its prompt */
    uint64_t body;                 /* hash of the result */
    unsigned charges, last_charge; /* rows of the ledger; the latest one's attempt */
    unsigned charge_status;        /* of the row of its last attempt, 0: none */
    int webhook;                   /* state of its row, -1: none */
};

struct books {
    struct book_row *rows; /* by id */
    size_t n, cap;
    unsigned calls[MAX_PROMPTS], deliveries[MAX_PROMPTS];
    unsigned wrong_ids; /* deliveries whose webhook-id is not the request's */
};

/* The server does not run. */
void books_read(struct books *b, const char *data);
void books_read_file(struct books *b, const char *path);
void books_read_calls(struct books *b, const struct mock *m);
void books_read_deliveries(struct books *b, struct receiver *r);
const struct book_row *books_find(const struct books *b, const char *id);
void books_free(struct books *b);
uint64_t hash_of(const char *bytes, size_t len);

/* Every promise of T1, T2 and T15 for each row and each accepted submit. */
void books_check(const struct books *b, const struct load *l, const struct killed *k,
                 struct findings *f);
/* The figures: a line for each promise. */
void books_print(const struct books *b, const struct load *l, struct killed *k,
                 const struct findings *f);

/* The end of each run: waits until the server is idle and ends it, reads all there is to read, checks it, prints it. */
void books_end(struct load *l, struct receiver *r, struct findings *f);

#endif
