#ifndef TEST_STORE_OLD_SCHEMAS_H
#define TEST_STORE_OLD_SCHEMAS_H

#define OLD_VERSIONS 3U

/* From version n: the schema's change to n + 1, and rows of it. Text of SQL. */
extern const char *const old_schemas[OLD_VERSIONS][2];

#endif
