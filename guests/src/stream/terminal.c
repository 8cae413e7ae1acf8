/* guest-args: none
 * A terminal as standard input: size, settings, raw mode, a key, and the settings back. Without one each
 * request says so.  man 2 ioctl_tty, man 3 termios */
#include "guest.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

int main(int argc, char **argv)
{
    struct termios start, raw, now;
    struct winsize size = { 0, 0, 0, 0 };
    char line[64] = { 0 };
    int terminal = argc > 1 && strcmp(argv[1], "terminal") == 0;
    guest_start();
    WANT(isatty(0), terminal);
    if (!terminal) {
        FAILS(tcgetattr(0, &start), ENOTTY);
        FAILS(ioctl(0, TIOCGWINSZ, &size), ENOTTY);
        return guest_end();
    }
    WANT(ioctl(0, TIOCGWINSZ, &size), 0);
    printf("%d rows, %d columns\n", size.ws_row, size.ws_col);
    WANT(tcgetattr(0, &start), 0);
    CHECK((start.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG));
    puts("line?");
    long n = read(0, line, sizeof line);
    printf("%ld bytes, ends with newline: %d\n", n, n > 0 && line[n - 1] == '\n');
    raw = start;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST | ONLCR;
    WANT(tcsetattr(0, TCSANOW, &raw), 0);
    WANT(tcgetattr(0, &now), 0);
    CHECK((now.c_lflag & (ICANON | ECHO | ISIG)) == 0 && now.c_cc[VMIN] == 1);
    puts("key?");
    WANT(read(0, line, sizeof line), 1);
    WANT(line[0], 3);                   /* Ctrl-C is a byte like any other now */
    struct pollfd ready = { 0, POLLIN, 0 };
    WANT(poll(&ready, 1, 0), 0);
    FAILS(ioctl(0, TIOCGWINSZ, BAD), EFAULT);
    FAILS(ioctl(0, 0x54ff, 0), ENOTTY);
    WANT(tcsetattr(0, TCSADRAIN, &start), 0);
    WANT(tcgetattr(0, &now), 0);
    CHECK(now.c_lflag == start.c_lflag);
    return guest_end();
}
