// MQTT 3.1.1 at QoS 1, sessions that stay: messages of pair N go to the topic `p/N`.
#include "others.h"

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90 };

#define QOS_1 0x02

// Keep-alive 0: the server never minds silence.
static const uint8_t CONNECT_HEAD[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0};

static void put_packet(Link *link, unsigned kind, size_t len) {
    uint8_t head[5] = {(uint8_t)kind}, *at = head + 1;
    do {
        *at = (uint8_t)(len & 0x7f);
        len >>= 7;
        if (len) *at |= 0x80;
        at++;
    } while (len);
    link_put(link, head, (size_t)(at - head));
}

static void put_number(Link *link, size_t number) {
    uint8_t bytes[2] = {(uint8_t)(number >> 8), (uint8_t)number};
    link_put(link, bytes, 2);
}

static uint16_t next_packet(Link *link) {
    if (++link->packet == 0) link->packet = 1;
    return link->packet;
}

static size_t topic_of(const Link *link, char text[32]) { return (size_t)snprintf(text, 32, "p/%zu", link->pair); }

static void mqtt_open(Link *link) {
    char name[32];
    size_t len = (size_t)snprintf(name, sizeof name, "%c%zu", link->sends ? 's' : 'r', link->pair);
    put_packet(link, CONNECT, sizeof CONNECT_HEAD + 2 + len);
    link_put(link, CONNECT_HEAD, sizeof CONNECT_HEAD);
    put_number(link, len);
    link_put(link, name, len);
}

static void subscribe(Link *link) {
    char topic[32];
    size_t len = topic_of(link, topic);
    put_packet(link, SUBSCRIBE, 2 + 2 + len + 1);
    put_number(link, next_packet(link));
    put_number(link, len);
    link_put(link, topic, len);
    link_put(link, "\x01", 1);
}

static void mqtt_publish(Link *link, const uint8_t *body, size_t body_len) {
    char topic[32];
    size_t len = topic_of(link, topic);
    put_packet(link, PUBLISH | QOS_1, 2 + len + 2 + body_len);
    put_number(link, len);
    link_put(link, topic, len);
    put_number(link, next_packet(link));
    link_put(link, body, body_len);
}

static void take_publish(Link *link, unsigned flags, const uint8_t *body, size_t len) {
    size_t topic = len > 2 ? (size_t)(body[0] << 8 | body[1]) : 0;
    if ((flags & 0x06) != QOS_1 || len < topic + 4) die("pair %zu: a PUBLISH of %zu bytes", link->pair, len);
    put_packet(link, PUBACK, 2);
    link_put(link, body + 2 + topic, 2); // its packet identifier
    link_message(link, body + topic + 4, len - topic - 4);
}

static void take_packet(Link *link, unsigned head, const uint8_t *body, size_t len) {
    switch (head & 0xf0) {
    case CONNACK:
        if (len != 2 || body[1]) die("pair %zu: CONNACK %u", link->pair, len == 2 ? body[1] : 255);
        if (link->sends) link_ready(link);
        else subscribe(link);
        break;
    case SUBACK:
        if (len != 3 || body[2] != 1) die("pair %zu: SUBACK %u", link->pair, len == 3 ? body[2] : 255);
        link_ready(link);
        break;
    case PUBACK: link_accepted(link); break;
    case PUBLISH: take_publish(link, head, body, len); break;
    default: die("pair %zu: packet %02x", link->pair, head);
    }
}

static size_t mqtt_take(Link *link, const uint8_t *data, size_t len) {
    size_t body_len = 0, at = 1;
    for (unsigned shift = 0;; shift += 7) {
        if (at >= len) return 0;
        body_len |= (size_t)(data[at] & 0x7f) << shift;
        if (data[at++] < 0x80) break;
    }
    if (len < at + body_len) return 0;
    take_packet(link, data[0], data + at, body_len);
    return at + body_len;
}

const Protocol mqtt = {mqtt_open, mqtt_publish, mqtt_take};
