// Fills a server: every sender sends to every recipient, `--each` times round; prints one line of JSON.
//
//   fill --senders FILE --recipients FILE [--each 1] [--first 1] [--body 1024] [--window 128] [--connect yes]
//        [--host H] [--port P] [--server-pid PID]
//
// senders × recipients conversations, each with `--each` messages more. Recipients stay away, so all of it is pending;
// with `--connect yes` they are there and ack everything, which leaves as many quiet conversations. Checked: accepted
// frames in the order of the sends, each with the number that its conversation must have (from `--first`, what a fresh
// pair begins with); with `--connect` that every recipient got every message with its body, and every sender the receipts.
#include "peer.h"

#define CONFIRM_EVERY 16

typedef struct {
    uint64_t sent, accepted, told;
    Version version;
    struct { // what was accepted since it was told
        uint8_t conversation[CONVERSATION_LEN];
        uint64_t seq;
    } seen[CONFIRM_EVERY];
} Sender;

typedef struct {
    uint64_t got;
} Recipient;

static Users senders, recipients;
static uint64_t total_each, first, last, window, completed, delivered, receipted;
static size_t body_len;
static uint8_t body[65536];

static void make_id(uint8_t id[12], uint32_t number, uint64_t count) {
    memcpy(id, &number, 4);
    count += first << 40; // another run over the same conversations sends other messages
    memcpy(id + 4, &count, 8);
}

static void put_acks(Peer *peer, Sender *sender) {
    uint8_t inner[CONFIRM_EVERY * 64 + VERSION_LEN], *at = inner;
    if (sender->version.len) at = put_bytes(at, 3, sender->version.bytes, sender->version.len);
    for (; sender->told < sender->accepted; sender->told++) {
        size_t place = sender->told % CONFIRM_EVERY;
        at = put_accepted(at, sender->seen[place].conversation, sender->seen[place].seq, 1);
    }
    peer_put(peer, CLIENT_ACK, inner, (size_t)(at - inner));
}

static void refill(Peer *peer) {
    static uint8_t inner[65536 + 256];
    Sender *sender = peer->state;
    while (sender->sent < total_each && sender->sent - sender->accepted < window) {
        uint8_t id[12], *at = inner;
        // Each sender begins at a recipient of its own, so that they do not all write to one at a time.
        const char *to = recipients.list[(sender->sent + peer->number) % recipients.count].name;
        make_id(id, peer->number, sender->sent++);
        at = put_bytes(at, 1, id, sizeof id);
        at = put_bytes(at, 2, to, strlen(to));
        at = put_bytes(at, 5, body, body_len);
        peer_put(peer, CLIENT_SEND, inner, (size_t)(at - inner));
    }
    if (sender->accepted - sender->told >= CONFIRM_EVERY) put_acks(peer, sender);
}

static void on_accepted(Peer *peer, View frame) {
    Sender *sender = peer->state;
    Field field;
    uint8_t id[12];
    View conversation = {0};
    uint64_t seq = 0, expected = first + sender->accepted / recipients.count;
    make_id(id, peer->number, sender->accepted);
    while (get_field(&frame, &field)) {
        if (field.number == 1 && !view_is(field.bytes, id, sizeof id)) die("sender %u: accepted out of order", peer->number);
        if (field.number == 2) conversation = field.bytes;
        if (field.number == 3) seq = field.value;
    }
    if (seq != expected) die("sender %u: number %lu where %lu is due", peer->number, seq, expected);
    if (view_len(conversation) != CONVERSATION_LEN) die("sender %u: accepted without a conversation", peer->number);
    memcpy(sender->seen[sender->accepted % CONFIRM_EVERY].conversation, conversation.at, CONVERSATION_LEN);
    sender->seen[sender->accepted++ % CONFIRM_EVERY].seq = seq;
    completed++;
    refill(peer);
}

