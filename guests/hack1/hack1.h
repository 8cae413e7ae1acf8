/* Hack #1: a program's own system calls come back to it as SIGSYS, and its handler makes the real ones.
 *
 * From a talk at the Linux Plumbers Conference 2019, "Moving the Linux ABI to Userspace".  A program links it by
 * including hack1.c, and calls hack1_install(); with HACK1_CONSTRUCTOR defined (to the options) that is done before
 * main.  `uabi-emu run --abi seccomp` and `--abi dispatch` put it into programs that know nothing of it (inject.c).
 * What it can't do, and what breaks: docs/seccomp.md.
 */
#ifndef HACK1_H
#define HACK1_H

enum {
    HACK1_DISPATCH = 1,         /* Syscall User Dispatch instead of the slide's filter */
    HACK1_SLIDE = 2,            /* the handler is the slide's, and does nothing beyond it */
    HACK1_HIDE = 4,             /* the program's own use of seccomp is refused, as if the kernel had none */
};

/* From now on calls of this thread, and of those that it makes, reach the handler.  0 or -errno. */
int hack1_install(unsigned options);

#endif
