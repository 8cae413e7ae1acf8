/* The vDSO's functions, by name, in a program without a dynamic linker. */
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

struct vdso {
    uintptr_t start, end;       /* what is mapped of it, whole pages */
};

static int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* The index that symbols of a version have in .gnu.version; 0 if the image has none. */
static unsigned version_index(const Elf64_Verdef *definition, const char *version, const char *strings)
{
    for (; definition; definition = (const void *)((const char *)definition + definition->vd_next)) {
        const Elf64_Verdaux *aux = (const void *)((const char *)definition + definition->vd_aux);
        if (same(strings + aux->vda_name, version))
            return definition->vd_ndx & 0x7fff;
        if (!definition->vd_next)
            break;
    }
    return 0;
}

/* The address of name@version in the image at `base` (AT_SYSINFO_EHDR), and where that lies; 0 for none. */
static uintptr_t vdso_symbol(uintptr_t base, const char *name, const char *version, struct vdso *where)
{
    const Elf64_Ehdr *file = (const void *)base;
    const Elf64_Phdr *segment = (const void *)(base + file->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    for (int i = 0; i < file->e_phnum; i++) {
        if (segment[i].p_type == PT_DYNAMIC)
            dynamic = (const void *)(base + segment[i].p_offset);
        if (segment[i].p_type == PT_LOAD) {
            where->start = base;
            where->end = base + ((segment[i].p_memsz + 4095) & -4096UL);
        }
    }
    if (!dynamic)
        return 0;
    const Elf64_Sym *symbols = NULL;
    const char *strings = NULL;
    const uint32_t *hash = NULL;
    const uint16_t *versions = NULL;
    const Elf64_Verdef *definitions = NULL;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        const void *at = (const void *)(base + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_SYMTAB)
            symbols = at;
        else if (dynamic->d_tag == DT_STRTAB)
            strings = at;
        else if (dynamic->d_tag == DT_HASH)
            hash = at;
        else if (dynamic->d_tag == DT_VERSYM)
            versions = at;
        else if (dynamic->d_tag == DT_VERDEF)
            definitions = at;
    }
    if (!symbols || !strings || !hash || !versions)
        return 0;
    unsigned wanted = version_index(definitions, version, strings);
    for (uint32_t i = 1; wanted && i < hash[1]; i++)
        if ((versions[i] & 0x7fff) == wanted && same(strings + symbols[i].st_name, name))
            return base + symbols[i].st_value;
    return 0;
}
