/* The parts of the engine that start nothing: GGUF headers, paths, key file, arguments, findings. */
#include "base/random.h"
#include "gguf_make.h"
#include "llm/calibrate.h"
#include "llm/engine_setup.h"
#include "llm/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int make_dir(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/anyllm-test-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static const char *in_dir(const char *name) {
    static char path[4][4096];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void write_file(const char *path, struct slice s, mode_t mode) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(s.ptr, 1, s.len, f), s.len);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* --- GGUF --- */

/* `data` lies at the end of an allocation, so that a read past it is found. */
static enum gguf_result read_exactly(struct slice data, struct gguf_info *info,
                                     const char **reason) {
    unsigned char *p = malloc(data.len > 0 ? data.len : 1);
    assert_non_null(p);
    memcpy(p, data.ptr, data.len);
    enum gguf_result r = gguf_read(p, data.len, info, reason);
    info->architecture = SLICE("");
    free(p);
    return r;
}

static void gguf_reads_a_whole_header(void **state) {
    (void)state;
    struct buf b;
    size_t end;
    struct gguf_info info;
    const char *reason;
    buf_init(&b, 1U << 20);
    gguf_make_header(&b, &end);
    assert_int_equal(read_exactly(buf_slice(&b), &info, &reason), GGUF_DONE);
    assert_int_equal(info.version, 3);
    assert_int_equal(info.tensors, 2);
    assert_int_equal(info.context_tokens, 4096);
    assert_int_equal(info.data_bytes, 32 + GGUF_MAKE_TENSOR_BYTES);
    assert_int_equal(info.header_bytes + info.data_bytes, end);
    buf_free(&b);
}

static void gguf_needs_more_at_every_cut_of_the_header(void **state) {
    (void)state;
    struct buf b;
    size_t end;
    struct gguf_info info;
    const char *reason;
    buf_init(&b, 1U << 20);
    gguf_make_header(&b, &end);
    for (size_t cut = 0; cut < buf_len(&b); cut++)
        assert_int_equal(read_exactly(slice_make(b.base, cut), &info, &reason), GGUF_MORE);
    buf_free(&b);
}

static void gguf_file_cut_anywhere_is_refused_with_one_line(void **state) {
    (void)state;
    const char *path = in_dir("cut.gguf");
    struct gguf_info info;
    struct stat st;
    char reason[512];
    assert_true(gguf_make_file(path));
    assert_true(gguf_check_file(path, &info, reason, sizeof reason));
    assert_int_equal(stat(path, &st), 0);
    for (off_t cut = st.st_size - 1; cut >= 0; cut--) {
        assert_int_equal(truncate(path, cut), 0);
        assert_false(gguf_check_file(path, &info, reason, sizeof reason));
        assert_non_null(strstr(reason, cut > 0 ? "is cut off" : "is empty"));
        assert_non_null(strstr(reason, path));
        assert_non_null(strstr(reason, "--local-model"));
        assert_null(strchr(reason, '\n'));
    }
}

static void gguf_missing_file_and_folder_are_refused(void **state) {
    (void)state;
    struct gguf_info info;
    char reason[512];
    assert_false(gguf_check_file(in_dir("nowhere.gguf"), &info, reason, sizeof reason));
    assert_non_null(strstr(reason, "No such file"));
    assert_false(gguf_check_file(dir, &info, reason, sizeof reason));
    assert_non_null(strstr(reason, "is not a file"));
}

