// JetStream: messages of pair N are published to `p.N`, answered on `a.N`, and delivered by a durable consumer with
// explicit acknowledgements to `d.N`. Whoever starts the server has made the stream and its consumers.
#include "others.h"

static void nats_open(Link *link) {
    char text[256];
    int len = snprintf(text, sizeof text,
                       "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false,\"lang\":\"c\",\"version\":\"1\"}\r\n"
                       "SUB %s.%zu 1\r\nPING\r\n",
                       link->sends ? "a" : "d", link->pair);
    link_put(link, text, (size_t)len);
}

static void nats_publish(Link *link, const uint8_t *body, size_t len) {
    char head[64];
    int head_len = snprintf(head, sizeof head, "PUB p.%zu a.%zu %zu\r\n", link->pair, link->pair, len);
    link_put(link, head, (size_t)head_len);
    link_put(link, body, len);
    link_put(link, "\r\n", 2);
}

static void acknowledge(Link *link, const char *reply) {
    char text[256];
    int len = snprintf(text, sizeof text, "PUB %s 4\r\n+ACK\r\n", reply);
    if (len >= (int)sizeof text) die("pair %zu: a long reply subject: %s", link->pair, reply);
    link_put(link, text, (size_t)len);
}

// `MSG subject sid [reply] length`, then that many bytes and a line's end.
static size_t take_message(Link *link, const char *line, size_t line_len, const uint8_t *data, size_t len) {
    char reply[200] = "", last[32] = "";
    int fields = sscanf(line, "MSG %*s %*s %199s %31s", reply, last);
    size_t body_len = strtoull(fields == 2 ? last : reply, NULL, 10);
    if (fields < 1) die("pair %zu: %s", link->pair, line);
    if (len < line_len + body_len + 2) return 0;
    const uint8_t *body = data + line_len;
    if (!link->sends) {
        if (fields == 2) acknowledge(link, reply);
        link_message(link, body, body_len);
    } else if (memmem(body, body_len, "\"error\"", 7)) {
        die("pair %zu: %.*s", link->pair, (int)body_len, body);
    } else {
        link_accepted(link);
    }
    return line_len + body_len + 2;
}

static size_t nats_take(Link *link, const uint8_t *data, size_t len) {
    char line[512];
    const uint8_t *end = memmem(data, len, "\r\n", 2);
    if (!end) return 0;
    size_t line_len = (size_t)(end - data) + 2;
    size_t copied = line_len < sizeof line ? line_len : sizeof line - 1; // INFO is long, and of no interest
    memcpy(line, data, copied);
    line[copied] = 0;
    if (!strncmp(line, "MSG ", 4)) return take_message(link, line, line_len, data, len);
    if (!strncmp(line, "PING", 4)) link_put(link, "PONG\r\n", 6);
    else if (!strncmp(line, "PONG", 4)) link_ready(link);
    else if (strncmp(line, "INFO ", 5)) die("pair %zu: the server says %s", link->pair, line);
    return line_len;
}

const Protocol nats = {nats_open, nats_publish, nats_take};
