// Holds idle connections, so that somebody else can measure the server's memory.
//
//   hold [--carrier bare|raw|ws] [--users FILE] [--host H] [--port P]
//
// Each line of stdin is a command. A number: that many connections in all are opened (bare: connected; raw and ws:
// identified, the welcome read), one after another, then `holding N` is printed. Before that answer every connection is
// looked at: one that the server closed ends the program. `get I`: the next frame of connection I (from 0) is awaited
// and `got I N` printed, N its kind in ServerFrame. Ends at the end of stdin.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common.h"
#include "wire.h"

#define MAX_HELD 20000

static const char REQUEST[] = "GET /v1 HTTP/1.1\r\nHost: floor\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

static struct sockaddr_in address = {.sin_family = AF_INET};
static int held[MAX_HELD];

static void send_all(int fd, const void *data, size_t len) {
    if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len) die("send: %s", strerror(errno));
}

static size_t read_some(int fd, uint8_t *data, size_t len) {
    ssize_t n = recv(fd, data, len, 0);
    if (n <= 0) die("recv: %s", n ? strerror(errno) : "the server closed the connection");
    return (size_t)n;
}

// Reads to the end of the HTTP answer, which a server sends alone: the client has not spoken yet.
static void upgrade(int fd) {
    uint8_t answer[4096];
    size_t len = 0;
    send_all(fd, REQUEST, sizeof REQUEST - 1);
    while (len < 4 || memcmp(answer + len - 4, "\r\n\r\n", 4)) {
        if (len == sizeof answer) die("no WebSocket answer in %zu bytes", len);
        len += read_some(fd, answer + len, sizeof answer - len);
    }
    if (len < 12 || memcmp(answer, "HTTP/1.1 101", 12)) die("no WebSocket: %.*s", (int)len, answer);
}

static size_t make_hello(uint8_t *out, const char *token) {
    uint8_t *at = out, inner[9000], *end = inner;
    size_t token_len = strlen(token);
    end = put_uint(end, 1, 1);
    end = put_bytes(end, 2, token, token_len);
    end = put_uint(end, 3, 1);
    at = put_bytes(at, CLIENT_HELLO, inner, (size_t)(end - inner));
    return (size_t)(at - out);
}

static void hello(int fd, const char *token, bool websocket) {
    uint8_t frame[9100], wire[9200], answer[1024], *at = wire, welcome;
    size_t len = make_hello(frame, token), got;
    if (websocket) {
        *at++ = 0x82; // final, binary; then masked with a mask of zeros
        *at++ = len < 126 ? (uint8_t)(0x80 | len) : 0x80 | 126;
        if (len >= 126) {
            *at++ = (uint8_t)(len >> 8);
            *at++ = (uint8_t)len;
        }
        memset(at, 0, 4);
        at += 4;
    } else {
        memcpy(at, MAGIC, MAGIC_LEN);
        at = put_varint(at + MAGIC_LEN, len);
    }
    memcpy(at, frame, len);
    send_all(fd, wire, (size_t)(at + len - wire));
    got = read_some(fd, answer, sizeof answer);
    welcome = got > 4 ? answer[websocket ? (answer[1] == 126 ? 4 : 2) : (answer[0] < 128 ? 1 : 2)] : 0;
    if (welcome != (SERVER_WELCOME << 3 | 2)) die("no welcome but %.*s", (int)got, answer);
}

static int open_one(const char *carrier, const char *token) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct timeval patience = {.tv_sec = 30};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (!strcmp(carrier, "ws")) upgrade(fd);
    if (strcmp(carrier, "bare")) hello(fd, token, !strcmp(carrier, "ws"));
    return fd;
}

static void check_open(int fd, size_t number) {
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) die("connection %zu was closed by the server", number);
}

// The kind of the next frame of a connection, which is read and dropped with whatever came beside it.
static unsigned get_frame_kind(int fd, bool websocket) {
    uint8_t answer[65536];
    size_t got = read_some(fd, answer, sizeof answer), head;
    if (websocket) head = got > 1 && answer[1] == 126 ? 4 : 2;
    else head = answer[0] < 128 ? 1 : answer[1] < 128 ? 2 : 3;
    if (got <= head) die("a frame of %zu bytes", got);
    return answer[head] >> 3; // every kind below 16 has a tag of one byte
}

static char *next_token(FILE *users) {
    static char line[9000];
    if (!users) return line;
    if (!fgets(line, sizeof line, users)) die("--users: too few lines");
    char *token = strchr(line, ' ');
    if (!token) die("--users: a line is not NAME TOKEN");
    token[strcspn(token, "\n")] = 0;
    return token + 1;
}

int main(int argc, char **argv) {
    const char *carrier = option(argc, argv, "--carrier", "ws"), *path = option(argc, argv, "--users", NULL);
    FILE *users = path ? fopen(path, "r") : NULL;
    size_t count = 0, number;
    char line[64];
    if (path && !users) die("%s: %s", path, strerror(errno));
    if (!users && strcmp(carrier, "bare")) die("--carrier %s needs --users", carrier);
    address.sin_port = htons((uint16_t)option_int(argc, argv, "--port", 7499));
    if (inet_pton(AF_INET, option(argc, argv, "--host", "127.0.0.1"), &address.sin_addr) != 1) die("--host: no IPv4 address");
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "get %zu", &number) == 1) {
            if (number >= count) die("get %zu: there are %zu connections", number, count);
            printf("got %zu %u\n", number, get_frame_kind(held[number], !strcmp(carrier, "ws")));
        } else {
            if (sscanf(line, "%zu", &number) != 1 || number > MAX_HELD) die("0 to %d connections, not %s", MAX_HELD, line);
            while (count < number) held[count++] = open_one(carrier, next_token(users));
            for (size_t i = 0; i < count; i++) check_open(held[i], i);
            printf("holding %zu\n", count);
        }
        fflush(stdout);
    }
}
