/* Code that is written and rewritten, as a JIT compiler does: many functions a page, by every way of writing.
 * man 2 mmap, man 2 mprotect; AArch64 asks for cache maintenance, x86-64 for nothing */
#include "guest.h"

enum { FUNCTIONS = 64, SIZE = 512 };
#define BYTES ((size_t)FUNCTIONS * SIZE)

/* A function that returns `value`, at `at`; it will be run at `run`. */
static void emit(char *at, const char *run, int value)
{
#ifdef __x86_64__
    unsigned char code[8] = {0xb8, value, value >> 8, 0, 0, 0xc3}; /* mov eax, value; ret */
#else
    uint32_t code[2] = {0x52800000U | (uint32_t)value << 5, 0xd65f03c0U}; /* mov w0, value; ret */
#endif
    memcpy(at, code, 8);
    __builtin___clear_cache(at, at + 8);
    __builtin___clear_cache((char *)(uintptr_t)run, (char *)(uintptr_t)run + 8);
}

static void emit_all(char *at, const char *run, int base)
{
    for (int i = 0; i < FUNCTIONS; i++)
        emit(at + i * SIZE, run + i * SIZE, base + i);
}

/* How many of the functions return what they should. */
static int right(const char *run, int base)
{
    int good = 0;
    for (int i = 0; i < FUNCTIONS; i++) {
        int (*function)(void) = (int (*)(void))(uintptr_t)(run + i * SIZE);
        good += function() == base + i;
    }
    return good;
}

int main(void)
{
    const int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    int in_turn = 0, fds[2];
    guest_start();
    char *p = mmap(NULL, BYTES, all, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(p);
    for (int round = 0; round < 3; round++) {
        emit_all(p, p, 100 * round);
        WANT(right(p, 100 * round), FUNCTIONS);
    }
    /* one by one, each run before the next is written */
    for (int i = 0; i < FUNCTIONS; i++) {
        emit(p + i * SIZE, p + i * SIZE, 7);
        in_turn += ((int (*)(void))(uintptr_t)(p + i * SIZE))() == 7;
    }
    CHECK(in_turn == FUNCTIONS);
    /* by the kernel */
    WANT(pipe(fds), 0);
    for (int i = 0; i < FUNCTIONS; i++) {
        char code[8];
        emit(code, code, 1000 + i);
        if (write(fds[1], code, 8) != 8 || read(fds[0], p + i * SIZE, 8) != 8)
            CHECK(!"copied");
    }
    __builtin___clear_cache(p, p + BYTES);
    WANT(right(p, 1000), FUNCTIONS);
    /* never writable and executable at once */
    for (int round = 0; round < 3; round++) {
        if (mprotect(p, BYTES, PROT_READ | PROT_WRITE))
            CHECK(!"writable");
        emit_all(p, p, 2000 + round);
        if (mprotect(p, BYTES, PROT_READ | PROT_EXEC))
            CHECK(!"executable");
        WANT(right(p, 2000 + round), FUNCTIONS);
    }
    /* other pages at the same place */
    WANT(munmap(p, BYTES), 0);
    CHECK(mmap(p, BYTES, all, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
    emit_all(p, p, 3000);
    WANT(right(p, 3000), FUNCTIONS);

    /* written at one address, run at another */
    int fd = memfd_create("code", 0);
    WANT(ftruncate(fd, BYTES), 0);
    char *w = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MAPPED(w);
    char *x = mmap(NULL, BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    MAPPED(x);
    for (int round = 0; round < 3; round++) {
        emit_all(w, x, 4000 + round);
        WANT(right(x, 4000 + round), FUNCTIONS);
    }
    for (int i = 0; i < FUNCTIONS; i++) {
        char code[8];
        emit(code, code, 5000 + i);
        if (pwrite(fd, code, 8, (off_t)i * SIZE) != 8)
            CHECK(!"written");
    }
    __builtin___clear_cache(x, x + BYTES);
    WANT(right(x, 5000), FUNCTIONS);
    return guest_end();
}
