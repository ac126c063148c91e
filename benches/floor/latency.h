// A histogram of times with 64 buckets to a power of two, so each is at most 1.6 % wide.
#ifndef PYROUTER_FLOOR_LATENCY_H
#define PYROUTER_FLOOR_LATENCY_H

#include <stddef.h>
#include <stdint.h>

#define LATENCY_BUCKETS (64 * 40)

typedef struct {
    uint64_t total, counts[LATENCY_BUCKETS];
} Latency;

static inline void latency_add(Latency *latency, uint64_t ns) {
    if (ns < 64) ns = 64;
    unsigned power = 57 - (unsigned)__builtin_clzll(ns);
    unsigned index = power * 64 + (unsigned)(ns >> power) - 64;
    latency->counts[index < LATENCY_BUCKETS ? index : LATENCY_BUCKETS - 1]++;
    latency->total++;
}

// Microseconds below which `part` (0 to 1) of the times lie.
static inline double latency_us(const Latency *latency, double part) {
    uint64_t seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++)
        if ((seen += latency->counts[i]) && (double)seen >= (double)latency->total * part)
            return (double)((64 + i % 64) << (i / 64)) / 1000;
    return 0;
}

#endif
