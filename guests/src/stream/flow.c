/* guest-args: status
 * What the tests of streams and signals need: a loop that computes for ever, output without end, input
 * passed on byte by byte, and the plain end. */
#include "guest.h"

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    char byte;
    guest_start();
    puts(what);
    if (!strcmp(what, "spin"))
        for (volatile unsigned long i = 0;; i++)
            ;
    if (!strcmp(what, "flood"))
        for (;;)
            puts("and so on and on");
    if (!strcmp(what, "flood-ignoring")) {
        signal(SIGPIPE, SIG_IGN);
        while (write(1, "more\n", 5) == 5)
            ;
        return errno == EPIPE ? 9 : 8;
    }
    if (!strcmp(what, "pass"))
        while (read(0, &byte, 1) == 1)
            if (write(1, &byte, 1) != 1)
                return 1;
    if (!strcmp(what, "wait"))
        pause();
    return guest_end();
}
