/* An attack on [vtask], the page of a task's own variables: whatever is scribbled over it the kernel believes no more of
 * than the calls that set them would have taken, and nobody but the program itself is deceived; where it is gone, calls
 * are the kernel's again.
 *
 * guest-native: no
 * guest-abis: bounce
 * guest-options: --vdso userspace --cpus 2 */
#include "variables.h"
#include <pthread.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

static char *page;

static long persona(long value)
{
    return SERVED(syscall(SYS_personality, value));
}

static long slack(void)
{
    return SERVED(syscall(SYS_prctl, PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L));
}

static long death_signal(int set)
{
    int number = -77;
    if (set >= 0)
        return SERVED(syscall(SYS_prctl, PR_SET_PDEATHSIG, (long)set, 0L, 0L, 0L));
    SERVED(syscall(SYS_prctl, PR_GET_PDEATHSIG, &number, 0L, 0L, 0L));
    return number;
}

static void set_all(void)
{
    persona(0);
    SERVED(syscall(SYS_prctl, PR_SET_TIMERSLACK, 12345L, 0L, 0L, 0L));
    death_signal(SIGURG);
    SERVED(syscall(SYS_set_robust_list, 0L, 24L));
}

static void serving(void)
{
    puts("-- serving");
    set_all();
    WANT(slack(), 12345);
    WANT(death_signal(-1), SIGURG);
    WANT(persona(STICKY_TIMEOUTS), 0);
    WANT(persona(0xffffffff), STICKY_TIMEOUTS);
    WANT(kernel(SYS_personality, 0L), STICKY_TIMEOUTS);
    WANT(kernel(SYS_prctl, PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L), 12345);
    CHILD({
        WANT(slack(), 12345);
        WANT(death_signal(-1), 0); /* the kernel clears it in a child */
        WANT(persona(UNAME26), 0);
    });
    WANT(persona(0xffffffff), 0);
}

static void *in_thread(void *parents)
{
    char rights[8] = "none";
    get_pages();
    char *own = find_nth("[vtask]", 0, rights);
    if (own == parents)
        own = find_nth("[vtask]", 1, rights);
    CHECK(own && own != parents && !strcmp(rights, "rw-s"));
    WANT(how_many("[vtask]"), 2);
    WANT(how_many("[vfs]"), 1);
    WANT(death_signal(-1), 0);
    WANT(death_signal(SIGWINCH), 0);
    memset(own, 0xff, PAGE);
    WANT(kernel(SYS_prctl, PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L) > 0, 1);
    memset(parents, 0xee, 8); /* the other's way to its umask */
    return 0; /* with a list of robust locks at the end of all addresses */
}

static void threads(void)
{
    puts("-- threads");
    pthread_t thread;
    uint64_t way;
    memcpy(&way, page, 8);
    set_all();
    pthread_create(&thread, 0, in_thread, page);
    pthread_join(thread, 0);
    WANT(how_many("[vtask]"), 1);
    WANT(death_signal(-1), SIGURG);
    umask(022);
    WANT(umask(022), 022);
    memcpy(page, &way, 8);
    WANT(SERVED(syscall(SYS_umask, 022L)), 022);
}

/* Dies with its parent only if the signal is one. */
static int outlives_its_parent(void (*before)(void))
{
    int ends[2];
    char byte = '?';
    if (pipe(ends))
        return -1;
    pid_t child = fork();
    if (!child) {
        if (!fork()) {
            pid_t parent = getppid();
            get_pages();
            page = find_nth("[vtask]", 0, (char[8]){ 0 });
            before();
            write(ends[1], "r", 1);
            while (getppid() == parent)
                sched_yield();
            write(ends[1], "l", 1);
            _exit(0);
        }
        read(ends[0], &byte, 1);
        _exit(0);
    }
    waitpid(child, 0, 0);
    close(ends[1]);
    int lives = read(ends[0], &byte, 1) == 1 && byte == 'l';
    close(ends[0]);
    return lives;
}

