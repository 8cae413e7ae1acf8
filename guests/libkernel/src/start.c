/* From the kernel to main. */
#include "internal.h"
#include <elf.h>
#include <stdlib.h>

int main(int argc, char **argv, char **envp);

char **environ;
static const Elf64_auxv_t *auxv;

unsigned long uabi_auxv(unsigned long type)
{
    for (const Elf64_auxv_t *entry = auxv; entry->a_type != AT_NULL; entry++)
        if (entry->a_type == type)
            return entry->a_un.a_val;
    return 0;
}

const struct uabi_table *uabi_table(unsigned version)
{
    const struct uabi_table *table = (const void *)uabi_auxv(AT_UABI);

    while (table && (table->magic != UABI_MAGIC || table->version != version))
        table = table->magic == UABI_MAGIC && table->next ? (const void *)((const char *)table + table->next) : NULL;
    return table;
}

/* `words`: argc, argv, envp and the auxiliary vector, as the kernel leaves them on the stack. */
_Noreturn void uabi_start(long *words)
{
    char **argv = (char **)words + 1;
    char **after;

    environ = after = argv + words[0] + 1;
    while (*after++)
        ;
    auxv = (const void *)after;
    uabi_resolve(uabi_auxv(AT_SYSINFO_EHDR));
    uabi_first_thread();
    exit(main((int)words[0], argv, environ));
}
