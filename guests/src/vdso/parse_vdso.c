/* The vDSO's functions, found as Documentation/ABI/stable/vdso says: AT_SYSINFO_EHDR, the program headers, the dynamic
 * section, then a symbol by name and version through each hash table there is. What they say is what the kernel says.
 * Where there are functions of version UABI_1, these are checked too. */
#include "guest.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <time.h>

/* A check that prints nothing when it holds: what there is to check differs from one vDSO to the next. */
#define HOLDS(cond) do { if (!(cond)) guest_check(__FILE__, __LINE__, #cond, 0); } while (0)

#ifdef __aarch64__
#define LINUX "LINUX_2.6.39"
#define PREFIX "__kernel_"
#else
#define LINUX "LINUX_2.6"
#define PREFIX "__vdso_"
#endif

static struct {
    uintptr_t shift;
    const Elf64_Sym *symbols;
    const char *strings;
    const uint32_t *hash, *gnu_hash;
    const uint16_t *versions;
    const Elf64_Verdef *definitions;
} vdso;

static void open_vdso(void)
{
    const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
    HOLDS(base && !memcmp(base, ELFMAG, SELFMAG));
    const Elf64_Ehdr *header = (const void *)base;
    const Elf64_Phdr *program = (const void *)(base + header->e_phoff);
    const Elf64_Dyn *dynamic = 0;
    int loads = 0;
    for (int i = 0; i < header->e_phnum; i++) {
        if (program[i].p_type == PT_LOAD && !loads++)
            vdso.shift = (uintptr_t)base + program[i].p_offset - program[i].p_vaddr;
        if (program[i].p_type == PT_DYNAMIC)
            dynamic = (const void *)(base + program[i].p_offset);
    }
    HOLDS(loads == 1 && dynamic);
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        const void *there = (const void *)(vdso.shift + dynamic->d_un.d_ptr);
        switch (dynamic->d_tag) {
        case DT_SYMTAB: vdso.symbols = there; break;
        case DT_STRTAB: vdso.strings = there; break;
        case DT_HASH: vdso.hash = there; break;
        case DT_GNU_HASH: vdso.gnu_hash = there; break;
        case DT_VERSYM: vdso.versions = there; break;
        case DT_VERDEF: vdso.definitions = there; break;
        }
    }
    HOLDS(vdso.symbols && vdso.strings && (vdso.hash || vdso.gnu_hash) && vdso.versions && vdso.definitions);
}

static uint32_t elf_hash(const char *name)
{
    uint32_t h = 0;
    for (; *name; name++) {
        h = (h << 4) + (unsigned char)*name;
        h ^= (h & 0xf0000000) >> 24;
        h &= 0x0fffffff;
    }
    return h;
}

static uint32_t gnu_hash(const char *name)
{
    uint32_t h = 5381;
    for (; *name; name++)
        h = h * 33 + (unsigned char)*name;
    return h;
}

/* The number of a version, 0 when there is none of that name. */
static int version_number(const char *name)
{
    const char *place = (const char *)vdso.definitions;
    for (;;) {
        const Elf64_Verdef *one = (const void *)place;
        const Elf64_Verdaux *called = (const void *)(place + one->vd_aux);
        if (!(one->vd_flags & VER_FLG_BASE) && one->vd_hash == elf_hash(name) &&
            !strcmp(vdso.strings + called->vda_name, name))
            return one->vd_ndx;
        if (!one->vd_next)
            return 0;
        place += one->vd_next;
    }
}

static int matches(uint32_t index, const char *name, int version)
{
    const Elf64_Sym *symbol = &vdso.symbols[index];
    int bind = ELF64_ST_BIND(symbol->st_info);
    return (bind == STB_GLOBAL || bind == STB_WEAK) && symbol->st_shndx != SHN_UNDEF &&
           !strcmp(vdso.strings + symbol->st_name, name) && (vdso.versions[index] & 0x7fff) == version;
}

static uint32_t by_hash(const char *name, int version)
{
    uint32_t buckets = vdso.hash[0];
    uint32_t index = vdso.hash[2 + elf_hash(name) % buckets];
    while (index && !matches(index, name, version))
        index = vdso.hash[2 + buckets + index];
    return index;
}

static uint32_t by_gnu_hash(const char *name, int version)
{
    uint32_t buckets = vdso.gnu_hash[0], first = vdso.gnu_hash[1], words = vdso.gnu_hash[2], shift = vdso.gnu_hash[3];
    const uint64_t *bloom = (const void *)(vdso.gnu_hash + 4);
    const uint32_t *bucket = (const void *)(bloom + words), *chain = bucket + buckets;
    uint32_t h = gnu_hash(name);
    uint64_t word = bloom[h / 64 % words];
    if (!(word >> h % 64 & word >> (h >> shift) % 64 & 1))
        return 0;
    for (uint32_t index = bucket[h % buckets]; index; index++) {
        uint32_t value = chain[index - first];
        if ((value | 1) == (h | 1) && matches(index, name, version))
            return index;
        if (value & 1)
            return 0;
    }
    return 0;
}

/* A function, looked for in both tables; null when it is not there. */
static void *find(const char *name, const char *version)
{
    int number = version_number(version);
    uint32_t one = vdso.hash ? by_hash(name, number) : 0, other = vdso.gnu_hash ? by_gnu_hash(name, number) : 0;
    if (vdso.hash && vdso.gnu_hash)
        HOLDS(one == other);
    uint32_t index = one ? one : other;
    return index ? (void *)(vdso.shift + vdso.symbols[index].st_value) : 0;
}

typedef int gettime_function(clockid_t, struct timespec *);
typedef int timeofday_function(struct timeval *, struct timezone *);
typedef time_t time_function(time_t *);
typedef int getcpu_function(unsigned *, unsigned *, void *);
typedef long syscall_function(long, long, long, long, long, long, long);

