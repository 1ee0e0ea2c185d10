/* A small host of files on another port: what it sends is known by the path, and not all of it is good. One thread, one connection
 * at a time. */
#ifndef ANYLLM_TEST_WIRE_FILE_HOST_H
#define ANYLLM_TEST_WIRE_FILE_HOST_H

#include <stdbool.h>

#define MAX_FILE 100000 /* max_input_file_bytes of the suite */

/* The beginnings are what files are known by. */
#define SOUND "RIFF\4\0\0\0WAVE!"
#define SOUND64 "UklGRgQAAABXQVZFIQ=="
#define SOUND_BYTES 13
#define WEBP "RIFF\4\0\0\0WEBP"
#define WEBP64 "data:image/webp;base64,UklGRgQAAABXRUJQ"
#define PNG "\x89PNG\r\n\x1a\n"
#define PNG64 "data:image/png;base64,iVBORw0KGgo="

void host_start(void);
void host_stop(void);
/* An address there; lives until the next one is asked for. */
const char *host_url(const char *path);
/* How many requests came. */
unsigned host_asked(void);
/* "/stuck" gets no answer: waits until it is asked for, and whether the server then closes its end. */
void host_wait_stuck(void);
bool host_is_left(void);

#endif
