/* Does much of what a handler of SIGSYS must not show: signals that interrupt calls, with restart and without, nested
 * ones, children, threads, file modes, masks, alternate stacks, and looks at the clock all the while. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf place;
static char alternate[32768];

static void note(const char *what, long value)
{
    struct timespec now;
    char line[80];

    clock_gettime(CLOCK_MONOTONIC, &now);
    write(1, line, snprintf(line, sizeof(line), "%ld.%09ld %s %ld\n", (long)now.tv_sec, now.tv_nsec, what, value));
}

static void on_signal(int number)
{
    int error = errno;
    struct stat st;

    note("signal", number);
    if (number == SIGUSR1)
        kill(getpid(), SIGUSR2);        /* comes at once, on top */
    fstat(1, &st);                      /* its argument is on this stack */
    errno = error;
}

static void jump(int number)
{
    note("jump", number);
    siglongjmp(place, 1);
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(number, &action, 0);
}

static void alarm_in_ms(int ms)
{
    struct itimerval in = {{0, 0}, {0, ms * 1000}};

    setitimer(ITIMER_REAL, &in, 0);
}

static void *thread(void *argument)
{
    for (int i = 0; i < 3; i++)
        usleep(1000);
    return argument;
}

int main(int argc, char **argv)
{
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
    struct stat st;
    sigset_t set, old;
    pthread_t id[2];
    void *result;
    int ends[2], status;
    char byte;

    if (argc > 1)
        return 7;
    handle(SIGUSR1, on_signal, 0);
    handle(SIGUSR2, on_signal, SA_RESTART);
    kill(getpid(), SIGUSR1);
    raise(SIGUSR2);

    handle(SIGALRM, on_signal, SA_RESTART);             /* a read that goes on */
    pipe(ends);
    if (!fork()) {
        usleep(20000);
        write(ends[1], "x", 1);
        _exit(3);
    }
    alarm_in_ms(5);
    note("read", read(ends[0], &byte, 1));
    note("child", wait(&status) > 0 ? WEXITSTATUS(status) : -1);
    handle(SIGALRM, on_signal, 0);                      /* a sleep that does not */
    alarm_in_ms(5);
    note("read", read(ends[0], &byte, 1));
    note("errno", errno);
    alarm_in_ms(5);
    usleep(20000);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, &old);
    alarm_in_ms(5);
    usleep(20000);
    note("pending", sigpending(&set) ? -1 : sigismember(&set, SIGALRM));
    sigsuspend(&old);
    sigprocmask(SIG_SETMASK, &old, 0);

    handle(SIGALRM, jump, 0);                           /* out of a call, and of two handlers */
    if (!sigsetjmp(place, 1)) {
        alarm_in_ms(5);
        pause();
    }
    sigaltstack(&stack, 0);
    handle(SIGUSR1, on_signal, SA_ONSTACK);
    kill(getpid(), SIGUSR1);

    note("umask", umask(027));
    note("umask", umask(077));
    close(open("made", O_CREAT | O_WRONLY, 0666));
    note("mode", stat("made", &st) ? -1 : st.st_mode & 0777);
    note("personality", personality(ADDR_NO_RANDOMIZE));
    note("personality", personality(0xffffffff));

    for (int i = 0; i < 2; i++)
        pthread_create(&id[i], 0, thread, &id[i]);
    for (int i = 0; i < 2; i++)
        note("thread", pthread_join(id[i], &result) ? -1 : result == &id[i]);
    if (!vfork()) {
        execl(argv[0], argv[0], "again", (char *)0);
        _exit(1);
    }
    note("child", wait(&status) > 0 ? WEXITSTATUS(status) : -1);
    return 5;
}
