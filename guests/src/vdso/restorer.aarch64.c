/* A handler without a restorer returns through __kernel_rt_sigreturn: of the vDSO where it is now, or where it was when
 * it went away, for the kernel keeps the pointer (arch/arm64/kernel/signal.c:setup_return(), vdso.c:vdso_mremap()).
 * qemu-user has a trampoline of its own; the expectation is Linux's source.
 * guest-native: no */
#include "guest.h"
#include <sys/auxv.h>
#include <sys/wait.h>

struct kernel_action { void (*handler)(int); unsigned long flags; void *restorer; uint64_t mask; };

static volatile uintptr_t returns_to;
static volatile int handled;

static void handler(int signal)
{
    (void)signal;
    returns_to = (uintptr_t)__builtin_return_address(0);
    handled++;
}

static void install(int signal, unsigned long flags)
{
    struct kernel_action action = { handler, flags, 0, 0 };
    WANT(syscall(SYS_rt_sigaction, signal, &action, 0, 8), 0);
}

static size_t size;                         /* of the vDSO */

static void find_size(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        unsigned long low, high;
        if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &low, &high) == 2)
            size = high - low;
    }
    fclose(maps);
}

static int within(uintptr_t address, char *start)
{
    return address >= (uintptr_t)start && address < (uintptr_t)start + size;
}

static void in_child(const char *name, void (*what)(char *), char *vdso)
{
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        what(vdso);
        fflush(stdout);
        _exit(guest_failures);
    }
    int status = -1;
    waitpid(child, &status, 0);
    printf("%s: status %#x\n", name, status);
}

static char *room;

static void moved(char *vdso)
{
    WANT(mremap(vdso, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room, 1);
    raise(SIGUSR1);
    WANT(handled, 1);
    CHECK(within(returns_to, room));
    WANT(mremap(room, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, vdso) == vdso, 1);
    raise(SIGUSR1);
    WANT(handled, 2);
    CHECK(within(returns_to, vdso));
}

static void unmapped(char *vdso)
{
    WANT(munmap(vdso, size), 0);
    raise(SIGUSR1);                         /* SIGSEGV at its return */
    puts("not reached");
}

static void covered(char *vdso)
{
    /* other code where the trampoline was is what a handler returns to: here, none */
    WANT(mmap(vdso, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == vdso, 1);
    raise(SIGUSR1);
    puts("not reached");
}

static void not_inherited(char *vdso)
{
    WANT(madvise(vdso, size, MADV_DONTFORK), 0);
    in_child("a child without it", unmapped, room);
}

int main(void)
{
    guest_start();
    char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
    find_size();
    room = mmap(0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    install(SIGUSR1, 0);
    raise(SIGUSR1);
    WANT(handled, 1);
    CHECK(within(returns_to, vdso));
    handled = 0;
    in_child("moved", moved, vdso);
    in_child("unmapped", unmapped, vdso);
    in_child("covered", covered, vdso);
    in_child("not inherited", not_inherited, vdso);
    return guest_end();
}
