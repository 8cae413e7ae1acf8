/* What stepping meets: run with a word that says what to do. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int turns;

static void say(const char *text) { (void)!write(1, text, strlen(text)); }

__attribute__((noinline)) void handler(int signal)
{
    (void)signal;
    say("handler\n");
}

void *in_thread(void *argument)
{
    say("thread\n");
    return argument;
}

__attribute__((noinline)) void spin(void)
{
    say("spinning\n");
    for (;;)
        turns++;
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "signal")) {
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
    } else if (!strcmp(what, "thread")) {
        pthread_t thread;
        pthread_create(&thread, 0, in_thread, 0);
        pthread_join(thread, 0);
    } else if (!strcmp(what, "fork")) {
        int status = 0;
        if (!fork())
            _exit(7);
        wait(&status);
        return WEXITSTATUS(status) != 7;
    } else if (!strcmp(what, "exec")) {
        execl(words[0], words[0], "echo", (char *)0);
        return 9;
    } else if (!strcmp(what, "echo")) {
        char text[64];
        ssize_t length = read(0, text, sizeof text);
        (void)!write(1, text, length > 0 ? (size_t)length : 0);
    } else if (!strcmp(what, "fault")) {
        *(volatile int *)16 = 1;
    } else if (!strcmp(what, "spin")) {
        spin();
    } else if (!strcmp(what, "sleep")) {
        say("sleeping\n");
        pause();
    } else if (!strcmp(what, "close")) {
        close(0);
        close(1);
        close(2);
    }
    return 0;
}
