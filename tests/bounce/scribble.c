/* A program that writes nonsense over its own pages of variables, and asks the kernel itself what it believes: by calls
 * made inside the vDSO (__kernel_syscall), which no routine serves. It says what it finds; 0 where all is well. */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static int bad;
#define CHECK(what) do { if (!(what)) { bad++; printf("FAIL line %d: %s\n", __LINE__, #what); } } while (0)

static char *page(const char *name)
{
    char line[256], *found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, name))
            found = (char *)strtoul(line, 0, 16);
    fclose(maps);
    return found;
}

static int umask_in_status(void)
{
    char line[256];
    int mask = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        sscanf(line, "Umask: %o", &mask);
    fclose(status);
    return mask;
}

static int mode_of_new_file(const char *name)
{
    struct stat st;
    int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0777);
    CHECK(fd >= 0 && !fstat(fd, &st));
    close(fd);
    unlink(name);
    return st.st_mode & 07777;
}

int main(void)
{
    char *task = page("[vtask]"), *fs = page("[vfs]");
    CHECK(task && fs);

    /* umask: nine bits count, for files and for whoever is told */
    memset(fs, 0xff, 4096);
    CHECK(mode_of_new_file("scribbled") == 0);
    CHECK(umask_in_status() == 0777);
    syscall(SYS_umask, 027);
    CHECK(mode_of_new_file("scribbled") == 0750);
    CHECK(umask_in_status() == 027);

    /* personality: any value that the call takes; the pages of a child are its own */
    syscall(SYS_personality, 0L);
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGURG, 0, 0, 0);
    syscall(SYS_prctl, PR_SET_TIMERSLACK, 12345L, 0, 0, 0);
    uint64_t first;
    memcpy(&first, task, 8);
    memset(task + 8, 0xff, 4088);
    struct utsname name;
    CHECK(!uname(&name));
    CHECK(!strncmp(name.release, "2.6.", 4)); /* UNAME26 is among the bits: no more than personality(2) gives */
    if (!fork()) {
        int signal = -1;
        CHECK(!prctl(PR_GET_PDEATHSIG, &signal) && signal == 0);
        CHECK(prctl(PR_GET_TIMERSLACK) == 50000); /* the last good value that the kernel had looked at */
        CHECK(page("[vtask]") && page("[vfs]"));
        syscall(SYS_umask, 0);
        _exit(bad);
    }
    int status;
    wait(&status);
    CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
    CHECK(umask_in_status() == 027);

    /* the address of [vfs]: the program's own calls go astray, and become the kernel's */
    uint64_t nowhere = 0xdead000;
    memcpy(task, &nowhere, 8);
    CHECK(syscall(SYS_umask, 022) == 027);
    CHECK(umask_in_status() == 022);
    memcpy(task, &first, 8);
    CHECK(syscall(SYS_umask, 027) == 022);

    /* pages that are not what they were: the kernel has the variables, and serves */
    syscall(SYS_personality, 0L);
    CHECK(!mprotect(task, 4096, PROT_READ));
    CHECK(syscall(SYS_personality, (long)UNAME26) == 0);
    CHECK(!munmap(task, 4096) && !munmap(fs, 4096));
    CHECK(syscall(SYS_personality, 0xffffffffL) == UNAME26);
    CHECK(syscall(SYS_umask, 01022) == 027);
    CHECK(umask_in_status() == 022);
    void *again = mmap(task, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(again == task);
    CHECK(umask_in_status() == 022);
    if (!fork())
        _exit(!page("[vtask]") || syscall(SYS_umask, 0) != 022);
    wait(&status);
    CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
    puts(bad ? "not well" : "well");
    return bad != 0;
}
