/* pingpong N: N times a byte to a child through one pipe and back through another. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 40000, done = 0;
    int there[2], back[2], status = 0;
    char byte = 'x';
    if (pipe(there) || pipe(back))
        return 1;
    pid_t child = fork();
    if (child == 0) {
        for (long i = 0; i < n; i++)
            if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
                _exit(1);
        _exit(0);
    }
    for (long i = 0; i < n; i++)
        done += write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1;
    waitpid(child, &status, 0);
    printf("round trips %ld\n", done);
    return done == n && status == 0 ? 0 : 1;
}
