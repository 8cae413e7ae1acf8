/* Several processes: stopping, continuing, killing, and what the parent is told.
 * man 2 wait, man 2 kill, man 7 signal, man 3 setpgid */
#include "guest.h"
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static volatile sig_atomic_t told, code, status;
static volatile pid_t who;

static void child_news(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    told++;
    code = info->si_code;
    status = info->si_status;
    who = info->si_pid;
}

static void nothing(int signal)
{
    (void)signal;
}

/* A child that waits for signals until it is killed; it is asleep when this returns. */
static pid_t sleeper(void)
{
    int ends[2];
    char byte;
    if (pipe(ends))
        return -1;
    pid_t pid = fork();
    if (!pid) {
        (void)!write(ends[1], "", 1);
        for (;;)
            pause();
    }
    (void)!read(ends[0], &byte, 1);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

int main(void)
{
    struct sigaction act = { .sa_sigaction = child_news, .sa_flags = SA_SIGINFO | SA_RESTART };
    struct itimerval timer = { { 0, 0 }, { 0, 20000 } };
    siginfo_t info;
    int state;
    guest_start();
    /* in a session of its own nobody could continue a group that the terminal stops */
    if (getsid(0) != getpid()) {
        pid_t pid = fork();
        if (pid) {
            waitpid(pid, &state, 0);
            return WEXITSTATUS(state);
        }
        setsid();
    }
    sigaction(SIGCHLD, &act, NULL);

    pid_t pid = sleeper();
    WANT(kill(pid, 0), 0);
    WANT(waitpid(pid, &state, WNOHANG | WUNTRACED | WCONTINUED), 0);
    kill(pid, SIGTERM);
    CHECK(waitpid(pid, &state, 0) == pid && WIFSIGNALED(state) && WTERMSIG(state) == SIGTERM);
    CHECK(told == 1 && code == CLD_KILLED && status == SIGTERM && who == pid);
    FAILS(kill(pid, 0), ESRCH);
    FAILS(waitpid(pid, &state, 0), ECHILD);

    /* stopped and continued; each told once */
    pid = sleeper();
    kill(pid, SIGSTOP);
    CHECK(waitpid(pid, &state, WUNTRACED) == pid && WIFSTOPPED(state) && WSTOPSIG(state) == SIGSTOP);
    CHECK(told == 2 && code == CLD_STOPPED && status == SIGSTOP && who == pid);
    WANT(waitpid(pid, &state, WNOHANG | WUNTRACED), 0);
    kill(pid, SIGUSR1);                                 /* waits until it goes on */
    WANT(waitpid(pid, &state, WNOHANG), 0);
    memset(&info, 0, sizeof info);
    kill(pid, SIGCONT);
    CHECK(!waitid(P_PID, pid, &info, WCONTINUED | WEXITED) && info.si_pid == pid);
    CHECK(info.si_code == CLD_CONTINUED || info.si_code == CLD_KILLED);
    if (info.si_code == CLD_CONTINUED)
        waitid(P_PID, pid, &info, WEXITED);
    CHECK(info.si_code == CLD_KILLED && info.si_status == SIGUSR1);

    /* SIGKILL reaches a stopped one */
    pid = sleeper();
    kill(pid, SIGSTOP);
    CHECK(!waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT) && info.si_code == CLD_STOPPED);
    CHECK(!waitid(P_PID, pid, &info, WSTOPPED) && info.si_status == SIGSTOP);
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &state, 0) == pid && WTERMSIG(state) == SIGKILL);

    /* the stop of a process group that nobody would continue is ignored; SIGSTOP is not */
    told = 0;
    if (!(pid = fork())) {
        raise(SIGTSTP);
        _exit(5);
    }
    CHECK(waitpid(pid, &state, WUNTRACED) == pid && WIFEXITED(state) && WEXITSTATUS(state) == 5);
    if (!(pid = fork())) {
        setpgid(0, 0);
        raise(SIGTSTP);                                 /* now there is a parent in another group */
        _exit(6);
    }
    CHECK(waitpid(pid, &state, WUNTRACED) == pid && WIFSTOPPED(state) && WSTOPSIG(state) == SIGTSTP);
    kill(pid, SIGCONT);
    CHECK(waitpid(pid, &state, 0) == pid && WEXITSTATUS(state) == 6);

    /* SA_NOCLDSTOP, SIG_IGN */
    act.sa_flags |= SA_NOCLDSTOP;
    sigaction(SIGCHLD, &act, NULL);
    told = 0;
    pid = sleeper();
    kill(pid, SIGSTOP);
    CHECK(waitpid(pid, &state, WUNTRACED) == pid && told == 0);
    kill(pid, SIGKILL);
    waitpid(pid, &state, 0);
    WANT(told, 1);
    signal(SIGCHLD, SIG_IGN);
    if (!(pid = fork()))
        _exit(7);
    FAILS(waitpid(pid, &state, 0), ECHILD);
    signal(SIGCHLD, SIG_DFL);

    /* a whole group */
    pid_t first = sleeper(), second = sleeper();
    WANT(setpgid(first, first), 0);
    WANT(setpgid(second, first), 0);
    CHECK(getpgid(second) == first);
    WANT(kill(-first, SIGHUP), 0);
    CHECK(waitpid(-first, &state, 0) > 0 && WTERMSIG(state) == SIGHUP);
    CHECK(waitpid(-first, &state, 0) > 0 && WTERMSIG(state) == SIGHUP);
    FAILS(kill(-first, SIGHUP), ESRCH);

    /* a child has no timers of its parent's, and dies of its own */
    signal(SIGALRM, SIG_DFL);
    if (!(pid = fork())) {
        setitimer(ITIMER_REAL, &timer, NULL);
        for (;;)
            ;
    }
    CHECK(waitpid(pid, &state, 0) == pid && WTERMSIG(state) == SIGALRM);
    signal(SIGALRM, nothing);
    setitimer(ITIMER_REAL, &timer, NULL);
    if (!(pid = fork())) {
        getitimer(ITIMER_REAL, &timer);
        _exit(timer.it_value.tv_usec != 0);
    }
    CHECK(waitpid(pid, &state, 0) == pid && WEXITSTATUS(state) == 0);
    pid = sleeper();
    timer = (struct itimerval) { { 0, 0 }, { 0, 20000 } };
    setitimer(ITIMER_REAL, &timer, NULL);
    struct sigaction plain = { .sa_handler = nothing };
    sigaction(SIGALRM, &plain, NULL);
    FAILS(waitpid(pid, &state, 0), EINTR);

    /* the parent's end is told to who asked for it */
    int ends[2], ready[2];
    char byte = 0;
    WANT(pipe(ends), 0);
    WANT(pipe(ready), 0);
    if (!fork()) {
        if (!fork()) {
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR2);
            sigprocmask(SIG_BLOCK, &set, NULL);
            prctl(PR_SET_PDEATHSIG, SIGUSR2);
            (void)!write(ready[1], "r", 1);
            sigwaitinfo(&set, NULL);
            (void)!write(ends[1], "d", 1);
            _exit(0);
        }
        (void)!read(ready[0], &byte, 1);
        _exit(0);
    }
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'd');
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &state, 0) == pid);
    return guest_end();
}
