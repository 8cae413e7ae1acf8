/* A static glibc program: start-up with IFUNC relocations and TLS, stdio, malloc, sorting, time, locale. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

int main(int argc, char **argv)
{
    static _Thread_local int local = 5;
    int values[1000], sum = 0;
    char line[128], stamp[64];
    struct stat st;
    time_t moment = 86400 * 365;

    printf("glibc static, %d arguments, last %s, %s\n", argc, argv[argc - 1], getenv("LANG") ? getenv("LANG") : "-");
    for (int i = 0; i < 1000; i++)
        values[i] = (i * 7919) % 1009;
    qsort(values, 1000, sizeof *values, by_value);
    for (int i = 1; i < 1000; i++)
        sum += values[i] >= values[i - 1];
    printf("sorted %d, local %d, %.6f %a\n", sum, local, sqrt(2.0) * sin(1.0), 0.1);
    for (size_t size = 1; size < 8u << 20; size *= 3) {
        char *block = malloc(size);
        memset(block, 'x', size);
        block = realloc(block, size * 2);
        sum += block[size - 1] == 'x';
        free(block);
    }
    printf("blocks %d\n", sum);
    FILE *file = fopen("a.txt", "r");
    while (file && fgets(line, sizeof line, file))
        sum += (int)strlen(line);
    printf("characters %d, stat %d, missing: %s\n", sum, stat("a.txt", &st), fopen("nope", "r") ? "no" : strerror(errno));
    strftime(stamp, sizeof stamp, "%F %T", gmtime(&moment));
    printf("%s, %s, %ld\n", stamp, setlocale(LC_ALL, "C"), sysconf(_SC_PAGESIZE));
    return 3;
}
