/* cat [FILE]... */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int copy(int fd, const char *name)
{
    static char buffer[16384];
    ssize_t count;

    while ((count = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0, part; done < count; done += part)
            if ((part = write(1, buffer + done, (size_t)(count - done))) < 0) {
                perror("write");
                return 1;
            }
    if (count < 0)
        perror(name);
    return count < 0;
}

int main(int argc, char **argv)
{
    int failed = 0;

    if (argc == 1)
        return copy(0, "stdin");
    for (int i = 1; i < argc; i++) {
        int fd = strcmp(argv[i], "-") ? open(argv[i], O_RDONLY) : 0;

        if (fd < 0) {
            perror(argv[i]);
            failed = 1;
            continue;
        }
        failed |= copy(fd, argv[i]);
        if (fd)
            close(fd);
    }
    return failed;
}