/* Where in the page the signal is. */
static volatile int *place_of_signal(void)
{
    for (volatile int *place = (int *)page; place < (int *)(page + PAGE); place++) {
        death_signal(61);
        if (*place != 61)
            continue;
        death_signal(62);
        if (*place == 62)
            return place;
    }
    return 0;
}

static void asks_to_die(void) { death_signal(SIGKILL); }
static void writes_to_die(void) { *place_of_signal() = SIGKILL; }
static void writes_nonsense(void) { *place_of_signal() = 65; }
static void writes_more(void) { memset(page + 8, 0xff, PAGE - 8); }

static void scribbling(void)
{
    struct utsname name;
    puts("-- scribbling");
    set_all();
    WANT(slack(), 12345); /* the kernel looks at it when it is asked */
    WANT(kernel(SYS_prctl, PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L), 12345);
    memset(page + 8, 0xff, PAGE - 8);
    WANT(kernel(SYS_prctl, PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L), 12345);
    WANT(uname(&name), 0);
    CHECK(!strncmp(name.release, "2.6.", 4)); /* no more than personality(2) gives */
    CHILD({
        WANT(death_signal(-1), 0);
        WANT(slack(), 12345);
    });
    /* what the page says is as good as the call, and no better */
    WANT(outlives_its_parent(asks_to_die), 0);
    WANT(outlives_its_parent(writes_to_die), 0);
    WANT(outlives_its_parent(writes_nonsense), 1);
    WANT(outlives_its_parent(writes_more), 1);
    set_all();
    void *head = 0;
    size_t length = 0;
    uint64_t *place = (uint64_t *)page;
    SERVED(syscall(SYS_set_robust_list, 0x77777777L, 24L));
    while (*place != 0x77777777)
        place++;
    *place = 0x123456789;
    WANT(kernel(SYS_get_robust_list, 0L, &head, &length), 0);
    WANT((long)head, 0x123456789);
    set_all();
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
        page = find("[vtask]");
        WANT(mprotect(page, PAGE, PROT_READ), 0);
        WANT(syscall(SYS_personality, (long)UNAME26), 0);
        WANT(kernel(SYS_personality, 0xffffffffL), UNAME26);
        WANT(mprotect(page, PAGE, PROT_NONE), 0);
        WANT(syscall(SYS_personality, 0L), UNAME26);
        CHILD(WANT(persona(UNAME26), 0));
    });
    CHILD({
        page = find("[vtask]");
        WANT(mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room, 1);
        WANT(syscall(SYS_personality, (long)UNAME26), 0);
        WANT(kernel(SYS_personality, 0xffffffffL), UNAME26);
        CHILD(WANT(persona(0), UNAME26));
        MAPPED(mmap(page, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
        WANT(syscall(SYS_personality, 0L), UNAME26);
    });
    CHILD({
        page = find("[vtask]");
        WANT(munmap(page, PAGE), 0);
        WANT(syscall(SYS_personality, (long)UNAME26), 0);
        WANT(kernel(SYS_personality, 0xffffffffL), UNAME26);
        CHILD(({
            WANT(how_many("[vtask]"), 1);
            WANT(persona(0), UNAME26);
        }));
        pid_t child = vfork();
        if (!child)
            _exit(kernel(SYS_personality, 0xffffffffL) != UNAME26);
        int status = -1;
        waitpid(child, &status, 0);
        WANT(status, 0);
        execl("/proc/self/exe", "vtask", "again", (char *)0);
    });
    WANT(persona(0xffffffff), 0);
}

int main(int argc, char **argv)
{
    (void)argv;
    guest_start();
    kernel = vdso_function("__kernel_syscall");
    if (argc > 1) { /* another program, after the page was taken away from the one before */
        get_pages();
        WANT(how_many("[vtask]"), 1);
        WANT(persona(0), UNAME26);
        return guest_failures != 0;
    }
    page = find("[vtask]");
    WANT(how_many("[vtask]"), 1);
    serving();
    threads();
    scribbling();
    rights();
    return guest_end();
}
