/* Who the task is: ids, groups, sessions, capabilities.
 * man 7 credentials, man 2 setresuid, man 2 capget, man 2 getgroups */
#include "guest.h"
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <grp.h>

int main(void)
{
    uid_t r, e, s;
    gid_t groups[1024];
    guest_start();
    CHECK(getpid() > 0 && getppid() >= 0 && gettid() == getpid());
    WANT(getresuid(&r, &e, &s), 0);
    CHECK(r == getuid() && e == geteuid() && s == e);
    WANT(getresgid(&r, &e, &s), 0);
    CHECK(r == getgid() && e == getegid());
    WANT(setuid(getuid()), 0);
    WANT(setgid(getgid()), 0);
    WANT(setreuid(-1, -1), 0);
    WANT(setresuid(-1, geteuid(), -1), 0);
    WANT(setresgid(-1, -1, -1), 0);
    FAILS(setuid(-1), EINVAL);
    FAILS(setgid(-1), EINVAL);
    CHECK((uid_t)setfsuid(-1) == geteuid());
    CHECK((gid_t)setfsgid(-1) == getegid());
    long count = getgroups(0, NULL);
    CHECK(count >= 0);
    CHECK(getgroups((int)(sizeof groups / sizeof *groups), groups) == count);
    FAILS(getgroups(-1, groups), EINVAL);
    CHECK(count == 0 || (getgroups(0, groups) == count));

    CHECK(getpgrp() > 0 || getpgrp() == 0);
    CHECK(getpgid(0) == getpgrp() && getsid(0) >= 0);
    FAILS(getpgid(-1), ESRCH);
    FAILS(getsid(-1), ESRCH);
    FAILS(setpgid(0, -1), EINVAL);

    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2];
    WANT(syscall(SYS_capget, &head, data), 0);
    CHECK((data[0].effective & ~data[0].permitted) == 0 && (data[1].effective & ~data[1].permitted) == 0);
    WANT(syscall(SYS_capset, &head, data), 0);
    head.pid = -1;
    FAILS(syscall(SYS_capget, &head, data), EINVAL);
    head.pid = 0;
    head.version = 0x12345678;
    FAILS(syscall(SYS_capget, &head, data), EINVAL);
    WANT(head.version, _LINUX_CAPABILITY_VERSION_3);
    head.version = 0x12345678;
    WANT(syscall(SYS_capget, &head, NULL), 0);
    FAILS(syscall(SYS_capget, BAD, data), EFAULT);
    FAILS(syscall(SYS_capget, NULL, data), EFAULT);
    return guest_end();
}
