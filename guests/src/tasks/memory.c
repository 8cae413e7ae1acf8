/* Memory after a fork: what each process has to itself, what they share, and a bottomless tree of copies.
 * man 2 fork, man 2 mmap, man 2 madvise */
#include "guest.h"
#include <sys/wait.h>

static int status;
static char zeroed[40 * PAGE], filled[10 * PAGE] = { 1 };

static int ended(pid_t child)
{
    if (waitpid(child, &status, 0) != child)
        return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Each page belongs to whoever writes it first. */
static void isolation(void)
{
    char *heap = malloc(100000), local = 's';
    int go[2], done[2];
    char byte;
    pipe(go);
    pipe(done);
    memset(zeroed, 'p', sizeof zeroed);
    memset(heap, 'p', 100000);
    pid_t child = fork();
    if (!child) {
        int good = 1;
        read(go[0], &byte, 1);                                  /* the parent has written all of it by now */
        for (size_t i = 0; i < sizeof zeroed; i++)
            good &= zeroed[i] == 'p';
        for (size_t i = 0; i < 100000; i++)
            good &= heap[i] == 'p';
        good &= local == 's' && filled[0] == 1 && !filled[PAGE];
        memset(zeroed, 'c', sizeof zeroed);
        memset(heap, 'c', 100000);
        filled[0] = 3;
        local = 'c';
        write(done[1], "", 1);
        read(go[0], &byte, 1);
        for (size_t i = 0; i < sizeof zeroed; i++)
            good &= zeroed[i] == 'c';
        _exit(good && local == 'c' && filled[0] == 3 ? 0 : 1);
    }
    memset(zeroed, 'q', sizeof zeroed);
    memset(heap, 'q', 100000);
    filled[PAGE] = 9;
    write(go[1], "", 1);
    read(done[0], &byte, 1);
    int good = 1;
    for (size_t i = 0; i < sizeof zeroed; i++)
        good &= zeroed[i] == 'q';
    for (size_t i = 0; i < 100000; i++)
        good &= heap[i] == 'q';
    CHECK(good);
    CHECK(local == 's' && filled[0] == 1 && filled[PAGE] == 9);
    memset(zeroed, 'r', sizeof zeroed);
    write(go[1], "", 1);
    WANT(ended(child), 0);
    free(heap);
}

/* Kernel writes into memory that is shared for the time being copy it too. */
static void by_the_kernel(void)
{
    int fds[2];
    pipe(fds);
    memset(zeroed, 'k', 3 * PAGE);
    pid_t child = fork();
    if (!child) {
        write(fds[1], "child", 5);
        read(fds[0], zeroed + PAGE - 2, 5);
        _exit(memcmp(zeroed + PAGE - 2, "child", 5) != 0);
    }
    WANT(ended(child), 0);
    CHECK(zeroed[PAGE - 2] == 'k' && zeroed[PAGE + 2] == 'k');
    child = fork();
    if (!child)
        _exit(zeroed[PAGE] != 'k');
    write(fds[1], "outer", 5);
    read(fds[0], zeroed + PAGE - 2, 5);
    WANT(ended(child), 0);
    CHECK(!memcmp(zeroed + PAGE - 2, "outer", 5));
    close(fds[0]);
    close(fds[1]);
}

static void shared(void)
{
    int fd = open("tasks.map", O_RDWR | O_CREAT | O_TRUNC, 0600);
    ftruncate(fd, 3 * PAGE);
    char *anonymous = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *file = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *gone = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *wiped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int go[2];
    char byte;
    pipe(go);
    strcpy(private, "mine");
    strcpy(gone, "gone");
    strcpy(wiped, "wiped");
    madvise(gone, PAGE, MADV_DONTFORK);
    madvise(wiped, PAGE, MADV_WIPEONFORK);
    pid_t child = fork();
    if (!child) {
        int good = !strcmp(private, "mine") && !wiped[0] && readable(wiped) && !readable(gone);
        strcpy(anonymous + PAGE, "from the child");
        strcpy(file + PAGE, "by the child");
        strcpy(private, "its own");
        munmap(anonymous + 2 * PAGE, PAGE);
        write(go[1], "", 1);
        while (*(volatile char *)anonymous != 'p')
            usleep(500);
        good &= !strcmp(file + 2 * PAGE, "by the parent");
        _exit(!good);
    }
    read(go[0], &byte, 1);
    CHECK(!strcmp(anonymous + PAGE, "from the child"));
    CHECK(!strcmp(file + PAGE, "by the child"));
    CHECK(!strcmp(private, "mine"));
    CHECK(!strcmp(private + PAGE, "by the child"));             /* a page that nobody has written privately */
    WANT(pread(fd, zeroed, 12, PAGE), 12);
    CHECK(!memcmp(zeroed, "by the child", 12));
    CHECK(writable(anonymous + 2 * PAGE));
    WANT(pwrite(fd, "by the parent", 14, 2 * PAGE), 14);
    *(volatile char *)anonymous = 'p';
    WANT(ended(child), 0);
    munmap(anonymous, 4 * PAGE);
    munmap(file, 3 * PAGE);
    close(fd);
    unlink("tasks.map");
}

/* Mappings are copied too: what one process does to its own is nobody else's business. */
static void mappings(void)
{
    char *area = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *top = sbrk(0);
    memset(area, 'a', 3 * PAGE);
    pid_t child = fork();
    if (!child) {
        mprotect(area, PAGE, PROT_READ);
        munmap(area + PAGE, PAGE);
        sbrk(10 * PAGE);
        *(volatile char *)area = 'b';                           /* kills */
        _exit(0);
    }
    WANT(ended(child), 1000 + SIGSEGV);
    CHECK(writable(area) && area[0] == 'a' && area[PAGE] == 'a');
    CHECK(sbrk(0) == top);
    mprotect(area, PAGE, PROT_NONE);
    child = fork();
    if (!child) {
        mprotect(area, PAGE, PROT_READ | PROT_WRITE);
        area[0] = 'd';
        _exit(area[1] != 'a');
    }
    WANT(ended(child), 0);
    mprotect(area, PAGE, PROT_READ);
    WANT(area[0], 'a');
    munmap(area, 3 * PAGE);
}

/* Each generation writes its number where its ancestors wrote theirs. */
static int generation(int depth, char *pages)
{
    for (int i = 0; i <= depth; i++)
        if (pages[i * (long)PAGE] != (i == depth ? 0 : 'A' + i))
            return 1;
    pages[depth * (long)PAGE] = (char)('A' + depth);
    if (depth == 9)
        return 0;
    pid_t left = fork();
    if (!left)
        _exit(generation(depth + 1, pages));
    int result = ended(left);
    for (int i = 0; i <= depth + 1; i++)
        if (pages[i * (long)PAGE] != (i <= depth ? 'A' + i : 0))
            return 2;
    return result;
}

/* Code that is written, run, forked and rewritten. */
static void code(void)
{
#ifdef __x86_64__
    static const unsigned char returns[] = { 0xb8, 7, 0, 0, 0, 0xc3 };
    const int at = 1;
#else
    static const unsigned char returns[] = { 0xe0, 0, 0x80, 0x52, 0xc0, 3, 0x5f, 0xd6 };
    const int at = 0;
#endif
    unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int (*call)(void) = (int (*)(void))page;
    memcpy(page, returns, sizeof returns);
    __builtin___clear_cache((char *)page, (char *)page + sizeof returns);
    WANT(call(), 7);
    pid_t child = fork();
    if (!child) {
        int before = call();
        page[at] = (unsigned char)(at ? 9 : 0x20);              /* mov eax, 9; mov w0, #9 */
        if (!at)
            page[1] = 1;
        __builtin___clear_cache((char *)page, (char *)page + sizeof returns);
        _exit(before * 10 + call());
    }
    WANT(ended(child), 79);
    WANT(call(), 7);
    munmap(page, PAGE);
}

int main(void)
{
    guest_start();
    isolation();
    by_the_kernel();
    shared();
    mappings();
    char *pages = mmap(NULL, 10 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(generation(0, pages), 0);
    code();
    return guest_end();
}
