/* What the guests share that attack their own pages of variables. The kernel is asked by calls made inside the vDSO, which
 * no page answers; `umask` and the like made by the instruction are served where there are pages. */
#include "guest.h"
#include "lookup.h"
#include <sched.h>
#include <sys/wait.h>

#define MARK_BEGIN -1001 /* between two writes to descriptors that nobody has: what lies there makes no call */
#define MARK_END -1002
#define SERVED(expr) ({ mark(MARK_BEGIN); long served_ = (expr); mark(MARK_END); served_; })

typedef long real_call(long number, ...);
static real_call *kernel;

static void mark(long which)
{
    syscall(SYS_write, which, 0L, 0L);
}

/* Where a mapping of that name is, the first or the last of them, and what may be done with it. */
static char *find_nth(const char *name, int last, char rights[8])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], *found = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long low, high;
        char seen[8];
        if (strstr(line, name) && sscanf(line, "%lx-%lx %7s", &low, &high, seen) == 3 && (last || !found)) {
            found = (char *)low;
            strcpy(rights, high - low == PAGE ? seen : "size");
        }
    }
    fclose(maps);
    return found;
}

static int how_many(const char *name)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int count = 0;
    while (fgets(line, sizeof line, maps))
        count += strstr(line, name) != 0;
    fclose(maps);
    return count;
}

static char *find(const char *name)
{
    char rights[8] = "none";
    char *found = find_nth(name, 0, rights);
    printf("%s: %s\n", name, rights);
    return found;
}

/* A task gets its pages once it has made enough calls that they would have served, and [vfs] by a umask. */
static void get_pages(void)
{
    for (int i = 0; i < 64; i++) {
        mode_t mask = umask(0);
        umask(mask);
    }
}

/* The child's status: 0 when all that it checked was as it should be. */
#define CHILD_OF(make, statement) do { \
        fflush(stdout); \
        pid_t child_ = make; \
        if (!child_) { get_pages(); statement; fflush(stdout); _exit(guest_failures != 0); } \
        int status_ = -1; \
        waitpid(child_, &status_, __WALL); \
        WANT(status_, 0); \
    } while (0)
#define CHILD(statement) CHILD_OF(fork(), statement)
