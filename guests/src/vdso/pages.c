/* An attack on the pages that tell a task about itself: none can be written, by the program or by the kernel on its
 * behalf; what is put in their place deceives neither the vDSO's functions nor the kernel.
 *
 * guest-native: no
 * guest-options: --vdso-data perthread */
#include "guest.h"
#include "lookup.h"
#include <sys/wait.h>

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

static char *page, *room;
static size_t size;
static int ends[2];

static int find(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], rights[8] = "";
    unsigned long low, high;
    size = 0;
    while (fgets(line, sizeof line, maps))
        if (strstr(line, name) && sscanf(line, "%lx-%lx %7s", &low, &high, rights) == 3) {
            page = (char *)low;
            size = high - low;
            break;
        }
    fclose(maps);
    if (size)
        printf("%s\n", rights);
    return size != 0;
}

static long told(const char *name)
{
    int (*function)(void) = vdso_function(name);
    return function();
}

/* The signal that a child of ours dies by which does that; 0 for none. */
#define DIES_BY(statement) ({ \
        int status_ = -1; \
        fflush(stdout); \
        pid_t child_ = fork(); \
        if (!child_) { statement; _exit(0); } \
        waitpid(child_, &status_, 0); \
        WIFSIGNALED(status_) ? WTERMSIG(status_) : 0; })

/* Everything that writes to memory of a process, at the page's first bytes and its last. */
static void writing(void)
{
    for (int end = 0; end < 2; end++) {
        char *at = end ? page + size - 8 : page;
        WANT(readable(at), 1);
        WANT(writable(at), 0);
        WANT(DIES_BY(*(volatile char *)at = 1), SIGSEGV);
        WANT(write(ends[1], "12345678", 8), 8);
        FAILS(read(ends[0], at, 8), EFAULT);
        WANT(read(ends[0], room, 8), 8);
        FAILS(syscall(SYS_getcpu, at, 0, 0), EFAULT);
        FAILS(syscall(SYS_getrandom, at, 8, 0), EFAULT);
    }
    int memory = open("/proc/self/mem", O_RDWR);
    if (memory >= 0)
        WANT(pwrite(memory, "12345678", 8, (off_t)page) != 8, 1);
    struct iovec from = { "12345678", 8 }, to = { page, 8 };
    WANT(syscall(SYS_process_vm_writev, getpid(), &from, 1L, &to, 1L, 0L) != 8, 1);
}

static void write_to(pid_t parent)
{
    char file[64], *at = page + size - 64;
    struct iovec from = { "12345678", 8 }, to = { at, 8 };
    sprintf(file, "/proc/%d/mem", (int)parent);
    int memory = open(file, O_RDWR);
    if (memory >= 0 && pwrite(memory, "12345678", 8, (off_t)at) == 8)
        abort();
    if (syscall(SYS_process_vm_writev, parent, &from, 1L, &to, 1L, 0L) == 8)
        abort();
    mprotect(page, size, PROT_READ | PROT_WRITE);
    munmap(page, size);
    if (mmap(page, size, PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0) != MAP_FAILED)
        memset(page, 0x55, size);
}

/* The same from another process, whose pages they are too, or which has pages like them; then what ours say. */
static void writing_from_afar(void)
{
    pid_t parent = getpid();
    char copy[64];
    memcpy(copy, page + size - 64, 64); /* the version comes behind 36 bytes */
    WANT(DIES_BY(write_to(parent)), 0);
    WANT(memcmp(copy, page + size - 64, 36), 0);
    WANT(told("__kernel_getpid") == parent, 1);
    WANT(told("__kernel_geteuid") == syscall(SYS_geteuid), 1);
}

static void rights(void)
{
    FAILS(mprotect(page, size, PROT_READ | PROT_WRITE), EACCES);
    FAILS(mprotect(page, size, PROT_WRITE), EACCES);
    FAILS(mprotect(page, size, PROT_READ | PROT_EXEC), EACCES);
    FAILS(mremap(page, size, size + PAGE, MREMAP_MAYMOVE), EFAULT);
    FAILS(mremap(page, 0, size, MREMAP_MAYMOVE), EINVAL);
    FAILS(mremap(page, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), EINVAL);
    if (size > PAGE) {
        int bad = munmap(page, PAGE) != -1 || munmap(page + PAGE, PAGE) != -1 || munmap(page + size - PAGE, PAGE) != -1;
        bad |= mmap(page, PAGE, PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0) != MAP_FAILED;
        bad |= mremap(page, PAGE, PAGE, MOVE, room) != MAP_FAILED || mprotect(page, PAGE, PROT_NONE) != -1;
        if (bad)
            guest_fail(__FILE__, __LINE__);
    }
    FAILS(madvise(page, size, MADV_DONTNEED), EINVAL);
    WANT(madvise(page, size, MADV_DONTFORK), 0);
    FAILS(madvise(page, size, MADV_DOFORK), EINVAL);
}

/* A page of our own that says the user is root, in the place of the kernel's. */
static void forging(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        syscall(SYS_setresgid, 65534, 65534, 65534);
        syscall(SYS_setresuid, 65534, 65534, 65534);
        MAPPED(mmap(page, size, PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0));
        memset(page, 0, size); /* user 0, process 0 */
        WANT(told("__kernel_getpid") == getpid(), 1);
        WANT(told("__kernel_getuid") == (long)syscall(SYS_getuid), 1);
        WANT(told("__kernel_geteuid") == (long)syscall(SYS_geteuid), 1);
        FAILS(chroot("/"), EPERM);
        memset(page, 0x7f, size);
        WANT(told("__kernel_gettid") == syscall(SYS_gettid), 1);
        fflush(stdout);
        _exit(guest_failures != 0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    WANT(status, 0);
}

int main(void)
{
    guest_start();
    room = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, ANON, -1, 0);
    WANT(pipe(ends), 0);
    if (find("[vvar]")) {
        writing();
        FAILS(mprotect(page, size, PROT_READ | PROT_WRITE), EACCES);
    }
    if (find("[vthread]") || find("[vcpu]")) {
        writing();
        writing_from_afar();
        forging();
        /* without the right to read them the functions can't, and say so as everybody does */
        WANT(DIES_BY({ mprotect(page, size, PROT_NONE); told("__kernel_getpid"); }), SIGSEGV);
        rights();
        WANT(told("__kernel_getpid") == getpid(), 1);
    }
    return guest_end();
}
