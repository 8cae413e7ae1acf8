/* ls [DIRECTORY]: mode, size and name of each entry, by name. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t getdents64(int fd, void *buffer, size_t size);

struct entry {
    struct entry *next;
    char name[];
};

static void insert(struct entry **list, const char *name)
{
    struct entry *entry = malloc(sizeof *entry + strlen(name) + 1);

    if (!entry)
        return;
    strcpy(entry->name, name);
    while (*list && strcmp((*list)->name, name) < 0)
        list = &(*list)->next;
    entry->next = *list;
    *list = entry;
}

int main(int argc, char **argv)
{
    static char buffer[8192] __attribute__((aligned(8)));
    const char *path = argc > 1 ? argv[1] : ".";
    struct entry *list = NULL;
    ssize_t count;
    int fd = open(path, O_RDONLY | O_DIRECTORY);

    if (fd < 0 || chdir(path) < 0) {
        perror(path);
        return 1;
    }
    while ((count = getdents64(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t at = 0; at < count;) {
            struct dirent *entry = (void *)(buffer + at);

            if (entry->d_name[0] != '.')
                insert(&list, entry->d_name);
            at += entry->d_reclen;
        }
    for (; list; list = list->next) {
        struct stat status;

        if (lstat(list->name, &status) < 0)
            perror(list->name);
        else
            printf("%06o %10ld %s\n", status.st_mode, (long)status.st_size, list->name);
    }
    return 0;
}
