// The load of load.c for other servers, for context: pairs with a window of messages in flight, against JetStream
// (--protocol nats) or an MQTT broker (--protocol mqtt). Prints one line of JSON with the same names.
//
//   others --protocol nats|mqtt [--pairs 200] [--window 1] [--body 160] [--seconds 5] [--warmup 1] [--server-pid PID]
//          [--host H] [--port P]
//
// A message is in flight until the server has confirmed it to its sender and its recipient has it (and has written its
// acknowledgement). Checked: that each pair's messages come in order, each once, every byte as sent.
#include "others.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "latency.h"

#define EVENTS 512
#define READ_BYTES (256 * 1024)
#define RING 1024
#define MAX_BODY 65536

typedef struct {
    Link from, to;
    uint64_t sent, accepted, delivered, completed, sent_at[RING];
} Pair;

static const Protocol *protocol;
static Pair *pairs;
static size_t pair_count, body_len, window, ready;
static bool stopping;
static uint64_t now_ns, completed;
static uint8_t pattern[MAX_BODY];
static Latency latency;
static Link **dirty;
static size_t dirty_count;
static int epoll_fd, server_pid;
static struct sockaddr_in address = {.sin_family = AF_INET};

// ---- messages ----
static void make_body(uint8_t *body, size_t pair, uint64_t count) {
    uint64_t head[2] = {pair, count};
    memcpy(body, head, sizeof head);
    memcpy(body + sizeof head, pattern, body_len - sizeof head);
}

static void refill(Pair *pair) {
    static uint8_t body[MAX_BODY];
    while (!stopping && pair->sent - pair->completed < window) {
        make_body(body, pair->from.pair, pair->sent);
        pair->sent_at[pair->sent % RING] = now_ns;
        pair->sent++;
        protocol->publish(&pair->from, body, body_len);
    }
}

static void settle(Pair *pair) {
    uint64_t both = pair->accepted < pair->delivered ? pair->accepted : pair->delivered;
    for (; pair->completed < both; pair->completed++, completed++)
        latency_add(&latency, now_ns - pair->sent_at[pair->completed % RING]);
    refill(pair);
}

void link_ready(Link *link) {
    if (link->ready) return;
    link->ready = true;
    ready++;
}

void link_accepted(Link *link) {
    Pair *pair = &pairs[link->pair];
    if (++pair->accepted > pair->sent) die("pair %zu: more confirmed than sent", link->pair);
    settle(pair);
}

void link_message(Link *link, const uint8_t *body, size_t len) {
    static uint8_t expected[MAX_BODY];
    Pair *pair = &pairs[link->pair];
    make_body(expected, link->pair, pair->delivered);
    if (len != body_len || memcmp(body, expected, len)) die("pair %zu: message %lu is another", link->pair, pair->delivered);
    pair->delivered++;
    settle(pair);
}

// ---- sockets: one send() per connection and turn ----
void link_put(Link *link, const void *data, size_t len) {
    buffer_add(&link->out, data, len);
    if (link->dirty) return;
    link->dirty = true;
    dirty[dirty_count++] = link;
}

static void flush(Link *link) {
    ssize_t n = send(link->fd, link->out.data, link->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) die("pair %zu: send: %s", link->pair, strerror(errno));
    if (n > 0) buffer_drop(&link->out, (size_t)n);
    struct epoll_event event = {.events = link->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = link};
    if (link->out.len && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, link->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void flush_all(void) {
    for (size_t i = 0; i < dirty_count; i++) {
        dirty[i]->dirty = false;
        flush(dirty[i]);
    }
    dirty_count = 0;
}

static void on_readable(Link *link) {
    static uint8_t shared[READ_BYTES];
    ssize_t n = recv(link->fd, shared, sizeof shared, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) die("pair %zu: recv: %s", link->pair, n ? strerror(errno) : "the server closed the connection");
    const uint8_t *data = shared;
    size_t len = (size_t)n, taken, at = 0;
    if (link->in.len) {
        buffer_add(&link->in, shared, len);
        data = link->in.data, len = link->in.len;
    }
    while (at < len && (taken = protocol->take(link, data + at, len - at))) at += taken;
    if (link->in.len) buffer_drop(&link->in, at);
    else if (at < len) buffer_add(&link->in, data + at, len - at);
}

static void turn(int wait_ms) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll_fd, events, EVENTS, wait_ms);
    now_ns = clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < count; i++) {
        Link *link = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) {
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
            if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, link->fd, &event)) die("epoll_ctl: %s", strerror(errno));
            flush(link);
        }
        if (events[i].events & ~(uint32_t)EPOLLOUT) on_readable(link);
    }
    flush_all();
}