static void on_message(Peer *peer, View frame) {
    Field field;
    uint8_t inner[64], *at = inner;
    View conversation = {0};
    uint64_t seq = 0;
    while (get_field(&frame, &field)) {
        if (field.number == 1) conversation = field.bytes;
        if (field.number == 2) seq = field.value;
        if (field.number == 7 && !view_is(field.bytes, body, body_len)) die("recipient %u: another body", peer->number);
    }
    ((Recipient *)peer->state)->got++;
    delivered++;
    at = put_bytes(at, 1, conversation.at, view_len(conversation));
    at = put_uint(at, 2, seq);
    peer_put(peer, CLIENT_ACK, inner, (size_t)(at - inner));
}

static void on_receipt(Sender *sender, View frame) {
    Field field;
    while (get_field(&frame, &field)) {
        if (field.number == 3) receipted += field.value == last; // all of this conversation
        if (field.number == 5) keep_version(&sender->version, field.bytes);
    }
}

static void on_frame(Peer *peer, unsigned member, View frame) {
    bool sends = peer->number < senders.count;
    if (member == SERVER_ACCEPTED && sends) on_accepted(peer, frame);
    else if (member == SERVER_MESSAGE && !sends) on_message(peer, frame);
    else if (member == SERVER_RECEIPT && sends) on_receipt(peer->state, frame);
    else die("user %u: did not expect frame %u", peer->number, member);
}

static void connect_all(Peer **peers, size_t count, bool receive) {
    for (size_t i = 0; i < count; i++) {
        bool sends = i < senders.count;
        const User *user = sends ? &senders.list[i] : &recipients.list[i - senders.count];
        peers[i] = peer_connect(user, (uint32_t)i, receive);
        peers[i]->state = check_alloc(calloc(1, sends ? sizeof(Sender) : sizeof(Recipient)));
        if (i % 64 == 63) await_welcomes(i - 31); // the listener's queue must not overflow
    }
    await_welcomes(count);
}

static void run_until(uint64_t accepted, uint64_t received, uint64_t receipts) {
    uint64_t before = 0, progress = clock_ns(CLOCK_MONOTONIC);
    while (completed < accepted || delivered < received || receipted < receipts) {
        loop_turn(100);
        if (completed + delivered + receipted != before) progress = loop.now_ns;
        before = completed + delivered + receipted;
        if (loop.now_ns - progress > 30000000000u)
            die("nothing came for 30 s: %lu of %lu accepted, %lu delivered, %lu conversations receipted", completed, accepted,
                delivered, receipted);
    }
}

int main(int argc, char **argv) {
    bool connect = !strcmp(option(argc, argv, "--connect", "no"), "yes");
    loop_open(argc, argv, on_frame);
    senders = read_users(option(argc, argv, "--senders", "senders.txt"));
    recipients = read_users(option(argc, argv, "--recipients", "recipients.txt"));
    first = option_int(argc, argv, "--first", 1);
    window = option_int(argc, argv, "--window", 128);
    body_len = option_int(argc, argv, "--body", 1024);
    last = first + option_int(argc, argv, "--each", 1) - 1;
    total_each = (last - first + 1) * recipients.count;
    if (body_len > sizeof body) die("--body: at most %zu", sizeof body);
    for (size_t i = 0; i < body_len; i++) body[i] = (uint8_t)(i * 131 + (i >> 8)); // the bytes do not matter
    Peer **peers = check_alloc(calloc(senders.count + recipients.count, sizeof *peers));
    size_t connected = senders.count + (connect ? recipients.count : 0);
    connect_all(peers, connected, connect);

    uint64_t start = clock_ns(CLOCK_MONOTONIC), cpu = server_cpu_ns(), wanted = senders.count * total_each;
    for (size_t i = 0; i < senders.count; i++) refill(peers[i]);
    loop_flush();
    run_until(wanted, connect ? wanted : 0, connect ? senders.count * recipients.count : 0);
    for (size_t i = 0; i < senders.count; i++) put_acks(peers[i], peers[i]->state);
    for (size_t i = senders.count; i < connected; i++)
        if (((Recipient *)peers[i]->state)->got != wanted / recipients.count) die("recipient %zu has another count", i);
    loop_flush();
    printf("{\"conversations\": %zu, \"messages\": %lu, \"seconds\": %.2f, \"server_us\": %.2f}\n",
           senders.count * recipients.count, completed, (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e9,
           (double)(server_cpu_ns() - cpu) / 1e3 / (double)completed);
}
