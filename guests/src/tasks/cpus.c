/* Logical CPUs: how many, which of them a task may be on and which it is on, as every interface tells it.
 * man 2 sched_setaffinity, man 2 getcpu, man 5 proc, man 3 sysconf
 * guest-options: --cpus 4 */
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/wait.h>

static char text[65536];

static long slurp(const char *path)
{
    int fd = open(path, O_RDONLY);
    long have = 0, now;
    while (fd >= 0 && (now = read(fd, text + have, sizeof text - 1 - have)) > 0)
        have += now;
    close(fd);
    text[have] = 0;
    return have;
}

static int lines_that_begin(const char *path, const char *word)
{
    int found = 0;
    slurp(path);
    for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        found += !strncmp(line, word, strlen(word)) && line[strlen(word)] != ' ';
    return found;
}

static int stat_cpu(void)
{
    char *at;
    int field = 3;
    slurp("/proc/self/stat");
    at = strrchr(text, ')') + 2;
    while (field++ < 39)
        at = strchr(at, ' ') + 1;
    return atoi(at);
}

static int raw_cpu(void)
{
    unsigned cpu = 99, node = 99;
    return syscall(SYS_getcpu, &cpu, &node, NULL) == 0 && node == 0 ? (int)cpu : -1;
}

static void only(cpu_set_t *set, int cpu)
{
    CPU_ZERO(set);
    CPU_SET(cpu, set);
}

static void *where(void *arg)
{
    *(int *)arg = sched_getcpu();
    return NULL;
}

int main(void)
{
    cpu_set_t all, one, now;
    int right = 1, told = 1, known = 1, seen = -1, status;
    long conf;
    pthread_t thread;
    pid_t child;

    guest_start();
    conf = sysconf(_SC_NPROCESSORS_CONF);
    WANT(sched_getaffinity(0, sizeof all, &all), 0);
    CHECK(CPU_COUNT(&all) == sysconf(_SC_NPROCESSORS_ONLN) && CPU_COUNT(&all) <= conf);
    CHECK(lines_that_begin("/proc/stat", "cpu") == sysconf(_SC_NPROCESSORS_ONLN));
    CHECK(lines_that_begin("/proc/cpuinfo", "processor\t") == sysconf(_SC_NPROCESSORS_ONLN));
    CHECK(slurp("/sys/devices/system/cpu/online") > 0 && atoi(text) == 0);
    CHECK(conf == 1 || atoi(strrchr(text, '-') + 1) == conf - 1);

    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all)) {
            only(&one, cpu);
            right &= sched_setaffinity(0, sizeof one, &one) == 0 && raw_cpu() == cpu && sched_getcpu() == cpu;
            told &= sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &one);
            known &= stat_cpu() == cpu;
        }
    CHECK(right);
    CHECK(told);
    CHECK(known);

    /* children inherit it */
    only(&one, 1);
    if (!CPU_ISSET(1, &all))
        only(&one, 0);
    WANT(sched_setaffinity(0, sizeof one, &one), 0);
    pthread_create(&thread, NULL, where, &seen);
    pthread_join(thread, NULL);
    CHECK(CPU_ISSET(seen, &one));
    child = fork();
    if (child == 0)
        _exit(!(CPU_ISSET(sched_getcpu(), &one) && sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &one)));
    WANT(waitpid(child, &status, 0) == child ? status : -1, 0);

    /* another's */
    child = fork();
    if (child == 0) {
        while (sched_getcpu() != 0)
            sched_yield();
        _exit(7);
    }
    only(&one, 0);
    WANT(sched_setaffinity(child, sizeof one, &one), 0);
    WANT(waitpid(child, &status, 0) == child ? status : -1, 7 << 8);

    CPU_ZERO(&one);
    FAILS(sched_setaffinity(0, sizeof one, &one), EINVAL);
    only(&one, CPU_SETSIZE - 1);
    FAILS(sched_setaffinity(0, sizeof one, &one), EINVAL);
    FAILS(sched_setaffinity(0x7ffffff, sizeof one, &all), ESRCH);
    FAILS(syscall(SYS_sched_setaffinity, 0, sizeof one, BAD), EFAULT);
    WANT(sched_setaffinity(0, sizeof all, &all), 0);
    WANT(syscall(SYS_getcpu, NULL, NULL, NULL), 0);
    FAILS(syscall(SYS_getcpu, BAD, NULL, NULL), EFAULT);
    return guest_end();
}
