/* pipeline PROGRAM [ARGUMENT]...: run a program, and number the lines that it prints. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv, char **envp)
{
    int fds[2], status, line = 0, fresh = 1;
    char byte;
    pid_t child;

    if (argc < 2 || pipe(fds) < 0) {
        perror("pipeline");
        return 2;
    }
    child = fork();
    if (!child) {
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execve(argv[1], argv + 1, envp);
        perror(argv[1]);
        _exit(127);
    }
    close(fds[1]);
    while (read(fds[0], &byte, 1) == 1) {
        if (fresh)
            printf("%4d  ", ++line);
        putchar(byte);
        fresh = byte == '\n';
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 2;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
