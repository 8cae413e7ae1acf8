/* A program with no library and no ELF reader: the auxiliary vector leads to a table, and that by numbers to functions.
 * guest-flags: -nostdlib -ffreestanding -fno-stack-protector
 * guest-options: --vdso libkernel
 * guest-native: no
 */
#define AT_NULL 0
#define AT_UABI 0x55414249UL
#define UABI_MAGIC 0x49424155U

#ifdef __x86_64__
enum { NR_write = 1, NR_exit_group = 231 };

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
#else
enum { NR_write = 64, NR_exit_group = 94 };

__asm__(".globl _start\n_start: mov x0, sp\nbl begin\n");
#endif

struct table {
    unsigned magic, version, count;
    int next;
    int entry[];
};

typedef long (*function)(long, const void *, unsigned long);

static function find(const struct table *table, unsigned number)
{
    if (number >= table->count || !table->entry[number])
        __builtin_trap();
    return (function)((const char *)table + table->entry[number]);
}

__attribute__((used)) void begin(const unsigned long *word)
{
    const struct table *table = 0;

    for (word += word[0] + 2; *word; word++)    /* argc, argv, 0, envp */
        ;
    for (word++; word[0] != AT_NULL; word += 2)
        if (word[0] == AT_UABI)
            table = (const struct table *)word[1];
    if (!table || table->magic != UABI_MAGIC || table->version != 1)
        __builtin_trap();
    find(table, NR_write)(1, "ok\n", 3);
    find(table, NR_exit_group)(0, 0, 0);
}
