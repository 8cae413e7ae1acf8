/* What /proc tells of turns on the CPU, of timers and of a thread's children.
 * man 5 proc_pid_status, proc_pid_schedstat, proc_pid_timers, proc_tid_children */
#include "guest.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static char text[8192];

static const char *read_file(const char *format, int id)
{
    char path[64];
    snprintf(path, sizeof path, format, id, id);
    int fd = open(path, O_RDONLY);
    ssize_t count = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    text[count < 0 ? 0 : count] = 0;
    return count < 0 ? NULL : text;
}

static long number_after(const char *what)
{
    const char *at = strstr(text, what);
    return at ? strtol(at + strlen(what) + strspn(at + strlen(what), " :\t"), NULL, 10) : -1;
}

int main(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 0x42 };
    struct sigevent silent = { .sigev_notify = SIGEV_NONE };
    struct timespec time = { 0, 1000000 };
    int timer;
    char want[256];
    guest_start();

    read_file("/proc/self/status", 0);
    long before = number_after("\nvoluntary_ctxt_switches");
    for (int i = 0; i < 3; i++)
        nanosleep(&time, NULL);
    read_file("/proc/self/status", 0);
    CHECK(before >= 0 && number_after("\nvoluntary_ctxt_switches") >= before + 3);
    CHECK(number_after("nonvoluntary_ctxt_switches") >= 0);

    unsigned long long runtime = 0, delay = 0, turns = 0;
    read_file("/proc/self/schedstat", 0);
    WANT(sscanf(text, "%llu %llu %llu", &runtime, &delay, &turns), 3);
    CHECK(runtime > 0 && turns >= 3);

    /* timers, the newest first */
    WANT(*read_file("/proc/self/timers", 0), 0);
    WANT(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer), 0);
    WANT(timer, 0);
    WANT(syscall(SYS_timer_create, CLOCK_PROCESS_CPUTIME_ID, &silent, &timer), 0);
    snprintf(want, sizeof want,
             "ID: 1\nsignal: 0/0000000000000000\nnotify: none/pid.%d\nClockID: -6\n"
             "ID: 0\nsignal: 12/0000000000000042\nnotify: signal/pid.%d\nClockID: 1\n", getpid(), getpid());
    CHECK(!strcmp(read_file("/proc/self/timers", 0), want));

    /* children */
    WANT(*read_file("/proc/%d/task/%d/children", getpid()), 0);
    pid_t child = fork();
    if (!child) {
        pause();
        _exit(0);
    }
    snprintf(want, sizeof want, "%d ", child);
    CHECK(!strcmp(read_file("/proc/%d/task/%d/children", getpid()), want));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    WANT(*read_file("/proc/%d/task/%d/children", getpid()), 0);
    CHECK(!read_file("/proc/%d/children", getpid()));
    return guest_end();
}
