/* Data that nobody reads may take an eighth of the machine's memory: then a write fails, and waits for nobody.
 * guest-options: --memory 16M
 * guest-native: no
 */
#include "guest.h"
#include <sys/socket.h>

int main(void)
{
    static char data[4000];
    int s[2], refused = 0;
    ssize_t sum, count;
    guest_start();
    for (int i = 0; i < 60 && !refused; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s))
            CHECK(!"socketpair");
        for (sum = 0; (count = write(s[0], data, sizeof data)) > 0; sum += count)
            ;
        if (!sum) {
            CHECK(fcntl(s[0], F_SETFL, 0) == 0);
            FAILS(write(s[0], data, sizeof data), ENOBUFS);
            refused = 1;
        }
    }
    CHECK(refused);
    return guest_end();
}
