/* Private to the configuration: reading nodes of the YAML file. Each function that fails has recorded the fault with line
 * and column, and says false. */
#ifndef ANYLLM_BASE_CONFIG_READER_H
#define ANYLLM_BASE_CONFIG_READER_H

#include "base/config_keys.h"

#include <libfyaml.h>

struct reader {
    struct config_loader *l;
    const char *path;
    bool exposed;  /* everybody can read the file */
    bool replaced; /* the last value came, in part, from the environment */
};

/* "anyllm.yaml:3:5" of a node, in one static buffer: it goes into an error at once. */
const char *config_where(const struct reader *r, struct fy_node *n);
struct slice config_scalar(struct fy_node *n);
/* One value with ${NAME} replaced; `name` is for the error. */
bool config_want_scalar(struct reader *r, struct fy_node *n, const char *name, struct slice *out);
/* The same for a secret; config_wipe_secret(r->replaced, …) when it has been used. */
bool config_want_secret(struct reader *r, struct fy_node *n, const char *name, struct slice *out);
void config_wipe_secret(bool replaced, struct slice s);
bool config_set_node(struct reader *r, const struct field *f, void *target, struct fy_node *n);
const struct field *config_find(const struct field *fields, size_t n, struct slice name,
                                unsigned use);
bool config_unknown(struct reader *r, struct fy_node *key, const char *section);

/* config_sections.c */
bool config_read_section(struct reader *r, struct slice name, struct fy_node *n, bool *known);
bool config_read_routes(struct reader *r, struct fy_node *n); /* last: they name upstreams */

#endif