static int64_t ns(struct timespec t)
{
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* The kernel before, the function, the kernel after: in order. A coarse clock moves with the others' ticks. */
static void compare(gettime_function *gettime, clockid_t clock, const char *name)
{
    struct timespec before, told, after;
    HOLDS(!syscall(SYS_clock_gettime, clock, &before));
    HOLDS(!gettime(clock, &told));
    HOLDS(!syscall(SYS_clock_gettime, clock, &after));
    HOLDS(told.tv_nsec >= 0 && told.tv_nsec < 1000000000);
    int64_t slack = clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE ? 20000000 : 0;
    HOLDS(ns(before) - slack <= ns(told) && ns(told) <= ns(after) + slack);
    printf("%s agrees\n", name);
}

static void clocks(void)
{
    gettime_function *gettime = find(PREFIX "clock_gettime", LINUX), *getres = find(PREFIX "clock_getres", LINUX);
    HOLDS(gettime && getres);
    static const struct { clockid_t clock; const char *name; } served[] = {
        {CLOCK_REALTIME, "realtime"}, {CLOCK_MONOTONIC, "monotonic"}, {CLOCK_MONOTONIC_RAW, "monotonic raw"},
        {CLOCK_BOOTTIME, "boottime"}, {CLOCK_TAI, "tai"}, {CLOCK_REALTIME_COARSE, "realtime coarse"},
        {CLOCK_MONOTONIC_COARSE, "monotonic coarse"}, {CLOCK_PROCESS_CPUTIME_ID, "process CPU time"},
        {CLOCK_THREAD_CPUTIME_ID, "thread CPU time"},
    };
    for (size_t i = 0; i < sizeof served / sizeof *served; i++) {
        struct timespec told = {-1, -1}, kernel = {-2, -2};
        compare(gettime, served[i].clock, served[i].name);
        HOLDS(!getres(served[i].clock, &told) && !syscall(SYS_clock_getres, served[i].clock, &kernel));
        HOLDS(ns(told) == ns(kernel));
        HOLDS(!getres(served[i].clock, 0));
    }
    struct timespec unused;
    WANT(gettime(77, &unused), -EINVAL);
    WANT(getres(77, &unused), -EINVAL);
}

static void time_of_day(void)
{
    timeofday_function *timeofday = find(PREFIX "gettimeofday", LINUX);
    HOLDS(timeofday);
    struct timeval told;
    struct timezone zone = {-1, -1};
    struct timespec before, after;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &before);
    WANT(timeofday(&told, &zone), 0);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &after);
    int64_t us = told.tv_sec * 1000000L + told.tv_usec;
    HOLDS(ns(before) / 1000 <= us && us <= ns(after) / 1000);
    HOLDS(zone.tz_dsttime >= 0);
    WANT(timeofday(0, 0), 0);
}

/* It tells the second of the last tick, while musl's time() looks at the fine clock: for some ms it is one behind. */
static void check_time(time_function *clock)
{
    time_t stored = 0, before = time(0), told = clock(&stored);
    HOLDS(told == stored && before - 1 <= told && told <= time(0));
    HOLDS(clock(0) >= told);
}

static void check_getcpu(getcpu_function *getcpu)
{
    unsigned cpu = -1, node = -1;
    HOLDS(!getcpu(&cpu, &node, 0) && cpu < 4096 && node < 1024);
    HOLDS(!getcpu(0, 0, 0));
}

static void own(void)
{
    static const char *const handlers[] = {
        "__kernel_bounce", "__kernel_bounce_task_page", "__kernel_bounce_return", "__kernel_bounce_return_task_page",
#ifdef __x86_64__
        "__kernel_bounce_user",
#endif
    };
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        HOLDS(find(handlers[i], "UABI_1") && !find(handlers[i], LINUX));
    syscall_function *real = find("__kernel_syscall", "UABI_1");
    HOLDS(real && real(SYS_getpid, 0, 0, 0, 0, 0, 0) == getpid());
    HOLDS(real(SYS_close, -1, 0, 0, 0, 0, 0) == -EBADF);
    /* all six arguments: mmap's */
    long page = real(SYS_mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HOLDS(page > 0 && !munmap((void *)page, PAGE));
#ifdef __aarch64__
    HOLDS(find("__kernel_rt_sigreturn", LINUX));
    check_time(find("__kernel_time", "UABI_1"));
    check_getcpu(find("__kernel_getcpu", "UABI_1"));
#endif
    HOLDS(!find(PREFIX "clock_gettime", "UABI_1"));
}

/* /proc/self/maps calls it by its name, and has the data page right before it. */
static void maps(void)
{
    char line[300], last[300] = "";
    uintptr_t base = getauxval(AT_SYSINFO_EHDR);
    FILE *file = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, file) && strtoul(line, 0, 16) != base)
        strcpy(last, line);
    fclose(file);
    HOLDS(strstr(line, " r-xp ") && strstr(line, "[vdso]") && strstr(last, " r--p ") && strstr(last, "[vvar"));
    HOLDS(strtoul(strchr(last, '-') + 1, 0, 16) == base);
}

int main(void)
{
    open_vdso();
    maps();
    HOLDS(!find(PREFIX "clock_gettime", "LINUX_9") && !find("no_such_function", LINUX));
    clocks();
    time_of_day();
#ifdef __x86_64__
    HOLDS(find("clock_gettime", LINUX) == find("__vdso_clock_gettime", LINUX));
    check_time(find("__vdso_time", LINUX));
    check_getcpu(find("__vdso_getcpu", LINUX));
#endif
    if (version_number("UABI_1"))
        own();
    return guest_end();
}
