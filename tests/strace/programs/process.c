/* Memory, identity, limits, scheduling, prctl, and calls that are not there. */
#include "trace.h"

int main(void)
{
    struct rlimit limit;
    struct { uint32_t version; int pid; } header = {0x20080522, 0};
    struct sched_param parameter = {0};
    struct utsname name;
    unsigned ids[4], cpu;
    int number;
    char *words[] = {"a", "0123456789012345678901234567890123456789", (char *)1, 0}, *nothing[] = {0};

    begin();
    char *m = (void *)S(mmap, 0, 20480, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    S(mmap, 0, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, -1, 0);
    S(mmap, m, 4096, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
    S(mmap, m, 4096, 7, MAP_PRIVATE | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS | MAP_STACK, -1, 4096);
    S(mmap, 0, 4096, 3, 0, -1, 0);
    S(mmap, 0, 4096, 3, MAP_SHARED_VALIDATE | MAP_LOCKED | MAP_DENYWRITE, 99, 0);
    S(mprotect, m, 4096, PROT_READ | PROT_EXEC | 0x100);
    S(mprotect, m, 4096, PROT_READ | PROT_WRITE);
    m[4096] = 1;
    S(mincore, m, 20480, buffer);
    S(mincore, m + 1, 4096, buffer);
    S(madvise, m, 4096, MADV_DONTNEED);
    S(madvise, m, 4096, 999);
    S(msync, m, 4096, MS_SYNC | MS_INVALIDATE);
    S(msync, m, 4096, MS_SYNC | MS_ASYNC);
    S(mremap, m + 16384, 4096, 8192, MREMAP_MAYMOVE);
    S(mremap, m, 4096, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, m);
    S(mremap, m + 1, 4096, 8192, 0);
    S(mlock, m, 4096);
    S(mlock2, m, 4096, MLOCK_ONFAULT);
    S(munlock, m, 4096);
    S(munmap, m, 4096);
    S(munmap, m + 1, 4096);
    S(memfd_create, "foo", MFD_CLOEXEC | 0x4000);
    S(membarrier, 77, 0, 0);
    S(brk, 0);

    S(setreuid, -1, -1);
    S(setresgid, -1, -1, -1);
    S(getresuid, (void *)1, ids, ids + 1);
    S(getgroups, -1, ids);
    S(capget, &header, 0);
    header.version = 1;
    S(capget, &header, 0);
    limit = (struct rlimit){8192 * 1024, RLIM_INFINITY};
    S(prlimit64, 0, RLIMIT_CORE, &(struct rlimit){1024, 1025}, 0);
    S(prlimit64, 0, RLIMIT_CORE, 0, &limit);
    S(prlimit64, 0, 99, 0, &limit);
    S(getrusage, 7, buffer);
    S(uname, (void *)1);
    S(getpriority, PRIO_PROCESS, 0);
    S(getpriority, 9, 0);
    S(ioprio_get, 1, 0);
    S(ioprio_set, 1, 0, (2 << 13) | 4);
    S(sched_yield);
    S(sched_getaffinity, 0, 4, buffer);
    S(sched_getscheduler, 0);
    S(sched_getparam, 0, &parameter);
    S(sched_setscheduler, 0, SCHED_OTHER, &parameter);
    S(sched_setscheduler, 0, 77, 0);
    S(sched_get_priority_max, SCHED_FIFO);
    S(sched_get_priority_min, SCHED_RR);
    S(getcpu, (void *)1, &cpu, 0);

    S(prctl, PR_SET_NAME, "0123456789012345678");
    S(prctl, PR_GET_NAME, buffer);
    S(prctl, PR_SET_PDEATHSIG, SIGTERM);
    S(prctl, PR_GET_PDEATHSIG, &number);
    S(prctl, PR_GET_DUMPABLE);
    S(prctl, PR_SET_DUMPABLE, 1);
    S(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    S(prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    S(prctl, PR_SET_TIMERSLACK, 50000);
    S(prctl, PR_GET_TIMERSLACK);
    S(prctl, PR_SET_CHILD_SUBREAPER, 1);
    S(prctl, PR_GET_CHILD_SUBREAPER, &number);
    S(prctl, PR_SET_THP_DISABLE, 0, 0, 0, 0);
    S(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0);
    S(prctl, 12345, 1, 2, 3, 4);
    S(personality, 0xffffffff);
    S(personality, 0x0040000);
    S(personality, 0);
    S(getrandom, buffer, 4, GRND_RANDOM | 4);
    S(getrandom, buffer, 0, 0);
    S(rseq, buffer, 33, 0, 0x53053053);
    S(set_robust_list, buffer, 25);
    S(syslog, 10, 0, 0);

    syscall(503, 1, 2, 3, 4, 5, 6);
    syscall(0x27a9, 0, 0, 0x123, 0, 0, -1L);
    S(execve, "/none", words, words);
    S(execve, "/none", nothing, 0);
    S(execveat, HERE, "/none", 0, 0, AT_SYMLINK_NOFOLLOW);
    (void)name;
    end();
    return 0;
}
