/* Several questions over one connection; each answer is shown as it grows.
 *
 *   cc realtime.c $(pkg-config --cflags --libs fal) -o realtime
 *   FAL_BASE_URL=http://127.0.0.1:8787 FAL_KEY=local ./realtime */
#include <fal.h>
#include <stdio.h>
#include <string.h>

/* Each message holds all of the answer so far; the last one says that it is whole. */
static enum fal_code show_answer(fal_realtime *rt) {
    size_t shown = 0;
    for (bool partial = true; partial;) {
        fal_result *r = NULL;
        enum fal_code code = fal_realtime_receive(rt, 60000, &r);
        const char *output = fal_result_string(r, "/output");
        if (code == FAL_OK && output != NULL && strlen(output) >= shown)
            shown += (size_t)printf("%s", output + shown);
        partial = code == FAL_OK && strstr(fal_result_json(r), "\"partial\":true") != NULL;
        if (code != FAL_OK) fprintf(stderr, "%s\n", fal_result_error(r)->message);
        fal_result_free(r);
        if (code != FAL_OK) return code;
    }
    puts("");
    return FAL_OK;
}

int main(void) {
    static const char *const questions[] = {"{\"prompt\":\"What is the capital of France?\"}",
                                            "{\"prompt\":\"And of Italy?\"}"};
    fal_client *c = NULL;
    fal_realtime *rt = NULL;
    fal_result *r = NULL;
    if (fal_client_new(NULL, &c) != FAL_OK) return 1;

    enum fal_code code = fal_realtime_open(c, "fal-ai/any-llm", NULL, &rt, &r);
    if (code != FAL_OK) fprintf(stderr, "%s\n", fal_result_error(r)->message);
    fal_result_free(r);
    for (size_t i = 0; i < 2 && code == FAL_OK; i++) {
        code = fal_realtime_send(rt, questions[i]);
        if (code == FAL_OK) code = show_answer(rt);
    }
    fal_realtime_close(rt);
    fal_client_free(c);
    return code == FAL_OK ? 0 : 1;
}
