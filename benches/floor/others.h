// What the load of others.c and the protocols of other servers (nats.c, mqtt.c) know of each other.
#ifndef PYROUTER_FLOOR_OTHERS_H
#define PYROUTER_FLOOR_OTHERS_H

#include <stdbool.h>

#include "common.h"

// One end of a pair.
typedef struct {
    int fd;
    bool sends, ready, dirty;
    size_t pair;
    uint16_t packet; // MQTT: the last packet identifier
    Buffer in, out;
} Link;

typedef struct {
    // What a client says first; `link_ready` is called once it may begin.
    void (*open)(Link *);
    void (*publish)(Link *, const uint8_t *body, size_t len);
    // Deals with the first whole thing in `data`; how long it is, or 0 if the rest of it has not come.
    size_t (*take)(Link *, const uint8_t *data, size_t len);
} Protocol;

extern const Protocol nats, mqtt;

// For protocols: what was taken.
void link_ready(Link *);
void link_accepted(Link *);                               // the server has the oldest message that had no answer
void link_message(Link *, const uint8_t *body, size_t len); // the protocol acknowledges it
// Adds to what leaves at the end of the turn.
void link_put(Link *, const void *data, size_t len);

#endif
