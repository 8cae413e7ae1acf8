/* To wait until another task sleeps in a call, rather than for a time that will do on a machine with nothing else to do. */
#ifndef ASLEEP_H
#define ASLEEP_H

#include <stdio.h>
#include <unistd.h>

/* The letter of /proc/PID/task/TID/stat; 0 for a task that is not there. */
static char task_state(int pid, int tid)
{
    char path[64], text[256] = "", *end = NULL;
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
    int fd = open(path, O_RDONLY);
    if (fd >= 0) {
        (void)!read(fd, text, sizeof text - 1);
        close(fd);
        end = strrchr(text, ')');
    }
    return end ? end[2] : 0;
}

/* Asleep, and not just for a moment. */
static void until_asleep(int pid, int tid)
{
    for (int in_a_row = 0; in_a_row < 4; in_a_row++) {
        if (task_state(pid, tid) != 'S')
            in_a_row = -1;
        usleep(200);
    }
}

#endif
