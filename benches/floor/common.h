// What every program here needs: growing buffers, clocks, and an end that says why.
#ifndef PYROUTER_FLOOR_COMMON_H
#define PYROUTER_FLOOR_COMMON_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    uint8_t *data;
    size_t len, cap;
} Buffer;

static inline _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline void *check_alloc(void *memory) {
    if (!memory) die("out of memory");
    return memory;
}

// Room for `more` bytes at the end; the caller writes them and adds to `len`.
static inline uint8_t *buffer_room(Buffer *buffer, size_t more) {
    if (buffer->len + more > buffer->cap) {
        buffer->cap = (buffer->len + more) * 2;
        buffer->data = check_alloc(realloc(buffer->data, buffer->cap));
    }
    return buffer->data + buffer->len;
}

static inline void buffer_add(Buffer *buffer, const void *data, size_t len) {
    memcpy(buffer_room(buffer, len), data, len);
    buffer->len += len;
}

// Drops the first `len` bytes.
static inline void buffer_drop(Buffer *buffer, size_t len) {
    buffer->len -= len;
    if (buffer->len) memmove(buffer->data, buffer->data + len, buffer->len);
}

static inline uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now)) die("clock_gettime: %s", strerror(errno));
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t wall_ms(void) { return clock_ns(CLOCK_REALTIME) / 1000000; }

// The value of option `name` (`--name value`), or `otherwise`.
static inline const char *option(int argc, char **argv, const char *name, const char *otherwise) {
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name)) return argv[i + 1];
    return otherwise;
}

static inline uint64_t option_int(int argc, char **argv, const char *name, uint64_t otherwise) {
    const char *text = option(argc, argv, name, NULL);
    char *end;
    if (!text) return otherwise;
    uint64_t value = strtoull(text, &end, 10);
    if (*end || end == text) die("%s: not a number: %s", name, text);
    return value;
}

// A time in seconds, with or without a fraction, as nanoseconds.
static inline uint64_t option_ns(int argc, char **argv, const char *name, double otherwise_s) {
    const char *text = option(argc, argv, name, NULL);
    char *end;
    double seconds = text ? strtod(text, &end) : otherwise_s;
    if (text && (*end || end == text || seconds < 0)) die("%s: no time in seconds: %s", name, text);
    return (uint64_t)(seconds * 1e9);
}

#endif
