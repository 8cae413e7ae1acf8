/* What the library has beside the standard functions: the vDSO's functions by name and by number, and threads.
 *
 * The kernel's calls themselves are in <uabi/kernel.h>.
 */
#ifndef UABI_UABI_H
#define UABI_UABI_H

#include <stdint.h>
#include <uabi/kernel.h>

/* The entry of the auxiliary vector that leads to the vDSO's table of entry points, and the table's first word. */
#define AT_UABI 0x55414249UL
#define UABI_MAGIC 0x49424155U

/* The table for UABI_1; the others follow it.  A program takes that of the version it was made for. */
struct uabi_table {
    uint32_t magic;
    uint32_t version;               /* the n of UABI_n */
    uint32_t count;
    int32_t next;                   /* from this table to the next version's, in bytes; 0: this is the last */
    int32_t entry[];                /* by the call's number: from this table to the function, in bytes; 0: none */
};

/* The function of that name and version in the vDSO, or NULL.  Without a version: the one that is its default. */
void *uabi_symbol(const char *name, const char *version);

/* The table of that version, or NULL. */
const struct uabi_table *uabi_table(unsigned version);

/* How many of the calls are the vDSO's functions: 0 where there are none, and all are made by the library itself. */
unsigned uabi_found(void);

/* The value of the auxiliary vector's entry, or 0. */
unsigned long uabi_auxv(unsigned long type);

/* A thread; `result` is there once it has been joined.  The members are the library's. */
struct uabi_thread {
    struct uabi_thread *self;       /* first: where x86-64 looks for it */
    int (*function)(void *);
    void *argument;
    void *memory;
    unsigned long memory_bytes;
    unsigned long canary;           /* offset 40: where x86-64's compilers take it from */
    int error;
    int tid;                        /* the kernel sets it to 0 when the thread has ended */
    int result;
};

/* Start function(argument) in a thread: it, or NULL and errno. */
struct uabi_thread *uabi_thread_start(int (*function)(void *), void *argument);

/* Wait for its end, and give its memory back: what the function returned. */
int uabi_thread_join(struct uabi_thread *thread);

/* Start a program in a child that shares our memory until it has done so (vfork's way): its pid, or -1 and errno. */
int uabi_spawn(const char *path, char *const argv[], char *const envp[]);

/* clone with a function for the child to call, on a stack of its own; -errno. */
long uabi_clone(unsigned long flags, void *stack, int *parent_tid, void *tls, int *child_tid, int (*function)(void *),
                void *argument);

#endif
