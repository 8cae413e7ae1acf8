/* The vDSO's functions by name and version, and the slots of the calls filled with them. */
#include "internal.h"
#include <elf.h>
#include <string.h>

/* calls.S has one for each call. */
struct slot {
    uintptr_t function;
    int32_t name;                   /* from here to its name */
    int32_t own;                    /* from here to what makes the call without a vDSO */
    uint64_t version;               /* the n of UABI_n */
};

extern struct slot __start_uabi_slots[], __stop_uabi_slots[];

static struct {
    uintptr_t base;                 /* what addresses in it count from; 0: there is none */
    const Elf64_Sym *symbols;
    const char *strings;
    const Elf64_Half *versions;     /* of each symbol */
    const Elf64_Verdef *definitions;
    const Elf64_Word *buckets, *chain;
    Elf64_Word bucket_count;
} vdso;

static unsigned found;

static void look_at(uintptr_t image)
{
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Phdr *segment = (const void *)(image + header->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    uintptr_t base = 0;

    for (int i = 0; i < header->e_phnum; i++, segment++) {
        if (segment->p_type == PT_LOAD && !base)
            base = image + segment->p_offset - segment->p_vaddr;
        if (segment->p_type == PT_DYNAMIC)
            dynamic = (const void *)(image + segment->p_offset);
    }
    if (!base || !dynamic)
        return;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        const void *place = (const void *)(base + dynamic->d_un.d_ptr);

        if (dynamic->d_tag == DT_SYMTAB)
            vdso.symbols = place;
        if (dynamic->d_tag == DT_STRTAB)
            vdso.strings = place;
        if (dynamic->d_tag == DT_VERSYM)
            vdso.versions = place;
        if (dynamic->d_tag == DT_VERDEF)
            vdso.definitions = place;
        if (dynamic->d_tag == DT_HASH) {
            vdso.bucket_count = ((const Elf64_Word *)place)[0];
            vdso.buckets = (const Elf64_Word *)place + 2;
            vdso.chain = vdso.buckets + vdso.bucket_count;
        }
    }
    if (vdso.symbols && vdso.strings && vdso.versions && vdso.definitions && vdso.buckets)
        vdso.base = base;
}

/* System V's hash of a name. */
static Elf64_Word hash_of(const char *name)
{
    Elf64_Word hash = 0;

    for (; *name; name++) {
        hash = (hash << 4) + (unsigned char)*name;
        hash ^= hash >> 24 & 0xf0;
    }
    return hash & 0x0fffffff;
}

/* Whether a symbol's version is called so.  Its upper bit says only that another is the name's default. */
static int is_version(Elf64_Half number, const char *version)
{
    const Elf64_Verdef *definition = vdso.definitions;

    if (!version)
        return !(number & 0x8000);
    while (definition->vd_ndx != (number & 0x7fff)) {
        if (!definition->vd_next)
            return 0;
        definition = (const void *)((const char *)definition + definition->vd_next);
    }
    const Elf64_Verdaux *names = (const void *)((const char *)definition + definition->vd_aux);
    return !(definition->vd_flags & VER_FLG_BASE) && !strcmp(vdso.strings + names->vda_name, version);
}

void *uabi_symbol(const char *name, const char *version)
{
    if (!vdso.base)
        return NULL;
    for (Elf64_Word i = vdso.buckets[hash_of(name) % vdso.bucket_count]; i; i = vdso.chain[i]) {
        const Elf64_Sym *symbol = &vdso.symbols[i];

        if (symbol->st_shndx != SHN_UNDEF && !strcmp(vdso.strings + symbol->st_name, name) &&
            is_version(vdso.versions[i], version))
            return (void *)(vdso.base + symbol->st_value);
    }
    return NULL;
}

unsigned uabi_found(void)
{
    return found;
}

void uabi_resolve(uintptr_t image)
{
    char version[] = "UABI_0";

    if (image)
        look_at(image);
    for (struct slot *slot = __start_uabi_slots; slot < __stop_uabi_slots; slot++) {
        version[5] = (char)('0' + slot->version);
        slot->function = (uintptr_t)uabi_symbol((char *)&slot->name + slot->name, version);
        found += slot->function != 0;
        if (!slot->function)
            slot->function = (uintptr_t)&slot->own + slot->own;
    }
}