static void expect_bad(struct buf *b, const char *words) {
    struct gguf_info info;
    const char *reason;
    assert_int_equal(read_exactly(buf_slice(b), &info, &reason), GGUF_BAD);
    if (strstr(reason, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", reason, words);
    buf_reset(b, SIZE_MAX);
}

static void gguf_rejects_wrong_magic_version_and_counts(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1U << 20);
    buf_puts(&b, "PK\003\004 a zip file");
    expect_bad(&b, "not a GGUF file");
    buf_puts(&b, "GGML");
    expect_bad(&b, "not a GGUF file");
    gguf_begin(&b, 1, 1, 1);
    expect_bad(&b, "version");
    gguf_begin(&b, 4, 1, 1);
    expect_bad(&b, "version");
    gguf_begin(&b, 0x03000000, 1, 1); /* written on a big-endian machine */
    expect_bad(&b, "version");
    gguf_begin(&b, 3, UINT64_MAX, 1);
    expect_bad(&b, "impossible counts");
    gguf_begin(&b, 3, 1, UINT64_MAX);
    expect_bad(&b, "impossible counts");
    gguf_begin(&b, 3, 0, 1);
    expect_bad(&b, "no tensors");
    buf_free(&b);
}

static void gguf_rejects_impossible_lengths_and_types(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1U << 20);
    gguf_begin(&b, 3, 1, 1);
    gguf_number(&b, UINT64_MAX, 8); /* a key of so many bytes */
    expect_bad(&b, "key longer");
    gguf_begin(&b, 3, 1, 1);
    gguf_text(&b, "k");
    gguf_number(&b, 13, 4);
    expect_bad(&b, "unknown type");
    gguf_begin(&b, 3, 1, 1);
    gguf_text(&b, "k");
    gguf_number(&b, 8, 4);
    gguf_number(&b, UINT64_MAX - 7, 8);
    expect_bad(&b, "text longer");
    gguf_begin(&b, 3, 1, 1);
    gguf_text(&b, "k");
    gguf_number(&b, 9, 4);
    gguf_number(&b, 9, 4); /* an array of arrays */
    gguf_number(&b, 1, 8);
    expect_bad(&b, "array of an unknown type");
    gguf_begin(&b, 3, 1, 1);
    gguf_text(&b, "k");
    gguf_number(&b, 9, 4);
    gguf_number(&b, 10, 4);
    gguf_number(&b, UINT64_MAX / 8 + 2, 8); /* times 8 wraps around to a small number */
    expect_bad(&b, "larger than any model's");
    gguf_begin(&b, 3, 1, 1);
    gguf_text(&b, "k");
    gguf_number(&b, 9, 4);
    gguf_number(&b, 8, 4);
    gguf_number(&b, UINT64_MAX, 8);
    expect_bad(&b, "array larger");
    buf_free(&b);
}

static void gguf_rejects_impossible_tensors_and_alignment(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1U << 20);
    gguf_begin(&b, 3, 1, 0);
    gguf_text(&b, "t");
    gguf_number(&b, 5, 4);
    expect_bad(&b, "more than four dimensions");
    gguf_begin(&b, 3, 1, 0);
    gguf_text(&b, "t");
    gguf_number(&b, 2, 4);
    gguf_number(&b, 1ULL << 33, 8); /* 2^66 elements wrap around to 4 */
    gguf_number(&b, 1ULL << 33, 8);
    gguf_number(&b, 0, 4);
    gguf_number(&b, 0, 8);
    expect_bad(&b, "tensor larger");
    gguf_begin(&b, 3, 1, 0);
    gguf_tensor(&b, "t", 32, 3, UINT64_MAX - 4);
    expect_bad(&b, "tensor larger");
    gguf_begin(&b, 3, 1, 1);
    gguf_pair_u32(&b, "general.alignment", 0);
    gguf_tensor(&b, "t", 32, 3, 0);
    expect_bad(&b, "alignment");
    gguf_begin(&b, 3, 1, 1);
    gguf_pair_u32(&b, "general.alignment", 48);
    gguf_tensor(&b, "t", 32, 3, 0);
    expect_bad(&b, "alignment");
    gguf_begin(&b, 3, 1, 1);
    gguf_pair_text(&b, "general.architecture", "clip");
    gguf_tensor(&b, "t", 32, 3, 0);
    expect_bad(&b, "mmproj");
    buf_free(&b);
}

