/* The vDSO and its data pages as mappings: what munmap, mmap, mremap, mprotect, madvise and their kin may do to them
 * (mm/mmap.c:special_mapping_vmops). Each case has a process of its own, for some leave it without a vDSO. Where one
 * has a single page there are no parts, and the cases about a part say nothing. */
#include "guest.h"
#include <sys/wait.h>

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)

static char *vdso, *vvar, *room;
static size_t vdso_size, vvar_size;

/* Where /proc/self/maps has a mapping of that name; its size, 0 when it is not there. */
static size_t find(const char *name, char **start, char *rights)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    size_t size = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long low, high;
        char allowed[8];
        if (!strstr(line, name) || sscanf(line, "%lx-%lx %7s", &low, &high, allowed) != 3)
            continue;
        *start = (char *)low;
        size += high - low;
        strcpy(rights, allowed);
    }
    fclose(maps);
    return size;
}

static void show_one(const char *name, char *before, size_t size_before)
{
    char *now = 0, rights[8] = "";
    size_t size = find(name, &now, rights);
    if (!size)
        printf("  no %s\n", name);
    else
        printf("  %s %s %s%s\n", name, rights, now == before ? "in its place" : now == room ? "in the room" : "elsewhere",
               size == size_before ? "" : ", of another size");
}

static void show(void)
{
    show_one("[vdso]", vdso, vdso_size);
    show_one("[vvar]", vvar, vvar_size);
}

/* One case: in a child, and then what became of the two. */
#define CASE(statement) \
    do { \
        fflush(stdout); \
        pid_t child_ = fork(); \
        if (!child_) { statement; show(); fflush(stdout); _exit(guest_failures != 0); } \
        int status_ = -1; \
        waitpid(child_, &status_, 0); \
        if (status_) { guest_fail(__FILE__, __LINE__); printf("status %x\n", status_); } \
    } while (0)
/* A child that ends with the value, for what leaves it no code in the vDSO that a call may need. */
#define ENDS(value) ({ \
        fflush(stdout); \
        int status_ = -1; \
        pid_t child_ = fork(); \
        if (!child_) \
            _exit(value); \
        waitpid(child_, &status_, 0); \
        WIFEXITED(status_) ? WEXITSTATUS(status_) : -1; })
