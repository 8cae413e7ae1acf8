/* guest-options: --time virtual
   guest-native: no
 * Under virtual time a sleep of a day is over at once, and the clocks say that a day has passed. */
#include "guest.h"
#include <time.h>

int main(void)
{
    struct timespec before, after, day = { 86400, 0 };
    guest_start();
    WANT(clock_gettime(CLOCK_MONOTONIC, &before), 0);
    WANT(nanosleep(&day, NULL), 0);
    WANT(clock_gettime(CLOCK_MONOTONIC, &after), 0);
    CHECK(after.tv_sec - before.tv_sec >= 86400 && after.tv_sec - before.tv_sec < 86500);
    time_t wall = time(NULL);
    WANT(clock_nanosleep(CLOCK_REALTIME, 0, &day, NULL), 0);
    CHECK(time(NULL) - wall >= 86400 && time(NULL) - wall < 86500);
    return guest_end();
}
