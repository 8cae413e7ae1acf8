/* Shows its special mappings, lowest first: its own, a thread's and those of what fork, vfork and execve make. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *whose)
{
    for (int i = 0; i < 64; i++) /* pages of variables come once they have paid for themselves */
        umask(022);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps))
        if (strstr(line, " [v"))
            printf("%s %s", whose, line);
    fclose(maps);
    fflush(stdout);
}

static void *in_thread(void *unused)
{
    show("thread");
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc > 1) {
        show("execve");
        return 0;
    }
    show("first");
    pthread_create(&thread, 0, in_thread, 0);
    pthread_join(thread, 0);
    show("after");
    if (!fork()) {
        show("fork");
        execl("/proc/self/exe", argv[0], "again", (char *)0);
    }
    wait(0);
    if (!vfork()) {
        show("vfork");
        _exit(0);
    }
    wait(0);
    return 0;
}
