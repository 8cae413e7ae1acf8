/* guest-args: one "" "three words here"
   guest-env: A=1 EMPTY= LAST=z
 * What a program finds on its stack: arguments, environment, auxiliary vector.
 * man 3 getauxval, man 2 execve; fs/binfmt_elf.c: create_elf_tables() */
#include "guest.h"
#include <elf.h>
#include <sys/auxv.h>

extern char **environ;

int main(int argc, char **argv)
{
    guest_start();
    WANT(argc, 4);
    CHECK(strcmp(argv[1], "one") == 0 && argv[2][0] == 0 && strcmp(argv[3], "three words here") == 0 && !argv[4]);
    int count = 0;
    while (environ[count])
        count++;
    WANT(count, 3);
    CHECK(strcmp(environ[0], "A=1") == 0 && strcmp(environ[1], "EMPTY=") == 0 && strcmp(environ[2], "LAST=z") == 0);
    CHECK(environ == argv + argc + 1);

    const Elf64_auxv_t *auxv = (Elf64_auxv_t *)(environ + count + 1);
    unsigned long seen = 0;
    int entries = 0, twice = 0;
    for (const Elf64_auxv_t *a = auxv; a->a_type != AT_NULL; a++, entries++)
        if (a->a_type < 64) {
            twice |= seen >> a->a_type & 1 && a->a_type != AT_NOTELF;
            seen |= 1UL << a->a_type;
        }
    CHECK(entries >= 18 && !twice);
    const int must[] = { AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY, AT_UID, AT_EUID,
                         AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE, AT_RANDOM, AT_HWCAP2,
                         AT_EXECFN };
    for (size_t i = 0; i < sizeof must / sizeof *must; i++)
        if (!(seen >> must[i] & 1))
            WANT(must[i], -1);
    WANT(getauxval(AT_PAGESZ), 4096);
    WANT(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
    WANT(getauxval(AT_CLKTCK), 100);
    WANT(getauxval(AT_SECURE), 0);
    WANT(getauxval(AT_FLAGS), 0);
    WANT(getauxval(AT_BASE), 0);
    CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid());
    CHECK(getauxval(AT_GID) == getgid() && getauxval(AT_EGID) == getegid());
    CHECK(getauxval(AT_MINSIGSTKSZ) >= 1024);
    const Elf64_Phdr *headers = (const Elf64_Phdr *)getauxval(AT_PHDR);
    int text = 0, stack = 0;
    uintptr_t bias = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
        if (headers[i].p_type == PT_PHDR)
            bias = (uintptr_t)headers - headers[i].p_vaddr;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
        const Elf64_Phdr *h = &headers[i];
        uintptr_t entry = getauxval(AT_ENTRY) - bias;
        text |= h->p_type == PT_LOAD && h->p_flags & PF_X && entry >= h->p_vaddr && entry < h->p_vaddr + h->p_memsz;
        stack |= h->p_type == PT_GNU_STACK && !(h->p_flags & PF_X);
    }
    CHECK(text && stack);
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    int different = 0;
    for (int i = 1; i < 16; i++)
        different += random[i] != random[0];
    CHECK(different > 6);
    const char *name = (const char *)getauxval(AT_EXECFN), *platform = (const char *)getauxval(AT_PLATFORM);
    CHECK(strcmp(name, argv[0]) == 0);
#ifdef __x86_64__
    const char *machine = "x86_64";
    int basics = getauxval(AT_HWCAP) != 0;                      /* CPUID 1, EDX */
#else
    const char *machine = "aarch64";
    int basics = (getauxval(AT_HWCAP) & 3) == 3;                /* HWCAP_FP, HWCAP_ASIMD */
#endif
    CHECK(strcmp(platform, machine) == 0 && basics);
    /* strings lie above the vector, and the stack is the topmost mapping with room below */
    CHECK((char *)random > (char *)auxv && argv[0] > (char *)auxv && name > argv[0]);
    return guest_end();
}
