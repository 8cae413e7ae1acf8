/* The alternate signal stack.  man 2 sigaltstack */
#include "guest.h"
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif
#define SIZE 65536

static char area[2][SIZE] __attribute__((aligned(4096)));
static stack_t inside, saved;
static volatile int on_it, change_error, depth;

static void look(int signal, siginfo_t *info, void *context)
{
    char here;
    (void)info;
    on_it = &here >= area[0] && &here < area[0] + SIZE ? 1 : &here >= area[1] && &here < area[1] + SIZE ? 2 : 0;
    sigaltstack(NULL, &inside);
    saved = ((ucontext_t *)context)->uc_stack;
    stack_t other = { .ss_sp = area[1], .ss_size = SIZE };
    change_error = sigaltstack(&other, NULL) ? errno : 0;
    if (depth-- > 0)
        raise(signal);
}

int main(void)
{
    struct sigaction act = { .sa_sigaction = look, .sa_flags = SA_SIGINFO };
    stack_t stack;
    guest_start();
    WANT(sigaltstack(NULL, &stack), 0);
    WANT(stack.ss_flags, SS_DISABLE);
    CHECK(!stack.ss_sp && !stack.ss_size);
    stack = (stack_t) { .ss_sp = area[0], .ss_size = 1000 };
    FAILS(sigaltstack(&stack, NULL), ENOMEM);
    stack.ss_size = SIZE;
    stack.ss_flags = 4;
    FAILS(sigaltstack(&stack, NULL), EINVAL);
    FAILS(syscall(SYS_sigaltstack, BAD, NULL), EFAULT);
    FAILS(syscall(SYS_sigaltstack, NULL, WILD), EFAULT);
    stack.ss_flags = 0;
    WANT(sigaltstack(&stack, NULL), 0);

    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
    WANT(on_it, 0);                                     /* not asked for */
    WANT(change_error, 0);
    WANT(inside.ss_flags, 0);
    CHECK(inside.ss_sp == area[0] && inside.ss_size == SIZE);
    WANT(sigaltstack(NULL, &stack), 0);
    CHECK(stack.ss_sp == area[0]);                      /* sigreturn put it back */

    act.sa_flags |= SA_ONSTACK;
    sigaction(SIGUSR1, &act, NULL);
    raise(SIGUSR1);
    WANT(on_it, 1);
    WANT(change_error, EPERM);
    WANT(inside.ss_flags, SS_ONSTACK);
    CHECK(saved.ss_sp == area[0] && saved.ss_size == SIZE && saved.ss_flags == 0);
    act.sa_flags |= SA_NODEFER;
    sigaction(SIGUSR1, &act, NULL);
    depth = 2;
    raise(SIGUSR1);
    WANT(on_it, 1);

    /* one that disarms itself is gone while the handler runs, and back after it */
    stack = (stack_t) { .ss_sp = area[0], .ss_size = SIZE, .ss_flags = (int)SS_AUTODISARM };
    WANT(syscall(SYS_sigaltstack, &stack, NULL), 0);
    depth = 0;
    raise(SIGUSR1);
    WANT(on_it, 1);
    WANT(inside.ss_flags, SS_DISABLE);
    WANT(change_error, 0);
    WANT(sigaltstack(NULL, &stack), 0);
    CHECK(stack.ss_sp == area[0] && stack.ss_flags == (int)SS_AUTODISARM);

    stack = (stack_t) { .ss_sp = area[0], .ss_size = SIZE, .ss_flags = SS_DISABLE };
    WANT(sigaltstack(&stack, NULL), 0);
    WANT(sigaltstack(NULL, &stack), 0);
    CHECK(!stack.ss_sp && !stack.ss_size && stack.ss_flags == SS_DISABLE);
    raise(SIGUSR1);
    WANT(on_it, 0);
    return guest_end();
}
