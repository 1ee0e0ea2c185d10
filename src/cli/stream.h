/* The way without the queue: the answer as it grows. */
#ifndef ANYLLM_CLI_STREAM_H
#define ANYLLM_CLI_STREAM_H

#include "cli/cli.h"

/* Prints the pieces of the answer as they come; with `events` each event as a line of JSON; with --json and without `events` the
 * last event alone. Cancelling ends the stream, and with it the work. Returns the exit code. */
int stream_answer(const struct cli_args *args, fal_client *client, struct cli_input *input,
                  bool events);

#endif
