/* Three threads write their letters between two stretches of computing; with the argument `tell` the order is printed.
 * man 7 sched */
#include "guest.h"
#include <pthread.h>

static char written[128];
static int place;

static void *writes(void *letter)
{
    for (int i = 0; i < 30; i++) {
        for (volatile int spins = 0; spins < 30000; spins++)
            continue;
        written[__atomic_fetch_add(&place, 1, __ATOMIC_SEQ_CST)] = *(char *)letter;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    char letters[] = "abc";
    int count[3] = { 0, 0, 0 };

    guest_start();
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, writes, letters + i);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    if (argc > 1 && !strcmp(argv[1], "tell"))
        puts(written);
    for (int i = 0; written[i]; i++)
        count[written[i] - 'a']++;
    CHECK(count[0] == 30 && count[1] == 30 && count[2] == 30);
    return guest_end();
}
