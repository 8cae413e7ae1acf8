/* guest-args: write f some-text read f append f ! read f link f l read l mkdir d chdir d read ../f list .. cwd
 * Does what its arguments say, one operation after the other, and prints each result: the tests use it to look
 * at the guest's files from inside under various options. */
#include "guest.h"
#include <dirent.h>

static void say(long result)
{
    puts(result < 0 ? errno_name((int)-result) : "done");
}

static long store(const char *path, const char *text, int flags)
{
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);
    if (fd < 0)
        return -errno;
    long n = guest_result(write(fd, text, strlen(text)));
    close(fd);
    return n;
}

static void show(const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY);
    long n = fd < 0 ? -errno : guest_result(read(fd, text, sizeof text - 1));
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        say(n);
        return;
    }
    text[n] = 0;
    text[strcspn(text, "\n")] = 0;
    printf("\"%s\"\n", text);
}

static int compare(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, compare);
    if (count < 0) {
        say(-errno);
        return;
    }
    for (int i = 0; i < count; i++)
        if (strcmp(entries[i]->d_name, ".") && strcmp(entries[i]->d_name, ".."))
            printf("%s ", entries[i]->d_name);
    puts(".");
}

int main(int argc, char **argv)
{
    char path[4096];
    guest_start();
    for (int i = 1; i < argc; i++) {
        const char *what = argv[i], *first = i + 1 < argc ? argv[i + 1] : "", *second = i + 2 < argc ? argv[i + 2] : "";
        errno = 0;
        printf("%s ", what);
        if (!strcmp(what, "cwd")) {
            int good = getcwd(path, sizeof path) && strcmp(strrchr(path, '/'), "/d") == 0;
            puts(good ? "ends in /d" : getcwd(path, sizeof path) ? path : errno_name(errno));
            continue;
        }
        i++;
        printf("%s: ", strrchr(first, '/') ? strrchr(first, '/') + 1 : first);
        if (!strcmp(what, "read"))
            show(first);
        else if (!strcmp(what, "list"))
            list(first);
        else if (!strcmp(what, "chdir"))
            say(guest_result(chdir(first)));
        else if (!strcmp(what, "chroot"))
            say(guest_result(chroot(first)));
        else if (!strcmp(what, "mkdir"))
            say(guest_result(mkdir(first, 0755)));
        else if (!strcmp(what, "remove"))
            say(guest_result(remove(first)));
        else if (!strcmp(what, "open-then-up")) {       /* a directory held open is no way out */
            int fd = open(first, O_RDONLY | O_DIRECTORY);
            snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../..", fd);
            list(path);
        } else if (!strcmp(what, "write") || !strcmp(what, "append") || !strcmp(what, "link") || !strcmp(what, "rename")) {
            i++;
            say(!strcmp(what, "write") ? store(first, second, O_TRUNC) :
                !strcmp(what, "append") ? store(first, second, O_APPEND) :
                !strcmp(what, "link") ? guest_result(symlink(first, second)) : guest_result(rename(first, second)));
        } else {
            puts("no such operation");
            return 2;
        }
    }
    return guest_end();
}
