/* mutex N: 4 threads take one mutex N times in all, each time counting with it held. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long count;
static long each;

static void *work(void *arg)
{
    for (long i = 0; i < each; i++) {
        pthread_mutex_lock(&lock);
        count++;
        pthread_mutex_unlock(&lock);
    }
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t threads[4];
    each = (argc > 1 ? atol(argv[1]) : 100000) / 4;
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, work, NULL))
            return 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("locks %ld\n", count);
    return count == 4 * each ? 0 : 1;
}
