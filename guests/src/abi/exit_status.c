/* guest-args: -
 * The status is the low byte of what exit gets; buffered output comes out first.  man 3 exit */
#include "guest.h"

int main(int argc, char **argv)
{
    printf("argument %s of %d\n", argv[1], argc);
    printf("ok\n");
    exit(0x1ff + 44);
}