static void gguf_survives_any_change_of_any_byte(void **state) {
    (void)state;
    static const unsigned char values[] = {0x00, 0x01, 0x09, 0x7f, 0x80, 0xff};
    struct buf b;
    size_t end, done = 0;
    struct gguf_info info;
    const char *reason;
    buf_init(&b, 1U << 20);
    gguf_make_header(&b, &end);
    for (size_t i = 0; i < buf_len(&b); i++) {
        char was = b.base[i];
        for (size_t v = 0; v < sizeof values; v++) {
            b.base[i] = (char)values[v];
            done += read_exactly(buf_slice(&b), &info, &reason) == GGUF_DONE;
        }
        b.base[i] = was;
    }
    assert_true(done > 0); /* a changed letter of a name is no fault */
    buf_free(&b);
}

/* --- programs and paths --- */

static void make_program(const char *path) {
    write_file(path, SLICE("#!/bin/sh\n"), 0755);
}

static void engine_is_looked_for_on_path_then_in_the_cache(void **state) {
    (void)state;
    char *found[ENGINE_MAX_PROGRAMS], reason[512], search[8192];
    assert_int_equal(mkdir(in_dir("bin"), 0755), 0);
    assert_int_equal(mkdir(in_dir("engine"), 0755), 0);
    assert_int_equal(mkdir(in_dir("engine-src"), 0755), 0);
    snprintf(search, sizeof search, "/nonexistent::%s", in_dir("bin"));
    assert_int_equal(engine_find_programs(NULL, search, dir, found, reason, sizeof reason), 0);
    assert_non_null(strstr(reason, "make engine-from-source"));
    make_program(in_dir("engine-src/llama-server"));
    make_program(in_dir("engine/llama-server"));
    make_program(in_dir("bin/llama-server"));
    assert_int_equal(engine_find_programs(NULL, search, dir, found, reason, sizeof reason), 3);
    assert_string_equal(found[0], in_dir("bin/llama-server"));
    assert_string_equal(found[1], in_dir("engine/llama-server"));
    assert_string_equal(found[2], in_dir("engine-src/llama-server"));
    for (size_t i = 0; i < 3; i++) free(found[i]);
}

static void engine_that_is_named_is_the_only_one(void **state) {
    (void)state;
    char *found[ENGINE_MAX_PROGRAMS], reason[512];
    make_program(in_dir("mine"));
    assert_int_equal(engine_find_programs(in_dir("mine"), "", dir, found, reason, sizeof reason),
                     1);
    assert_string_equal(found[0], in_dir("mine"));
    free(found[0]);
    assert_int_equal(engine_find_programs("mine", dir, dir, found, reason, sizeof reason), 1);
    free(found[0]);
    write_file(in_dir("text"), SLICE("no program"), 0644);
    assert_int_equal(engine_find_programs(in_dir("text"), "", dir, found, reason, sizeof reason),
                     0);
    assert_non_null(strstr(reason, "is not a program"));
    assert_int_equal(engine_find_programs(dir, "", dir, found, reason, sizeof reason), 0);
}

static void run_folder_is_the_data_folder_while_the_socket_fits(void **state) {
    (void)state;
    char data[200], out[PATH_MAX], reason[512];
    size_t fit = ENGINE_SOCKET_BYTES - sizeof "/engine.sock" + 1;
    memset(data, 'd', sizeof data);
    data[0] = '/';
    data[fit] = '\0';
    assert_true(engine_choose_run_dir(data, "engine.sock", NULL, dir, out, reason, sizeof reason));
    assert_string_equal(out, data);
    data[fit] = 'd';
    data[fit + 1] = '\0';
    assert_true(engine_choose_run_dir(data, "engine.sock", NULL, dir, out, reason, sizeof reason));
    assert_true(strncmp(out, dir, strlen(dir)) == 0);
    assert_true(strlen(out) + strlen("/engine.sock") <= ENGINE_SOCKET_BYTES);
}

