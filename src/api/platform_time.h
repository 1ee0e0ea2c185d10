/* Times as callers write them, and the calendar's spans. Pure. */
#ifndef ANYLLM_API_PLATFORM_TIME_H
#define ANYLLM_API_PLATFORM_TIME_H

#include "base/slice.h"

/* RFC 3339, also with a space for T, or without a time: that of UTC. */
bool platform_time(struct slice text, int64_t *ms);
/* "UTC", "GMT", "Z", "+02:00", as milliseconds east of UTC. */
bool platform_zone(struct slice text, int64_t *ms);

enum platform_frame { FRAME_MINUTE, FRAME_HOUR, FRAME_DAY, FRAME_WEEK, FRAME_MONTH };
/* When the bucket begins in which at_ms lies, in a zone so far east of UTC; or one so many later. Weeks begin on Monday. */
int64_t platform_bucket(enum platform_frame frame, int64_t east_ms, int64_t at_ms, int64_t later);

#endif
