/* Tries filters, one child each: from standard input a `struct trial` and its instructions, to standard output a line
 * with what became of it: "refused <errno>", "returned <errno>" of a call with that number and those arguments, or
 * "killed <signal>".
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct trial {
    uint32_t length;
    uint32_t number;
    uint64_t args[6];
};

static int read_all(void *to, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t part = read(0, (char *)to + got, size - got);
        if (part <= 0)
            return 0;
        got += (size_t)part;
    }
    return 1;
}

int main(void)
{
    static struct sock_filter program[5000];
    struct trial trial;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return 1;
    while (read_all(&trial, sizeof trial) && trial.length <= 5000 && read_all(program, trial.length * sizeof *program)) {
        pid_t child = fork();
        if (!child) {
            struct sock_fprog fprog = { (unsigned short)trial.length, program };
            const uint64_t *a = trial.args;
            if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog))
                _exit(errno);
            errno = 0;
            syscall((long)trial.number, a[0], a[1], a[2], a[3], a[4], a[5]);
            _exit(100 + errno);
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status))
            printf("killed %d\n", WTERMSIG(status));
        else if (WEXITSTATUS(status) < 100)
            printf("refused %d\n", WEXITSTATUS(status));
        else
            printf("returned %d\n", WEXITSTATUS(status) - 100);
    }
    return 0;
}
