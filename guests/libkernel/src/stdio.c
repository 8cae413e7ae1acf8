/* Text to file descriptors: what is printed is written at once.  A stream is the number of its descriptor. */
#include "internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#undef putc
#undef fputc
#undef putchar
#ifdef __GLIBC__
FILE *stdin = (FILE *)0, *stdout = (FILE *)1, *stderr = (FILE *)2;
#else
#undef stdin
#undef stdout
#undef stderr
FILE *const stdin = (FILE *)0, *const stdout = (FILE *)1, *const stderr = (FILE *)2;
#endif
#define FD(stream) ((int)(long)(stream))

struct sink {
    char *next, *end;               /* room */
    char *start;
    int fd;                         /* where to when it is full; -1: nowhere */
    int total;
};

static void drain(struct sink *sink)
{
    for (char *from = sink->start; sink->fd >= 0 && from < sink->next;) {
        ssize_t count = write(sink->fd, from, (size_t)(sink->next - from));

        if (count < 0)
            break;
        from += count;
    }
    sink->next = sink->start;
}

static void put(struct sink *sink, char byte)
{
    if (sink->next == sink->end && sink->fd >= 0)
        drain(sink);
    if (sink->next < sink->end)
        *sink->next++ = byte;
    sink->total++;
}

static void pad(struct sink *sink, int count, char with)
{
    while (count-- > 0)
        put(sink, with);
}

/* d i u x o p c s %, with - 0 width precision (of s) l ll z. */
static void format(struct sink *sink, const char *form, va_list values)
{
    for (; *form; form++) {
        int left = 0, width = 0, precision = -1, longs = 0, negative = 0, length = 0;
        unsigned long value = 0, base = 10;
        char fill = ' ', digits[24], *end = digits + sizeof digits, *text = end;

        if (*form != '%') {
            put(sink, *form);
            continue;
        }
        for (form++; *form == '-' || *form == '0'; form++) {
            left |= *form == '-';
            fill = *form == '0' ? '0' : fill;
        }
        for (; *form >= '0' && *form <= '9'; form++)
            width = width * 10 + *form - '0';
        if (*form == '*') {
            width = va_arg(values, int);
            form++;
        }
        if (*form == '.')
            for (form++, precision = 0; *form >= '0' && *form <= '9'; form++)
                precision = precision * 10 + *form - '0';
        for (; *form == 'l' || *form == 'z'; form++)
            longs = 1;
        switch (*form) {
        case 'c':
            *--text = (char)va_arg(values, int);
            break;
        case 's':
            text = va_arg(values, char *);
            text = text ? text : (char *)"(null)";
            for (end = text; *end && (precision < 0 || end - text < precision); end++)
                ;
            break;
        case 'd': case 'i':
            value = longs ? va_arg(values, unsigned long) : (unsigned long)va_arg(values, int);
            negative = (long)value < 0;
            value = negative ? -value : value;
            break;
        case 'p':
            longs = 1;
            __attribute__((fallthrough));
        case 'x':
            base = 16;
            __attribute__((fallthrough));
        case 'o':
            base = base == 16 ? 16 : 8;
            __attribute__((fallthrough));
        case 'u':
            base = *form == 'u' ? 10 : base;
            value = longs ? va_arg(values, unsigned long) : va_arg(values, unsigned);
            break;
        default:
            *--text = *form;
        }
        if (strchr("diuxop", *form)) {
            do
                *--text = "0123456789abcdef"[value % base];
            while (value /= base);
            if (*form == 'p') {
                *--text = 'x';
                *--text = '0';
            }
        }
        length = (int)(end - text) + negative;
        if (negative && fill == '0')
            put(sink, '-');
        if (!left)
            pad(sink, width - length, fill);
        if (negative && fill != '0')
            put(sink, '-');
        while (text < end)
            put(sink, *text++);
        if (left)
            pad(sink, width - length, ' ');
    }
}

int vdprintf(int fd, const char *restrict form, va_list values)
{
    char room[512];
    struct sink sink = { room, room + sizeof room, room, fd, 0 };

    format(&sink, form, values);
    drain(&sink);
    return sink.total;
}

int dprintf(int fd, const char *restrict form, ...)
{
    va_list values;
    int total;

    va_start(values, form);
    total = vdprintf(fd, form, values);
    va_end(values);
    return total;
}

int printf(const char *restrict form, ...)
{
    va_list values;
    int total;

    va_start(values, form);
    total = vdprintf(1, form, values);
    va_end(values);
    return total;
}

int fprintf(FILE *restrict stream, const char *restrict form, ...)
{
    va_list values;
    int total;

    va_start(values, form);
    total = vdprintf(FD(stream), form, values);
    va_end(values);
    return total;
}

int snprintf(char *restrict out, size_t size, const char *restrict form, ...)
{
    struct sink sink = { out, out + (size ? size - 1 : 0), out, -1, 0 };
    va_list values;

    va_start(values, form);
    format(&sink, form, values);
    va_end(values);
    if (size)
        *sink.next = 0;
    return sink.total;
}

int fputs(const char *restrict text, FILE *restrict stream)
{
    return fprintf(stream, "%s", text);
}

/* Compilers make it of others. */
size_t fwrite(const void *restrict from, size_t size, size_t count, FILE *restrict stream)
{
    ssize_t written = write(FD(stream), from, size * count);

    return written < 0 || !size ? 0 : (size_t)written / size;
}

int puts(const char *text)
{
    return printf("%s\n", text);
}

int fputc(int byte, FILE *stream)
{
    return fprintf(stream, "%c", byte);
}

int putc(int byte, FILE *stream)
{
    return fputc(byte, stream);
}

int putchar(int byte)
{
    return putc(byte, stdout);
}

int fflush(FILE *stream)
{
    (void)stream;
    return 0;
}

int setvbuf(FILE *restrict stream, char *restrict buffer, int mode, size_t size)
{
    (void)stream, (void)buffer, (void)mode, (void)size;
    return 0;
}

/* The texts that C libraries agree on. */
static const char *const errors[] = {
    [EPERM] = "Operation not permitted", [ENOENT] = "No such file or directory", [ESRCH] = "No such process",
    [EINTR] = "Interrupted system call", [ENXIO] = "No such device or address", [E2BIG] = "Argument list too long",
    [ENOEXEC] = "Exec format error", [EBADF] = "Bad file descriptor", [EAGAIN] = "Resource temporarily unavailable",
    [EACCES] = "Permission denied", [EFAULT] = "Bad address", [EEXIST] = "File exists", [ENODEV] = "No such device",
    [ENOTDIR] = "Not a directory", [EISDIR] = "Is a directory", [EINVAL] = "Invalid argument",
    [EFBIG] = "File too large", [ENOSPC] = "No space left on device", [EROFS] = "Read-only file system",
    [EMLINK] = "Too many links", [EPIPE] = "Broken pipe", [ENOTEMPTY] = "Directory not empty",
};

char *strerror(int error)
{
    static char text[16];

    if (error > 0 && (size_t)error < sizeof errors / sizeof *errors && errors[error])
        return (char *)errors[error];
    snprintf(text, sizeof text, "errno %d", error);
    return text;
}

void perror(const char *what)
{
    dprintf(2, "%s: %s\n", what, strerror(errno));
}
