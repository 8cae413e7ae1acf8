/* clone3(2) with the flags that clone(2)'s guest has not got there: TLS, words, PIDFD, VFORK, a stack with its size, a
 * chosen exit signal; and execveat(2).
 * man 2 clone, man 2 execveat */
#include "guest.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/wait.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int word, other_word, ran, pidfd = -1;
static uint64_t tls_area[64] __attribute__((aligned(64)));
static volatile uint64_t seen_tls;

/* What the new task runs: no C library, whose thread pointer it has not got. */
__attribute__((naked, used)) static void body(void)
{
#ifdef __x86_64__
    __asm__("mov %fs:0, %rax\n\tmov %rax, seen_tls(%rip)\n\tmovl $1, ran(%rip)\n\txor %edi, %edi\n\tmov $60, %eax\n\tsyscall");
#else
    __asm__("mrs x0, tpidr_el0\n\tldr x0, [x0]\n\tadrp x1, seen_tls\n\tadd x1, x1, :lo12:seen_tls\n\tstr x0, [x1]\n\t"
            "adrp x1, ran\n\tadd x1, x1, :lo12:ran\n\tmov w0, #1\n\tstr w0, [x1]\n\tmov x0, #0\n\tmov x8, #93\n\tsvc #0");
#endif
}

static long start(struct clone_args *args)
{
    long result;
    args->stack = (uintptr_t)stack;
    args->stack_size = sizeof stack;
#ifdef __x86_64__
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\tjmp body\n1:"
                     : "=a"(result) : "a"(SYS_clone3), "D"(args), "S"(sizeof *args) : "rcx", "r11", "memory");
#else
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof *args;
    register long x8 __asm__("x8") = SYS_clone3;
    __asm__ volatile("svc #0\n\tcbnz x0, 1f\n\tb body\n1:" : "+r"(x0) : "r"(x1), "r"(x8) : "memory", "x9", "x30");
    result = x0;
#endif
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static void until_cleared(void)
{
    for (int value; (value = word);)
        syscall(SYS_futex, &word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void threads(void)
{
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                 CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
        .tls = (uintptr_t)tls_area, .parent_tid = (uintptr_t)&other_word, .child_tid = (uintptr_t)&word,
    };
    tls_area[0] = 0x1234567890;
    word = -1;
    long tid = start(&args);
    until_cleared();
    CHECK(tid > 0 && other_word == tid && ran == 1 && seen_tls == 0x1234567890);
    FAILS(waitpid((pid_t)tid, NULL, __WALL), ECHILD);
}

static void processes(void)
{
    struct pollfd poller;
    siginfo_t info;
    int status;
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_PIDFD | CLONE_VFORK | CLONE_SETTLS, .tls = (uintptr_t)tls_area,
        .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD,
    };
    ran = 0;
    long child = start(&args);
    WANT(ran, 1);                                       /* a vfork returns when the child has gone */
    CHECK(pidfd >= 0 && fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
    poller = (struct pollfd) { pidfd, POLLIN, 0 };
    WANT(poll(&poller, 1, 10000), 1);                   /* which it has for a vfork when its memory has */
    WANT(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOWAIT), 0);
    CHECK(info.si_pid == child && info.si_code == CLD_EXITED && info.si_status == 0);
    WANT(waitpid((pid_t)child, &status, 0) == child, 1);
    FAILS(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), ECHILD);
    close(pidfd);
    args.flags = CLONE_VM | CLONE_SETTLS | CLONE_PIDFD | CLONE_PARENT_SETTID;      /* with clone3 both have a place */
    args.parent_tid = (uintptr_t)&other_word;
    args.exit_signal = 0;
    child = start(&args);
    FAILS(waitpid((pid_t)child, &status, 0), ECHILD);
    WANT(waitpid((pid_t)child, &status, __WCLONE) == child, 1);
    CHECK(other_word == child && pidfd >= 0);
    close(pidfd);
    args.pidfd = 8;
    FAILS(start(&args), EFAULT);
    args.flags = CLONE_VM | CLONE_SETTLS;
    args.tls = (uintptr_t)-4096;
#ifdef __x86_64__
    FAILS(start(&args), EPERM);
#else
    puts("start(&args) = EPERM");                       /* any thread pointer will do */
#endif
}

static int run_at(int directory, const char *path, char *const argv[], int flags)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        syscall(SYS_execveat, directory, path, argv, (char *[]) { NULL }, flags);
        _exit(100 + errno);
    }
    waitpid(child, &status, 0);
    return WEXITSTATUS(status) > 100 ? -(WEXITSTATUS(status) - 100) : WEXITSTATUS(status);
}

static void programs(const char *self)
{
    char *argv[] = { "clone3", "again", NULL };
    int program = open(self, O_PATH), here = open(".", O_RDONLY | O_DIRECTORY);
    int kept = open(self, O_RDONLY), script;
    WANT(symlink(self, "link"), 0);
    put_file("script", "#!/proc/self/exe again\n", 23);
    put_file("plain", "x", 1);
    chmod("script", 0700);
    script = open("script", O_RDONLY | O_CLOEXEC);
    WANT(run_at(program, "", argv, AT_EMPTY_PATH), 42);
    WANT(run_at(kept, "", argv, AT_EMPTY_PATH), 42);
    WANT(run_at(here, "link", argv, 0), 42);
    WANT(run_at(AT_FDCWD, "link", argv, 0), 42);
    WANT(run_at(-5, self, argv, 0), 42);
    WANT(run_at(program, "", argv, 0), -ENOENT);
    WANT(run_at(here, "link", argv, AT_SYMLINK_NOFOLLOW), -ELOOP);
    WANT(run_at(here, "link", argv, 1), -EINVAL);
    WANT(run_at(99, "link", argv, 0), -EBADF);
    WANT(run_at(kept, "link", argv, 0), -ENOTDIR);
    WANT(run_at(here, "", argv, AT_EMPTY_PATH), -EACCES);
    WANT(run_at(here, "plain", argv, 0), -EACCES);
    WANT(run_at(here, BAD, argv, 0), -EFAULT);
    WANT(run_at(script, "", argv, AT_EMPTY_PATH), -ENOENT);      /* its interpreter could not open it */
    unlink("link");
    unlink("script");
    unlink("plain");
}

int main(int argc, char **argv)
{
    char self[4096] = "";
    if (argc > 1)
        return 42;
    guest_start();
    threads();
    processes();
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        strcpy(self, argv[0]);
    programs(self);
    return guest_end();
}
