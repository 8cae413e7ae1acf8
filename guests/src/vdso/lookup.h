/* A function of the vDSO by its name, whatever its version; null when there is none, or no vDSO. */
#include <elf.h>
#include <string.h>
#include <sys/auxv.h>

static void *vdso_function(const char *name)
{
    const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (!base)
        return 0;
    const Elf64_Ehdr *header = (const void *)base;
    const Elf64_Phdr *program = (const void *)(base + header->e_phoff);
    const Elf64_Dyn *dynamic = 0;
    const Elf64_Sym *symbols = 0;
    const char *strings = 0;
    const unsigned *hash = 0;
    for (int i = 0; i < header->e_phnum; i++)
        if (program[i].p_type == PT_DYNAMIC)
            dynamic = (const void *)(base + program[i].p_vaddr);
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        const void *there = base + dynamic->d_un.d_ptr;
        if (dynamic->d_tag == DT_SYMTAB)
            symbols = there;
        else if (dynamic->d_tag == DT_STRTAB)
            strings = there;
        else if (dynamic->d_tag == DT_HASH)
            hash = there;
    }
    for (unsigned i = 1; hash && i < hash[1]; i++)
        if (!strcmp(strings + symbols[i].st_name, name))
            return (void *)(base + symbols[i].st_value);
    return 0;
}
