/* An attack on [vfs], the page of the umask: it is shared by the tasks that share `fs` (CLONE_FS) in whatever address
 * spaces, and by no others; whatever is scribbled over it the kernel takes nine bits of, once for each file; where it is
 * gone, calls are the kernel's again.
 *
 * guest-native: no
 * guest-abis: bounce
 * guest-options: --vdso userspace --cpus 2 */
#include "variables.h"
#include <pthread.h>

static char *page;

/* The kernel's own answer, and what the page says goes on. */
static int believed(void)
{
    long mask = kernel(SYS_umask, 0L);
    kernel(SYS_umask, mask);
    return (int)mask;
}

static int set(long mask)
{
    return (int)SERVED(syscall(SYS_umask, mask));
}

static int mode_of_new_file(void)
{
    struct stat st = { 0 };
    int fd = open("made", O_CREAT | O_EXCL | O_RDWR, 0777);
    if (fd < 0 || fstat(fd, &st) || close(fd) || unlink("made"))
        return -1;
    return st.st_mode & 07777;
}

static pid_t raw_clone(long flags)
{
    return syscall(SYS_clone, flags | SIGCHLD, 0L, 0L, 0L, 0L);
}

static void sharing(void)
{
    puts("-- sharing");
    set(022);
    CHILD_OF(raw_clone(CLONE_FS), {
        WANT(how_many("[vfs]"), 1);
        WANT(how_many("[vtask]"), 1);
        WANT(set(0123), 022);
    });
    WANT(set(0111), 0123);
    WANT(mode_of_new_file(), 0666);
    int there[2], back[2];
    char byte;
    WANT(pipe(there) || pipe(back), 0);
    CHILD_OF(raw_clone(CLONE_FS), ({
        pid_t parent = getppid(), own;
        if (!(own = fork())) { /* which shares it no more */
            get_pages();
            set(0);
            _exit(set(0) != 0 || believed() != 0);
        }
        int status = -1;
        waitpid(own, &status, 0);
        WANT(status, 0);
        WANT(set(0321), 0111);
        WANT(unshare(CLONE_FS), 0);
        get_pages();
        WANT(how_many("[vfs]"), 1);
        WANT(set(0222), 0321);
        WANT(set(0333), 0222);
        WANT(believed(), 0333);
        CHECK(parent == getppid());
    }));
    WANT(set(0111), 0321);
    CHILD_OF(raw_clone(CLONE_FS | CLONE_VFORK), WANT(set(0444), 0111));
    WANT(set(0111), 0444);
    CHILD(WANT(set(0555), 0111));
    WANT(set(0111), 0111);
    /* before its parent: a child that shares it reads what the parent sets */
    pid_t child = raw_clone(CLONE_FS);
    if (!child) {
        int good = read(there[0], &byte, 1) == 1;
        get_pages();
        good &= set(0137) == 0777;
        write(back[1], "x", 1);
        _exit(!good);
    }
    WANT(set(0777), 0111);
    WANT(write(there[1], "x", 1), 1);
    WANT(read(back[0], &byte, 1), 1);
    WANT(set(022), 0137);
    int status = -1;
    WANT(waitpid(child, &status, 0) == child && !status, 1);
}

static volatile int stop;

static void *scribbler(void *unused)
{
    unsigned chance = 1;
    while (!stop) {
        chance = chance * 1103515245 + 12345;
        *(volatile unsigned *)page = chance ^ chance >> 13;
    }
    return unused;
}

static void scribbling(void)
{
    puts("-- scribbling");
    memset(page, 0xff, PAGE);
    WANT(believed(), 0777);
    WANT(mode_of_new_file(), 0);
    memset(page, 0xff, PAGE);
    CHECK(set(027) == -1); /* what the program has written is what it reads */
    WANT(mode_of_new_file(), 0750);
    *(volatile unsigned *)page = 0xfffff000 | 0700;
    WANT(mode_of_new_file(), 077);
    WANT(mkdir("made", 0777) || rmdir("made"), 0);
    pthread_t thread;
    int bad = 0;
    pthread_create(&thread, 0, scribbler, 0);
    for (int i = 0; i < 200; i++)
        bad += (mode_of_new_file() & ~0777) != 0 || (kernel(SYS_umask, 0777L) & ~0777) != 0;
    stop = 1;
    pthread_join(thread, 0);
    WANT(bad, 0);
    /* the kernel may be asked to write there as anywhere */
    int ends[2];
    WANT(pipe(ends), 0);
    WANT(write(ends[1], "\x12\0\0\0", 4), 4);
    WANT(read(ends[0], page, 4), 4);
    WANT(believed(), 022);
    WANT(set(022), 022);
}

static void rights(void)
{
    puts("-- rights");
    char *room = mmap(0, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAILS(mprotect(page, PAGE, PROT_READ | PROT_EXEC), EACCES);
    FAILS(mremap(page, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
    FAILS(madvise(page, PAGE, MADV_DONTNEED), EINVAL);
    FAILS(madvise(page, PAGE, MADV_DOFORK), EINVAL);
    SHOW(madvise(page, PAGE, MADV_DONTFORK));
    CHILD({
        page = find("[vfs]");
        WANT(mprotect(page, PAGE, PROT_READ), 0);
        WANT(syscall(SYS_umask, 0333L), 022);
        WANT(believed(), 0333);
        WANT(mprotect(page, PAGE, PROT_NONE), 0);
        WANT(syscall(SYS_umask, 0L), 0333);
        CHILD(WANT(syscall(SYS_umask, 1L), 0));
        WANT(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
        WANT(syscall(SYS_umask, 022L), 0);
    });
    CHILD({
        page = find("[vfs]");
        WANT(mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room, 1);
        WANT(syscall(SYS_umask, 0333L), 022);
        WANT(believed(), 0333);
        CHILD(WANT(syscall(SYS_umask, 0L), 0333));
        CHILD_OF(raw_clone(CLONE_FS), WANT(syscall(SYS_umask, 0444L), 0333));
        WANT(syscall(SYS_umask, 0L), 0444);
    });
    CHILD({
        page = find("[vfs]");
        WANT(munmap(page, PAGE), 0);
        WANT(syscall(SYS_umask, 0333L), 022);
        WANT(believed(), 0333);
        CHILD(({
            WANT(how_many("[vfs]"), 1);
            WANT(set(0), 0333);
        }));
        pid_t child = vfork();
        if (!child)
            _exit(kernel(SYS_umask, 0333L) != 0333);
        int status = -1;
        waitpid(child, &status, 0);
        WANT(status, 0);
        WANT(believed(), 0333);
        execl("/proc/self/exe", "vfs", "333", (char *)0);
    });
    WANT(set(022), 022);
}

int main(int argc, char **argv)
{
    guest_start();
    kernel = vdso_function("__kernel_syscall");
    if (argc > 1) { /* another program, after the page was taken away from the one before */
        get_pages();
        WANT(how_many("[vfs]"), 1);
        WANT(set(0), strtol(argv[1], 0, 8));
        return guest_failures != 0;
    }
    page = find("[vfs]");
    WANT(how_many("[vfs]"), 1);
    sharing();
    scribbling();
    rights();
    return guest_end();
}
