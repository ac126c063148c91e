// The frames of core_rs/wire/proto/pyrouter/v1/wire.proto, by hand, as far as the yardsticks need them.
// Raw carrier: the magic, then frames of a varint length and that many bytes of ClientFrame or ServerFrame.
#ifndef PYROUTER_FLOOR_WIRE_H
#define PYROUTER_FLOOR_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MAGIC "PYRT\x01"
#define MAGIC_LEN 5
#define CONVERSATION_LEN 16
#define VERSION_LEN 64   // longest receipt version
#define MOST_ACCEPTED 256 // messages in one ack

// Members of ClientFrame.frame and ServerFrame.frame.
enum { CLIENT_HELLO = 1, CLIENT_SEND = 2, CLIENT_ACK = 3, CLIENT_PONG = 6 };
enum {
    SERVER_WELCOME = 1,
    SERVER_ACCEPTED = 2,
    SERVER_MESSAGE = 3,
    SERVER_RECEIPT = 4,
    SERVER_ERROR = 6,
    SERVER_PING = 7,
    SERVER_GROUP = 12,
    SERVER_RECEIPTS = 15,
};

typedef struct {
    const uint8_t *at, *end;
} View;

typedef struct {
    unsigned number;
    uint64_t value; // of a varint field
    View bytes;     // of a length-delimited field
} Field;

static inline size_t view_len(View v) { return (size_t)(v.end - v.at); }

static inline bool view_is(View v, const void *data, size_t len) {
    return view_len(v) == len && memcmp(v.at, data, len) == 0;
}

static inline uint8_t *put_varint(uint8_t *out, uint64_t value) {
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

static inline size_t varint_len(uint64_t value) {
    size_t len = 1;
    while (value >= 0x80) {
        value >>= 7;
        len++;
    }
    return len;
}

static inline uint8_t *put_uint(uint8_t *out, unsigned number, uint64_t value) {
    *out++ = (uint8_t)(number << 3);
    return put_varint(out, value);
}

static inline uint8_t *put_bytes(uint8_t *out, unsigned number, const void *data, size_t len) {
    *out++ = (uint8_t)(number << 3 | 2);
    out = put_varint(out, len);
    memcpy(out, data, len);
    return out + len;
}

// One of `Ack.accepted`: `count` messages of a conversation from `first` on, at most MOST_ACCEPTED.
static inline uint8_t *put_accepted(uint8_t *out, const uint8_t *conversation, uint64_t first, uint64_t count) {
    uint8_t seqs[MOST_ACCEPTED * 10], of[sizeof seqs + CONVERSATION_LEN + 8], *end = seqs, *at = of;
    for (uint64_t seq = first; seq < first + count; seq++) end = put_varint(end, seq);
    at = put_bytes(at, 1, conversation, CONVERSATION_LEN);
    at = put_bytes(at, 2, seqs, (size_t)(end - seqs));
    return put_bytes(out, 4, of, (size_t)(at - of));
}

// One frame around an encoded member; `out` has room for `len` + 12 bytes.
static inline uint8_t *put_frame(uint8_t *out, unsigned member, const uint8_t *inner, size_t len) {
    out = put_varint(out, 1 + varint_len(len) + len);
    return put_bytes(out, member, inner, len);
}

static inline bool get_varint(View *v, uint64_t *value) {
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64 && v->at < v->end; shift += 7) {
        uint8_t byte = *v->at++;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return true;
        }
    }
    return false;
}

// The next field; false at the end and at anything that the schema does not have.
static inline bool get_field(View *v, Field *field) {
    uint64_t tag, len;
    if (v->at >= v->end || !get_varint(v, &tag)) return false;
    *field = (Field){.number = (unsigned)(tag >> 3)};
    if ((tag & 7) == 0) return get_varint(v, &field->value);
    if ((tag & 7) != 2 || !get_varint(v, &len) || len > view_len(*v)) return false;
    field->bytes = (View){v->at, v->at + len};
    v->at += len;
    return true;
}

// A receipt version: the last one counts, whatever is in it.
typedef struct {
    uint8_t bytes[VERSION_LEN];
    size_t len;
} Version;

static inline void keep_version(Version *version, View bytes) {
    version->len = view_len(bytes) < VERSION_LEN ? view_len(bytes) : VERSION_LEN;
    memcpy(version->bytes, bytes.at, version->len);
}

// Takes one whole frame off `v`: 1 with `payload`, 0 when more bytes are needed, -1 when it is none.
static inline int get_frame(View *v, View *payload) {
    View probe = *v;
    uint64_t len;
    if (!get_varint(&probe, &len)) return view_len(*v) < 10 ? 0 : -1;
    if (len > 1u << 20) return -1;
    if (view_len(probe) < len) return 0;
    *payload = (View){probe.at, probe.at + len};
    v->at = payload->end;
    return 1;
}

#endif