static void run_folder_elsewhere_is_private_and_found_again(void **state) {
    (void)state;
    char data[200], out[PATH_MAX], again[PATH_MAX], reason[512];
    struct stat st;
    memset(data, 'e', sizeof data - 1);
    data[0] = '/';
    data[sizeof data - 1] = '\0';
    assert_int_equal(mkdir(in_dir("runtime"), 0700), 0);
    assert_true(engine_choose_run_dir(data, "engine.sock", in_dir("runtime"), dir, out, reason,
                                      sizeof reason));
    assert_true(strncmp(out, in_dir("runtime"), strlen(in_dir("runtime"))) == 0);
    assert_int_equal(stat(out, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_true(engine_choose_run_dir(data, "engine.sock", in_dir("runtime"), dir, again, reason,
                                      sizeof reason));
    assert_string_equal(out, again);
    data[5] = 'f'; /* another data folder has another one */
    assert_true(engine_choose_run_dir(data, "engine.sock", in_dir("runtime"), dir, again, reason,
                                      sizeof reason));
    assert_string_not_equal(out, again);
}

static void run_folder_open_to_others_is_refused(void **state) {
    (void)state;
    char data[200], out[PATH_MAX], reason[512];
    memset(data, 'g', sizeof data - 1);
    data[0] = '/';
    data[sizeof data - 1] = '\0';
    assert_int_equal(mkdir(in_dir("open"), 0700), 0);
    assert_true(engine_choose_run_dir(data, "engine.sock", NULL, in_dir("open"), out, reason,
                                      sizeof reason));
    assert_int_equal(chmod(out, 0770), 0);
    assert_false(engine_choose_run_dir(data, "engine.sock", NULL, in_dir("open"), out, reason,
                                       sizeof reason));
    assert_non_null(strstr(reason, "--data"));
    assert_int_equal(rmdir(out), 0);
    assert_int_equal(symlink("/", out), 0); /* root's own folder behind a link is not ours to use */
    assert_false(engine_choose_run_dir(data, "engine.sock", NULL, in_dir("open"), out, reason,
                                       sizeof reason));
}

static void key_file_is_private_and_replaces_an_older_one(void **state) {
    (void)state;
    struct secret key = {0};
    struct stat st;
    char text[80] = "";
    assert_true(secret_set(&key, SLICE("0123456789abcdef")));
    write_file(in_dir("engine.key"), SLICE("an older and longer key that others could read"), 0644);
    mode_t old = umask(0);
    assert_int_equal(engine_write_key(in_dir("engine.key"), &key), 0);
    umask(old);
    assert_int_equal(stat(in_dir("engine.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    FILE *f = fopen(in_dir("engine.key"), "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    assert_string_equal(text, "0123456789abcdef");
    assert_int_not_equal(engine_write_key(in_dir("nowhere/engine.key"), &key), 0);
    secret_free(&key);
}

/* --- arguments and environment --- */

static struct engine_launch a_launch(void) {
    return (struct engine_launch){.self = "/usr/bin/anyllm",
                                  .program = "/opt/llama-server",
                                  .model_file = "/m.gguf",
                                  .socket = "/run/engine.sock",
                                  .key_file = "/run/engine.key",
                                  .parent_pid = 42,
                                  .slots = 8,
                                  .model_context_tokens = 8192,
                                  .tuning = {2, 4, 5000}};
}

static const char *after(char **args, const char *name) {
    for (size_t i = 0; args[i] != NULL; i++)
        if (strcmp(args[i], name) == 0) return args[i + 1];
    return "(none)";
}

static void arguments_name_socket_key_file_slots_and_threads(void **state) {
    (void)state;
    struct engine_launch l = a_launch();
    char **a = engine_build_args(&l);
    assert_non_null(a);
    assert_string_equal(a[0], "/usr/bin/anyllm");
    assert_string_equal(a[1], "engine-exec");
    assert_string_equal(a[2], "42");
    assert_string_equal(a[3], "/opt/llama-server");
    assert_string_equal(after(a, "--model"), "/m.gguf");
    assert_string_equal(after(a, "--host"), "/run/engine.sock");
    assert_string_equal(after(a, "--api-key-file"), "/run/engine.key");
    assert_string_equal(after(a, "--parallel"), "8");
    assert_string_equal(after(a, "--ctx-size"), "16384");
    assert_string_equal(after(a, "--threads"), "2");
    assert_string_equal(after(a, "--threads-batch"), "4");
    assert_string_equal(after(a, "--api-key"), "(none)");
    engine_free_list(a);
    l.model_context_tokens = 512;
    a = engine_build_args(&l);
    assert_string_equal(after(a, "--ctx-size"), "4096");
    engine_free_list(a);
}

static size_t count(char **list, const char *beginning) {
    size_t n = 0;
    for (size_t i = 0; list[i] != NULL; i++)
        n += slice_starts(slice_of(list[i]), slice_of(beginning));
    return n;
}

static void environment_carries_no_secret_of_the_server(void **state) {
    (void)state;
    char *from[] = {"PATH=/bin",
                    "HOME=/root",
                    "FAL_KEY=planted",
                    "OPENROUTER_API_KEY=planted",
                    "ANYLLM_KEYS=planted",
                    "APP1_SECRET=planted",
                    "OMP_WAIT_POLICY=passive",
                    "OMP_NUM_THREADS=3",
                    "CUDA_VISIBLE_DEVICES=1",
                    "LLAMA_API_KEY=planted",
                    "LD_PRELOAD=planted",
                    NULL};
    struct engine_launch l = a_launch();
    char **e = engine_build_env(&l, from);
    assert_non_null(e);
    for (size_t i = 0; e[i] != NULL; i++) assert_null(strstr(e[i], "planted"));
    assert_int_equal(count(e, "LLAMA_ARG_ALIAS="), 0);
    assert_int_equal(count(e, "PATH="), 1);
    assert_int_equal(count(e, "HOME="), 1);
    assert_int_equal(count(e, "OMP_NUM_THREADS="), 1);
    assert_int_equal(count(e, "CUDA_VISIBLE_DEVICES="), 1);
    assert_int_equal(count(e, "OMP_WAIT_POLICY="), 1);
    assert_int_equal(count(e, "OMP_WAIT_POLICY=active"), 1);
    assert_int_equal(count(e, "GOMP_SPINCOUNT=5000"), 1);
    engine_free_list(e);
    l.tuning.spin = 0;              /* then the operator's own wish counts */
    l.alias = SLICE("local/small"); /* answers name the model by it, not by the path of its file */
    e = engine_build_env(&l, from);
    assert_int_equal(count(e, "OMP_WAIT_POLICY=passive"), 1);
    assert_int_equal(count(e, "LLAMA_ARG_ALIAS=local/small"), 1);
    assert_int_equal(count(e, "GOMP_SPINCOUNT="), 0);
    engine_free_list(e);
}

static void environment_of_any_size_is_cut_not_overrun(void **state) {
    (void)state;
    char *from[200];
    struct engine_launch l = a_launch();
    for (size_t i = 0; i < 199; i++) from[i] = "OMP_X=1";
    from[199] = NULL;
    char **e = engine_build_env(&l, from);
    assert_non_null(e);
    assert_true(count(e, "") <= 64);
    engine_free_list(e);
}

/* --- findings --- */

static struct machine a_machine = {
    .cores = 2, .physical = 2, .cpu = "A CPU \"quoted\"", .free_bytes = 8ULL << 30};

static struct finding_key a_key(void) {
    static char engine[4096], model[4096];
    snprintf(engine, sizeof engine, "%s", in_dir("an-engine"));
    snprintf(model, sizeof model, "%s", in_dir("a-model"));
    write_file(engine, SLICE("engine"), 0755);
    write_file(model, SLICE("model"), 0644);
    return (struct finding_key){dir, engine, model, 8, &a_machine};
}

static void finding_is_read_as_it_was_written(void **state) {
    (void)state;
    struct finding_key k = a_key();
    struct finding f = {{2, 3, 10000}, 188.04, 420.5}, got;
    assert_false(finding_load(&k, &got));
    assert_int_equal(finding_save(&k, &f), 0);
    assert_int_equal(finding_save(&k, &f), 0);
    assert_true(finding_load(&k, &got));
    assert_int_equal(got.tuning.threads, 2);
    assert_int_equal(got.tuning.batch_threads, 3);
    assert_int_equal(got.tuning.spin, 10000);
    assert_true(got.tokens_per_s_one > 187.9 && got.tokens_per_s_one < 188.1);
    assert_true(got.tokens_per_s_many > 420.4 && got.tokens_per_s_many < 420.6);
}

static void finding_of_another_engine_model_or_machine_is_not_used(void **state) {
    (void)state;
    struct finding_key k = a_key(), other;
    struct finding f = {{2, 2, 0}, 1, 2}, got;
    struct machine m = a_machine;
    assert_int_equal(finding_save(&k, &f), 0);
    other = k;
    other.slots = 4;
    assert_false(finding_load(&other, &got));
    other = k;
    other.machine = &m;
    m.cores = 3;
    assert_false(finding_load(&other, &got));
    m = a_machine;
    m.cpu[0] = 'B';
    assert_false(finding_load(&other, &got));
    assert_true(finding_load(&k, &got));
    write_file(k.program, SLICE("an engine of another size"), 0755);
    assert_false(finding_load(&k, &got));
}

static void finding_that_is_damaged_is_not_used(void **state) {
    (void)state;
    struct finding_key k = a_key();
    struct finding f = {{2, 2, 0}, 1, 2}, got;
    char command[4096], text[4096];
    assert_int_equal(finding_save(&k, &f), 0);
    snprintf(command, sizeof command, "cat '%s'/calibration-*.json", dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t n = fread(text, 1, sizeof text, p);
    pclose(p);
    assert_true(n > 100);
    snprintf(command, sizeof command, "mv '%s'/calibration-*.json '%s/found'; ls '%s' >/dev/null",
             dir, dir, dir);
    assert_int_equal(system(command), 0);
    assert_false(finding_load(&k, &got));
    assert_int_equal(finding_save(&k, &f), 0);
    for (size_t cut = 0; cut + 2 < n; cut += 3) { /* without its last brace it is no JSON */
        snprintf(command, sizeof command,
                 "head -c %zu '%s/found' > \"$(echo '%s'/calibration-*.json)\"", cut, dir, dir);
        assert_int_equal(system(command), 0);
        assert_false(finding_load(&k, &got));
    }
    snprintf(
        command, sizeof command,
        "sed 's/\"threads\":2/\"threads\":0/' '%s/found' > \"$(echo '%s'/calibration-*.json)\"",
        dir, dir);
    assert_int_equal(system(command), 0);
    assert_false(finding_load(&k, &got));
}

/* --- candidates --- */

static void candidates_hold_the_default_and_never_repeat(void **state) {
    (void)state;
    struct engine_tuning t[CALIBRATE_MAX_CANDIDATES];
    for (unsigned cores = 1; cores <= 256; cores++) {
        for (unsigned physical = 1; physical <= cores; physical += 1 + cores / 5) {
            struct machine m = {.cores = cores, .physical = physical};
            struct engine_tuning d = calibrate_default(&m);
            size_t n = calibrate_candidates(&m, t);
            assert_in_range(n, 1, CALIBRATE_MAX_CANDIDATES);
            assert_true(cores == 1 ? n == 1 && d.spin == 0 : n >= 4 && d.spin > 0);
            size_t same = 0;
            for (size_t i = 0; i < n; i++) {
                same += t[i].threads == d.threads && t[i].batch_threads == d.batch_threads &&
                        t[i].spin == d.spin;
                assert_in_range(t[i].threads, 1, cores);
                assert_in_range(t[i].batch_threads, 1, cores);
                for (size_t k = 0; k < i; k++)
                    assert_false(t[i].threads == t[k].threads &&
                                 t[i].batch_threads == t[k].batch_threads &&
                                 t[i].spin == t[k].spin);
            }
            assert_int_equal(same, 1);
        }
    }
}

static size_t choose(const double (*rates)[2], size_t n) {
    struct finding f[CALIBRATE_MAX_CANDIDATES] = {0};
    for (size_t i = 0; i < n; i++) f[i] = (struct finding){{1, 1, 0}, rates[i][0], rates[i][1]};
    return calibrate_choose(f, n);
}

static void calibration_chooses_the_fastest_for_one_and_for_many(void **state) {
    (void)state;
    assert_int_equal(choose((const double[][2]){{33, 180}, {188, 420}, {100, 150}}, 3), 1);
    assert_int_equal(choose((const double[][2]){{100, 100}, {200, 90}, {90, 150}}, 3), 1);
    assert_int_equal(choose((const double[][2]){{50, 50}, {100, 100}, {104, 104}}, 3), 2);
}

static void calibration_leaves_the_first_only_for_a_clear_gain(void **state) {
    (void)state;
    assert_int_equal(choose((const double[][2]){{100, 100}, {108, 108}, {109, 109}}, 3), 0);
    assert_int_equal(choose((const double[][2]){{100, 100}, {120, 120}}, 2), 1);
}

static void calibration_leaves_out_what_was_not_measured(void **state) {
    (void)state;
    assert_int_equal(choose((const double[][2]){{0, 0}, {5, 5}}, 2), 1);
    assert_int_equal(choose((const double[][2]){{5, 5}, {500, 0}}, 2), 0);
    assert_int_equal(choose((const double[][2]){{0, 0}, {0, 0}}, 2), 2);
}

static void machine_has_cores_and_memory(void **state) {
    (void)state;
    struct machine m;
    machine_read(&m);
    assert_in_range(m.cores, 1, 4096);
    assert_in_range(m.physical, 1, m.cores);
    assert_true(m.free_bytes > 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(gguf_reads_a_whole_header),
        TEST(gguf_needs_more_at_every_cut_of_the_header),
        TEST(gguf_file_cut_anywhere_is_refused_with_one_line),
        TEST(gguf_missing_file_and_folder_are_refused),
        TEST(gguf_rejects_wrong_magic_version_and_counts),
        TEST(gguf_rejects_impossible_lengths_and_types),
        TEST(gguf_rejects_impossible_tensors_and_alignment),
        TEST(gguf_survives_any_change_of_any_byte),
        TEST(engine_is_looked_for_on_path_then_in_the_cache),
        TEST(engine_that_is_named_is_the_only_one),
        TEST(run_folder_is_the_data_folder_while_the_socket_fits),
        TEST(run_folder_elsewhere_is_private_and_found_again),
        TEST(run_folder_open_to_others_is_refused),
        TEST(key_file_is_private_and_replaces_an_older_one),
        TEST(arguments_name_socket_key_file_slots_and_threads),
        TEST(environment_carries_no_secret_of_the_server),
        TEST(environment_of_any_size_is_cut_not_overrun),
        TEST(finding_is_read_as_it_was_written),
        TEST(finding_of_another_engine_model_or_machine_is_not_used),
        TEST(finding_that_is_damaged_is_not_used),
        TEST(candidates_hold_the_default_and_never_repeat),
        TEST(calibration_chooses_the_fastest_for_one_and_for_many),
        TEST(calibration_leaves_the_first_only_for_a_clear_gain),
        TEST(calibration_leaves_out_what_was_not_measured),
        TEST(machine_has_cores_and_memory),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