static void connect_link(Link *link, size_t pair, bool sends) {
    int one = 1;
    *link = (Link){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .pair = pair, .sends = sends};
    if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&address, sizeof address)) die("connect: %s", strerror(errno));
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, link->fd, &event)) die("epoll_ctl: %s", strerror(errno));
    protocol->open(link);
}

// ---- the run ----
static uint64_t server_cpu_ns(void) {
    clockid_t clock;
    if (!server_pid) return 0;
    if (clock_getcpuclockid(server_pid, &clock)) die("--server-pid %d: no such process", server_pid);
    return clock_ns(clock);
}

static void run_until(uint64_t end_ns) {
    uint64_t now;
    while ((now = clock_ns(CLOCK_MONOTONIC)) < end_ns) turn((int)((end_ns - now) / 1000000) + 1);
}

static void await_all(const char *what, bool (*there)(void)) {
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    while (!there()) {
        turn(100);
        if (clock_ns(CLOCK_MONOTONIC) - start > 60000000000u) die("after 60 s not all %s", what);
    }
}

static bool all_ready(void) { return ready == 2 * pair_count; }

static bool drained(void) {
    for (size_t i = 0; i < pair_count; i++)
        if (pairs[i].completed < pairs[i].sent) return false;
    return true;
}

int main(int argc, char **argv) {
    const char *name = option(argc, argv, "--protocol", "nats");
    protocol = !strcmp(name, "nats") ? &nats : &mqtt;
    if (protocol == &mqtt && strcmp(name, "mqtt")) die("--protocol: nats or mqtt, not %s", name);
    pair_count = option_int(argc, argv, "--pairs", 200);
    window = option_int(argc, argv, "--window", 1);
    body_len = option_int(argc, argv, "--body", 160);
    server_pid = (int)option_int(argc, argv, "--server-pid", 0);
    address.sin_port = htons((uint16_t)option_int(argc, argv, "--port", 4222));
    if (inet_pton(AF_INET, option(argc, argv, "--host", "127.0.0.1"), &address.sin_addr) != 1) die("--host: no IPv4 address");
    if (window == 0 || window > RING || body_len < 16 || body_len > MAX_BODY) die("--window 1…%d, --body 16…%d", RING, MAX_BODY);
    for (size_t at = 0; at < sizeof pattern; at += 256)
        if (getrandom(pattern + at, 256, 0) != 256) die("no random bytes");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pairs = check_alloc(calloc(pair_count, sizeof *pairs));
    dirty = check_alloc(calloc(2 * pair_count, sizeof(Link *)));
    for (size_t i = 0; i < pair_count; i++) connect_link(&pairs[i].to, i, false);
    for (size_t i = 0; i < pair_count; i++) connect_link(&pairs[i].from, i, true);
    flush_all();
    await_all("connections are ready", all_ready);

    now_ns = clock_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < pair_count; i++) refill(&pairs[i]);
    flush_all();
    run_until(now_ns + option_ns(argc, argv, "--warmup", 1));
    memset(&latency, 0, sizeof latency);
    uint64_t wall = clock_ns(CLOCK_MONOTONIC), server = server_cpu_ns(), client = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t before = completed;
    run_until(wall + option_ns(argc, argv, "--seconds", 5));
    double took = (double)(clock_ns(CLOCK_MONOTONIC) - wall) / 1e9, count = (double)(completed - before);
    double server_us = (double)(server_cpu_ns() - server) / 1e3;
    double client_us = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - client) / 1e3;
    if (count == 0) die("no message was completed in %.1f s", took);
    stopping = true;
    await_all("messages came through", drained);
    printf("{\"connections\": %zu, \"window\": %zu, \"body\": %zu, \"seconds\": %.3f, \"messages\": %.0f, \"rate\": %.1f, "
           "\"server_us\": %.3f, \"client_us\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           2 * pair_count, window, body_len, took, count, count / took, server_us / count, client_us / count,
           latency_us(&latency, 0.5), latency_us(&latency, 0.99));
}
