/* The guest of `make demo`: says where it runs, does a little of everything, and checks itself.
 * Kept prebuilt for both architectures, so that the demo needs no compiler. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static unsigned long primes_below(unsigned long limit)
{
    unsigned char *composite = calloc(limit, 1);
    unsigned long count = 0;
    for (unsigned long i = 2; composite && i < limit; i++) {
        if (composite[i])
            continue;
        count++;
        for (unsigned long j = i * i; j < limit; j += i)
            composite[j] = 1;
    }
    free(composite);
    return count;
}

int main(int argc, char **argv)
{
    struct utsname name;
    struct timespec before, after, nap = { 0, 20000000 };
    char link[256] = { 0 }, text[64] = { 0 };

    uname(&name);
    printf("an %s program on %s %s, pid %d, arguments:", name.machine, name.sysname, name.release, getpid());
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf("\nI am %s\n", readlink("/proc/self/exe", link, sizeof link - 1) > 0 ? link : "unknown");

    printf("there are %lu primes below a million\n", primes_below(1000000));

    int fd = open("/tmp/uabi-emu-demo", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, "written to a file that stays in the machine", 43) != 43)
        return 1;
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return 2;
    memcpy(page, "Written", 7);
    if (pread(fd, text, sizeof text, 0) != 43 || strncmp(text, "Written to", 10) != 0)
        return 3;
    printf("%s\n", text);
    unlink("/tmp/uabi-emu-demo");

    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long slept_ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    printf("slept for at least 19 ms: %s\n", slept_ms >= 19 ? "yes" : "no");
    puts("ok");
    return slept_ms < 19;
}
