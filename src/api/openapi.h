/* The documents of an endpoint, written from the table: its OpenAPI document and its page for people and language
 * models. The frames are openapi.template.json and llms*.template.txt; @words@ in them are filled in here. */
#ifndef ANYLLM_API_OPENAPI_H
#define ANYLLM_API_OPENAPI_H

#include "api/endpoints.h"

/* `base_url`: where the server is reached, "http://127.0.0.1:8787", without a surface's prefix. OpenAPI 3.0.4. */
void openapi_json(struct buf *b, const struct endpoint *e, const struct catalogue *cat,
                  struct slice base_url);
/* Markdown. */
void llms_txt(struct buf *b, const struct endpoint *e, const struct catalogue *cat,
              struct slice base_url);

#endif