/* A case about a part, where there is one: EINVAL. */
#define PART(expr, size) \
    CASE({ \
        errno = EINVAL; \
        if ((size) > PAGE && ((long)(expr) != -1 || errno != EINVAL)) \
            guest_check(__FILE__, __LINE__, #expr, 0); \
        printf("%s is refused\n", #expr); \
    })

static void unmapping(void)
{
    CASE(WANT(munmap(vdso, vdso_size), 0));
    CASE(WANT(munmap(vvar, vvar_size), 0));
    PART(munmap(vdso, PAGE), vdso_size);
    PART(munmap(vdso + vdso_size - PAGE, PAGE), vdso_size);
    PART(munmap(vvar, PAGE), vvar_size);
    CASE(WANT(mmap(vdso, vdso_size, PROT_READ, ANON | MAP_FIXED, -1, 0) == vdso, 1));
    CASE(WANT(mmap(vvar, vvar_size, PROT_READ, ANON | MAP_FIXED, -1, 0) == vvar, 1));
    PART(mmap(vdso, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), vdso_size);
    PART(mmap(vvar, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), vvar_size);
    CASE(FAILS(mmap(vdso, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST));
}

static void moving(void)
{
    CASE(WANT(mremap(vdso, vdso_size, vdso_size, MREMAP_MAYMOVE) == vdso, 1));
    CASE(WANT(mremap(vdso, vdso_size, vdso_size, MOVE, room) == room, 1));
    CASE(WANT(mremap(vvar, vvar_size, vvar_size, MOVE, room) == room, 1));
    CASE(FAILS(mremap(vdso, vdso_size, vdso_size + PAGE, MREMAP_MAYMOVE), EFAULT));
    CASE(FAILS(mremap(vdso, 0, PAGE, MREMAP_MAYMOVE), EINVAL));
    CASE(FAILS(mremap(vdso, vdso_size, vdso_size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), EINVAL));
    CASE(FAILS(mremap(vvar, vvar_size, vvar_size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), EINVAL));
    PART(mremap(vdso, PAGE, PAGE, MOVE, room), vdso_size);
    PART(mremap(vdso + PAGE, vdso_size - PAGE, vdso_size - PAGE, MOVE, room), vdso_size);
    PART(mremap(vdso, vdso_size, PAGE, MOVE, room), vdso_size);
    PART(mremap(vdso, vdso_size, PAGE, 0), vdso_size);
    PART(mremap(vvar, PAGE, PAGE, MOVE, room), vvar_size);
    CASE(WANT(mremap(room, vdso_size, vdso_size, MOVE, vdso) == vdso, 1));
    PART(mremap(room, PAGE, PAGE, MOVE, vdso), vdso_size);
    /* It is the same code where it went, and there again after a second move. */
    CASE({
        char *first = malloc(vdso_size);
        memcpy(first, vdso, vdso_size);
        WANT(mremap(vdso, vdso_size, vdso_size, MOVE, room) == room, 1);
        WANT(memcmp(first, room, vdso_size), 0);
        WANT(mremap(room, vdso_size, vdso_size, MOVE, vdso) == vdso, 1);
        WANT(memcmp(first, vdso, vdso_size), 0);
    });
}

static void protection(void)
{
    WANT(ENDS(mprotect(vdso, vdso_size, PROT_READ) ? 1 : vdso[0]), 0x7f);
    WANT(ENDS(mprotect(vdso, vdso_size, PROT_NONE)), 0);
    CASE(WANT(mprotect(vdso, vdso_size, PROT_READ | PROT_WRITE | PROT_EXEC), 0));
    PART(mprotect(vdso, PAGE, PROT_READ), vdso_size);
    PART(mprotect(vdso + vdso_size - PAGE, PAGE, PROT_READ), vdso_size);
    CASE(WANT(mprotect(vvar, vvar_size, PROT_NONE), 0));
    CASE(FAILS(mprotect(vvar, vvar_size, PROT_READ | PROT_WRITE), EACCES));
    CASE(FAILS(mprotect(vvar, vvar_size, PROT_READ | PROT_EXEC), EACCES));
    PART(mprotect(vvar, PAGE, PROT_NONE), vvar_size);
    /* What is written is this process's own, and gone when it is thrown away. */
    CASE({
        char was = vdso[100];
        WANT(mprotect(vdso, vdso_size, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
        vdso[100] = was + 1;
        pid_t child = fork();
        if (!child) {
            vdso[100] = was + 2;
            _exit(0);
        }
        waitpid(child, 0, 0);
        WANT(vdso[100] - was, 1);
        WANT(madvise(vdso, vdso_size, MADV_DONTNEED), 0);
        WANT(vdso[100] - was, 0);
    });
    WANT(writable(vdso), 0);
    WANT(readable(vdso), 1);
    WANT(readable(vvar), 1);
}

static void advice(void)
{
    static const struct { int advice; const char *name; } all[] = {
#define A(x) { x, #x }
        A(MADV_NORMAL), A(MADV_RANDOM), A(MADV_SEQUENTIAL), A(MADV_WILLNEED), A(MADV_DONTNEED), A(MADV_FREE),
        A(MADV_REMOVE), A(MADV_DONTFORK), A(MADV_DOFORK), A(MADV_DONTDUMP), A(MADV_DODUMP), A(MADV_WIPEONFORK),
        A(MADV_KEEPONFORK), A(MADV_COLD), A(MADV_PAGEOUT), { 22, "MADV_POPULATE_READ" }, { 23, "MADV_POPULATE_WRITE" },
#undef A
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        printf("%s\n", all[i].name);
        CASE({ SHOW(madvise(vdso, vdso_size, all[i].advice)); SHOW(madvise(vvar, vvar_size, all[i].advice)); });
    }
    PART(madvise(vdso, PAGE, MADV_RANDOM), vdso_size);
    PART(madvise(vdso + PAGE, PAGE, MADV_DONTFORK), vdso_size);
    PART(madvise(vvar, PAGE, MADV_RANDOM), vvar_size);
    CASE({
        WANT(madvise(vdso, vdso_size, MADV_DONTFORK), 0);
        CASE(puts("a child of that"));
    });
    /* A child gets pages that were wiped: the image again. */
    CASE({
        char was = vdso[100];
        WANT(mprotect(vdso, vdso_size, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
        WANT(madvise(vdso, vdso_size, MADV_WIPEONFORK), 0);
        vdso[100] = was + 1;
        CASE(WANT(vdso[100] - was, 0));
    });
}

static void locking(void)
{
    CASE(WANT(mlock(vdso, vdso_size), 0));
    CASE(WANT(mlock(vvar, vvar_size), 0));
    CASE(WANT(munlock(vdso, PAGE), 0));
    CASE({
        WANT(mprotect(vvar, vvar_size, PROT_NONE), 0);
        WANT(mlock(vvar, vvar_size), 0);
    });
    CASE(WANT(msync(vdso, vdso_size, MS_SYNC), 0); WANT(msync(vvar, vvar_size, MS_SYNC), 0));
    CASE(FAILS(syscall(SYS_remap_file_pages, vdso, PAGE, 0, 0, 0), EINVAL));
}

/* A new program has a vDSO, whatever became of the old one's. */
static void executing(void)
{
    CASE({
        WANT(munmap(vdso, vdso_size), 0);
        WANT(munmap(vvar, vvar_size), 0);
        fflush(stdout);
        execl("/proc/self/exe", "mapping", "again", (char *)0);
    });
    /* and what was written into the old one's is not in it */
    CASE({
        WANT(mprotect(vdso, vdso_size, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
        vdso[1] = 'X';
        execl("/proc/self/exe", "mapping", "again", (char *)0);
    });
}

int main(int argc, char **argv)
{
    (void)argv;
    guest_start();
    char rights[8];
    vdso_size = find("[vdso]", &vdso, rights);
    vvar_size = find("[vvar]", &vvar, rights);
    if (argc > 1) {
        printf("again: %d, %.3s\n", vdso_size && vvar_size, vdso + 1);
        return 0;
    }
    room = mmap(0, 1 << 20, PROT_NONE, ANON, -1, 0);
    show();
    unmapping();
    moving();
    protection();
    advice();
    locking();
    executing();
    return guest_end();
}
