// See peer.h.
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 512
#define READ_BYTES (256 * 1024)

Loop loop;

Users read_users(const char *path) {
    Users users = {0};
    char line[9000];
    FILE *file = fopen(path, "r");
    if (!file) die("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        char *name = strtok(line, " \n"), *token = strtok(NULL, " \n");
        if (!name || !token) die("%s: a line is not NAME TOKEN", path);
        if (users.count % 1024 == 0)
            users.list = check_alloc(realloc(users.list, (users.count + 1024) * sizeof *users.list));
        users.list[users.count++] = (User){check_alloc(strdup(name)), check_alloc(strdup(token))};
    }
    fclose(file);
    return users;
}

void loop_open(int argc, char **argv, void (*on_frame)(Peer *, unsigned, View)) {
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    loop.host = option(argc, argv, "--host", "127.0.0.1");
    loop.port = (uint16_t)option_int(argc, argv, "--port", 7499);
    loop.server_pid = (int)option_int(argc, argv, "--server-pid", 0);
    loop.write_each = !strcmp(option(argc, argv, "--writes", "turn"), "each");
    loop.on_frame = on_frame;
}

Peer *peer_connect(const User *user, uint32_t number, bool receive) {
    Peer *peer = check_alloc(calloc(1, sizeof *peer));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(loop.port)};
    int one = 1;
    size_t token_len = strlen(user->token);
    peer->number = number;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, loop.host, &address.sin_addr) != 1) die("--host: not an IPv4 address: %s", loop.host);
    if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&address, sizeof address))
        die("connect to %s:%u: %s", loop.host, loop.port, strerror(errno));
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(loop.epoll, EPOLL_CTL_ADD, peer->fd, &event)) die("epoll_ctl: %s", strerror(errno));
    uint8_t *inner = check_alloc(malloc(token_len + 64)), *at = inner;
    at = put_uint(at, 1, 1);
    at = put_bytes(at, 2, user->token, token_len);
    if (receive) at = put_uint(at, 3, 1);
    at = put_bytes(at, 4, "floor", 5);
    buffer_add(&peer->out, MAGIC, MAGIC_LEN);
    peer_put(peer, CLIENT_HELLO, inner, (size_t)(at - inner));
    free(inner);
    return peer;
}

static void watch(Peer *peer, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(loop.epoll, EPOLL_CTL_MOD, peer->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void flush(Peer *peer) {
    if (!peer->out.len) return;
    ssize_t n = send(peer->fd, peer->out.data, peer->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) die("user %u: send: %s", peer->number, strerror(errno));
    if (n > 0) buffer_drop(&peer->out, (size_t)n);
    if (peer->out.len) watch(peer, EPOLLIN | EPOLLOUT);
}

void peer_put(Peer *peer, unsigned member, const uint8_t *inner, size_t len) {
    uint8_t *start = buffer_room(&peer->out, len + 12);
    peer->out.len += (size_t)(put_frame(start, member, inner, len) - start);
    if (peer->dirty) return;
    if (loop.write_each) return flush(peer);
    peer->dirty = true;
    if (loop.dirty_count == loop.dirty_cap) {
        loop.dirty_cap = loop.dirty_cap ? loop.dirty_cap * 2 : 1024;
        loop.dirty = check_alloc(realloc(loop.dirty, loop.dirty_cap * sizeof *loop.dirty));
    }
    loop.dirty[loop.dirty_count++] = peer;
}

void loop_flush(void) {
    for (size_t i = 0; i < loop.dirty_count; i++) {
        loop.dirty[i]->dirty = false;
        flush(loop.dirty[i]);
    }
    loop.dirty_count = 0;
}

static void on_payload(Peer *peer, View payload) {
    Field frame, field;
    if (!get_field(&payload, &frame)) die("user %u: a frame that is none", peer->number);
    if (frame.number == SERVER_WELCOME) {
        loop.welcomes += !peer->welcome;
        peer->welcome = true;
    } else if (frame.number == SERVER_PING) {
        uint8_t inner[16], *at = inner;
        if (get_field(&frame.bytes, &field)) at = put_uint(at, 1, field.value);
        peer_put(peer, CLIENT_PONG, inner, (size_t)(at - inner));
    } else if (frame.number == SERVER_ERROR) {
        View code = {0}, text = {0};
        while (get_field(&frame.bytes, &field)) {
            if (field.number == 1) code = field.bytes;
            if (field.number == 2) text = field.bytes;
        }
        die("user %u: the server says %.*s: %.*s", peer->number, (int)view_len(code), code.at, (int)view_len(text), text.at);
    } else {
        loop.on_frame(peer, frame.number, frame.bytes);
    }
}

static void on_readable(Peer *peer) {
    static uint8_t shared[READ_BYTES];
    ssize_t n = recv(peer->fd, shared, sizeof shared, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) die("user %u: recv: %s", peer->number, strerror(errno));
    if (n == 0) die("user %u: the server closed the connection", peer->number);
    View rest = {shared, shared + n}, payload;
    int got;
    if (peer->in.len) {
        buffer_add(&peer->in, shared, (size_t)n);
        rest = (View){peer->in.data, peer->in.data + peer->in.len};
    }
    while ((got = get_frame(&rest, &payload)) > 0) on_payload(peer, payload);
    if (got < 0) die("user %u: a frame that is none", peer->number);
    if (peer->in.len) buffer_drop(&peer->in, peer->in.len - view_len(rest));
    else if (view_len(rest)) buffer_add(&peer->in, rest.at, view_len(rest));
}

void loop_turn(int wait_ms) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(loop.epoll, events, EVENTS, wait_ms);
    loop.now_ns = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < count; i++) {
        Peer *peer = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) {
            watch(peer, EPOLLIN);
            flush(peer);
        }
        if (events[i].events & ~(uint32_t)EPOLLOUT) on_readable(peer);
    }
    loop_flush();
}

void await_welcomes(size_t count) {
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    loop_flush();
    while (loop.welcomes < count) {
        loop_turn(100);
        if (clock_ns(CLOCK_MONOTONIC) - start > 60000000000u) die("%zu of %zu welcomes after 60 s", loop.welcomes, count);
    }
}

uint64_t server_cpu_ns(void) {
    clockid_t clock;
    if (!loop.server_pid) return 0;
    if (clock_getcpuclockid(loop.server_pid, &clock)) die("--server-pid %d: no such process", loop.server_pid);
    return clock_ns(clock);
}

void server_cpu_split(double *user, double *system) {
    char path[64];
    unsigned long ticks[2];
    *user = *system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", loop.server_pid);
    FILE *file = loop.server_pid ? fopen(path, "r") : NULL;
    if (!file) return;
    // Fields 14 and 15, counted after the program's name in parentheses.
    if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ticks[0], &ticks[1]) == 2) {
        *user = (double)ticks[0] / (double)sysconf(_SC_CLK_TCK);
        *system = (double)ticks[1] / (double)sysconf(_SC_CLK_TCK);
    }
    fclose(file);
}
