/* The direct call: one question, one answer, nothing in between.
 *
 *   cc run.c $(pkg-config --cflags --libs fal) -o run
 *   FAL_BASE_URL=http://127.0.0.1:8787 FAL_KEY=local ./run */
#include <fal.h>
#include <stdio.h>

int main(void) {
    fal_client *c = NULL;
    fal_result *r = NULL;
    if (fal_client_new(NULL, &c) != FAL_OK) return 1;

    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    o.timeout_ms = 120000;
    enum fal_code code = fal_run(c, "fal-ai/any-llm",
                                 "{\"prompt\":\"What is the capital of France?\"}", &o, &r);
    if (code == FAL_OK)
        puts(fal_result_string(r, "/output") ? fal_result_string(r, "/output")
                                             : fal_result_json(r));
    else
        fprintf(stderr, "%s: %s\n", fal_strerror(code), fal_result_error(r)->message);

    fal_result_free(r);
    fal_client_free(c);
    return code == FAL_OK ? 0 : 1;
}
