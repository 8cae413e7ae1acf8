/* Functions by name and version: __kernel_brk was changed, and an old caller and a new one each get theirs; by the table
 * of entry points too.
 * guest-library: libkernel
 * guest-options: --vdso libkernel
 * guest-native: no
 */
#include "guest.h"
#include <elf.h>
#include <uabi/uabi.h>

typedef long (*brk_function)(void *);

static void *from_table(unsigned version, unsigned number)
{
    const struct uabi_table *table = uabi_table(version);

    if (!table || number >= table->count || !table->entry[number])
        return NULL;
    return (char *)table + table->entry[number];
}

/* What a program does that was made for UABI_1: it has to look whether the break is where it wanted it. */
static const char *old_program(brk_function old, char *end, long more)
{
    return old(end + more) == (long)(end + more) ? "moved" : "not moved";
}

/* What one does that was made for UABI_2: an error is an error. */
static const char *new_program(brk_function new, char *end, long more)
{
    long result = new(end + more);

    return result < 0 ? errno_name((int)-result) : "moved";
}

int main(void)
{
    brk_function old = (brk_function)uabi_symbol("__kernel_brk", "UABI_1");
    brk_function new = (brk_function)uabi_symbol("__kernel_brk", "UABI_2");
    const long far = 1L << 62;

    guest_start();
    CHECK(old && new && old != new);
    if (!old || !new)
        return guest_end();
    char *end = (char *)old(NULL);

    puts("-- what each program sees");
    CHECK(new(NULL) == (long)end);
    printf("old, a page more: %s\n", old_program(old, end, PAGE));
    printf("new, a page more: %s\n", new_program(new, end, 2 * PAGE));
    printf("old, too much: %s\n", old_program(old, end, far));
    printf("new, too much: %s\n", new_program(new, end, far));
    printf("a new one that got the old function, too much: %s\n", new_program(old, end, far));
    CHECK(old(NULL) == (long)(end + 2 * PAGE));
    CHECK(__kernel_brk(end + far) == -ENOMEM);

    puts("-- names and versions");
    CHECK(uabi_symbol("__kernel_brk", NULL) == (void *)new);
    CHECK(uabi_symbol("__kernel_write", NULL) == uabi_symbol("__kernel_write", "UABI_1"));
    CHECK(uabi_symbol("__kernel_write", NULL) != NULL);
    CHECK(!uabi_symbol("__kernel_write", "UABI_2"));
    CHECK(!uabi_symbol("__kernel_write", "UABI_3"));
    CHECK(!uabi_symbol("__kernel_nothing", NULL));
#ifdef __x86_64__
    const char *version = "LINUX_2.6", *clock = "__vdso_clock_gettime";
#else
    const char *version = "LINUX_2.6.39", *clock = "__kernel_clock_gettime";
#endif
    CHECK(uabi_symbol(clock, version) == uabi_symbol("__kernel_clock_gettime", "UABI_1"));
    CHECK(!uabi_symbol(clock, "UABI_2"));

    puts("-- tables");
    CHECK(from_table(1, SYS_brk) == (void *)old);
    CHECK(from_table(2, SYS_brk) == (void *)new);
    CHECK(from_table(1, SYS_write) && from_table(1, SYS_write) == from_table(2, SYS_write));
    CHECK(from_table(1, SYS_write) == uabi_symbol("__kernel_write", "UABI_1"));
    CHECK(from_table(2, SYS_clock_gettime) == uabi_symbol(clock, version));
    CHECK(from_table(2, SYS_getpid) == uabi_symbol("__kernel_getpid", "UABI_1"));
    CHECK(!from_table(1, SYS_init_module));
    CHECK(!uabi_table(3));
    return guest_end();
}
