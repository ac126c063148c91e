// The client's end of a raw connection, for programs that keep thousands of them in one epoll loop.
//
// Like the server's loop: one shared read buffer, one recv() per readiness, one send() per connection and turn. Frames
// are handed to `on_frame`; what they mean is the program's.
#ifndef PYROUTER_FLOOR_PEER_H
#define PYROUTER_FLOOR_PEER_H

#include "common.h"
#include "wire.h"

typedef struct Peer {
    int fd;
    bool dirty, welcome;
    uint32_t number; // its line in the file of users
    Buffer in, out;
    void *state; // the program's
} Peer;

typedef struct {
    char *name, *token;
} User;

// Lines of `NAME TOKEN`.
typedef struct {
    User *list;
    size_t count;
} Users;

typedef struct {
    int epoll, server_pid;
    bool write_each; // one send() per frame instead of per connection and turn
    size_t welcomes;
    uint64_t now_ns; // CLOCK_MONOTONIC when this turn's events were there
    const char *host;
    uint16_t port;
    Peer **dirty;
    size_t dirty_count, dirty_cap;
    void (*on_frame)(Peer *, unsigned member, View frame);
} Loop;

extern Loop loop;

Users read_users(const char *path);
// Reads --host, --port, --server-pid and --writes.
void loop_open(int argc, char **argv, void (*on_frame)(Peer *, unsigned, View));
// Connects and says hello; the welcome is counted in loop.welcomes.
Peer *peer_connect(const User *user, uint32_t number, bool receive);
void peer_put(Peer *peer, unsigned member, const uint8_t *inner, size_t len);
// One turn: waits at most `wait_ms`, reads, lets on_frame answer, sends all that was put.
void loop_turn(int wait_ms);
void loop_flush(void);
// Turns until `count` welcomes in all; ends the program after 60 s without.
void await_welcomes(size_t count);
// CPU that the server process has used, ns; 0 without --server-pid.
uint64_t server_cpu_ns(void);
// Its user and system time in clock ticks' resolution, s.
void server_cpu_split(double *user, double *system);

#endif
