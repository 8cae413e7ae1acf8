/* A load from a whole page beyond the end of a mapped file: SIGBUS.  man 2 mmap */
#include "guest.h"

int main(void)
{
    guest_start();
    put_file("f", "short", 5);
    int fd = open("f", O_RDONLY);
    volatile char *p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(p[0] == 's' && p[PAGE - 1] == 0);
    guest_end();
    printf("%d\n", p[PAGE]);
    puts("not reached");
    return 1;
}
