/* A program that links the library of Hack #1 as a constructor: main does not know.
 *
 *     guest-native: no
 *     guest-abis: seccomp
 *     guest-options: --handler none
 */
#define HACK1_CONSTRUCTOR 0
#include "guest.h"
#include "../../hack1/hack1.c"

int main(void)
{
    guest_start();
    WANT(prctl(PR_GET_SECCOMP), SECCOMP_MODE_FILTER);
    umask(05);
    WANT(umask(0), 05);
    WANT(hack1.umask, 0);
    return guest_end();
}
