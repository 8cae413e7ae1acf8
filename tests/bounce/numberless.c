/* A number-less return whose result is the argument, -512 (ERESTARTSYS) or another, through a frame of our own. A handler
 * of SIGUSR2 counts: the test sends that signal right before the return. */
#include "bounce/attack.h"

static volatile sig_atomic_t handled;

static void count(int signal)
{
    (void)signal;
    handled++;
}

int main(int argc, char **argv)
{
    attack_start();
    find_handler();
    long value = argc > 1 ? strtol(argv[1], 0, 0) : -512;
    struct sigaction action = { .sa_handler = count, .sa_flags = SA_ONSTACK | (argc > 2 ? SA_RESTART : 0) };
    sigaction(SIGUSR2, &action, 0);
    struct registers start = at_real(0x3fffffff);
    start.r[RESULT] = RESULT == NUMBER ? 0x3fffffff : value;
    start.r[SP] = (uint64_t)stack + PAGE;
    forged_at = PAGE;
    forged = (struct frame){ value, (uint64_t)stack + 4 * PAGE, (uint64_t)code + CALL_BYTES, NO_FLAGS };
    struct outcome end = run_prepared(start, forge);
    CHECK(end.signal == SIGILL && end.now.r[PC] == forged.pc && end.now.r[SP] == forged.sp);
    printf("%ld\n", result(&end));
    return guest_end();
}
