/* A thread in a cancellation point, cancelled before an instruction of somebody else's choice.
 *
 * `plan.step` counts instructions from the C library's own `__cp_begin`; who watches sets `plan.go` when the thread is
 * there, and lets this main thread run. When nobody does, the thread is cancelled once it sleeps, and the next call
 * comes. Each observation leaves by a write to a descriptor that is not open.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOWHERE 1000

enum call { OPEN, READ, READ_WAITS, NANOSLEEP, CALLS };

volatile struct {
    uint64_t armed, step, go;
} plan;

static struct {
    uint64_t call, injected, cancelled, cleaned, returned, opened, left;
} now;

static char fifo[] = "/tmp/cancelled-fifo";
static int ends[2];

static void cleanup(void *arg)
{
    (void)arg;
    now.cleaned++;
}

static void *worker(void *arg)
{
    char byte;
    struct timespec time = { 1000, 0 };
    (void)arg;
    pthread_cleanup_push(cleanup, NULL);
    plan.armed = 1;
    switch (now.call) {
    case OPEN: open(fifo, O_RDONLY); break;
    case READ: case READ_WAITS: read(ends[0], &byte, 1); break;
    case NANOSLEEP: nanosleep(&time, NULL); break;
    }
    plan.armed = 0;
    now.returned = 1;
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

static void trial(void)
{
    pthread_t thread;
    void *result = NULL;
    int queued, before = dup(0);
    close(before);
    now.cleaned = now.returned = 0;
    if (now.call == READ)
        write(ends[1], "a", 1);
    plan.go = 0;
    pthread_create(&thread, NULL, worker, NULL);
    for (int turn = 0; turn < 100 && !plan.go; turn++)
        sched_yield();
    now.injected = plan.go;
    alarm(60); /* a thread that misses its cancellation sleeps for ever */
    pthread_cancel(thread);
    pthread_join(thread, &result);
    alarm(0);
    plan.armed = 0;
    now.cancelled = result == PTHREAD_CANCELED;
    int after = dup(0);
    close(after);
    now.opened = after != before;
    ioctl(ends[0], FIONREAD, &queued);
    now.left = queued;
    while (queued--) {
        char byte;
        read(ends[0], &byte, 1);
    }
    syscall(SYS_write, NOWHERE, &now, sizeof now);
}

/* How large the image is: whole pages. */
static size_t vdso_bytes(uintptr_t vdso)
{
    const Elf64_Phdr *loaded = (const void *)(vdso + ((const Elf64_Ehdr *)vdso)->e_phoff);
    return (loaded->p_memsz + 4095) & -4096UL;
}

/* A handler of our own in the vDSO's place: it makes a call before the one that it was asked for (getpid, which does no
 * harm). `offset` is where the vDSO's begins. */
static void make_two_calls(long offset)
{
    unsigned char *vdso = (unsigned char *)getauxval(AT_SYSINFO_EHDR), *from = vdso + offset;
    size_t size = vdso_bytes((uintptr_t)vdso);
    unsigned char *to = vdso + size - 64; /* behind all that is there */
    mprotect(vdso, size, PROT_READ | PROT_WRITE | PROT_EXEC);
#ifdef __x86_64__
    static const unsigned char code[] = {
        0xb8, 39, 0, 0, 0, 0x0f, 0x05,      /* mov eax, getpid; syscall */
        0x48, 0x8b, 0x04, 0x24,             /* mov rax, [rsp]: the number, in the frame */
        0x0d, 0, 0, 0, 0x20, 0x0f, 0x05,    /* or eax, REDIRECT; syscall */
    };
    int distance = (int)(to - (from + 5));
    memcpy(to, code, sizeof code);
    *from = 0xe9; /* jmp */
    memcpy(from + 1, &distance, 4);
#else
    static const unsigned code[] = {
        0xf81f0fe0, 0xd2801588, 0xd4000001, /* str x0, [sp, #-16]!; mov x8, #172 (getpid); svc #0 */
        0xf84107e0, 0xf94003e8,             /* ldr x0, [sp], #16; ldr x8, [sp]: the number, in the frame */
        0x32030108, 0xd4000001,             /* orr w8, w8, #REDIRECT; svc #0 */
    };
    unsigned branch = 0x14000000 | ((to - from) / 4 & 0x3ffffff);
    memcpy(to, code, sizeof code);
    memcpy(from, &branch, 4);
#endif
    __builtin___clear_cache((char *)vdso, (char *)vdso + size);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        make_two_calls(strtol(argv[1], NULL, 10));
    mkfifo(fifo, 0600);
    if (pipe(ends))
        return 1;
    for (now.call = 0; now.call < CALLS; now.call++)
        for (plan.step = 0; plan.step < 60; plan.step++) {
            trial();
            if (!now.injected)
                break;
        }
    return 0;
}
