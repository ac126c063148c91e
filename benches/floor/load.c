// Load: pairs of connections with a window of messages in flight; or one sender to everybody. Drives `relay` and
// `pyrouter serve` alike, checks all that comes back, and prints one line of JSON.
//
//   load --users FILE [--pairs 200] [--window 1] [--body 160] [--seconds 5] [--warmup 1] [--messages N]
//        [--ack each|turn|16] [--flight receipt|accepted] [--writes turn|each] [--group HEX --members 1023]
//        [--server-pid PID] [--host H] [--port P]
//
// Line 2k of the file sends to line 2k+1. A message is in flight until its receipt (or `accepted`, by --flight). The
// recipient acks each message, once a turn, or every 16 messages or 100 ms. `--writes each` gives every frame a send()
// of its own, as messages of people come; else a connection's frames of one turn leave together. With --group, line 0
// sends to that conversation and lines 1…members receive; a message is in flight until all have it. With --messages that
// many are sent in all (times and CPU are those of all of them), instead of as many as come through in --seconds.
//
// Checked: accepted frames in the order of the sends, numbers without a gap, every body byte for byte, receipts that
// only grow and never pass what was sent; at the end everything sent was accepted, delivered and receipted.
#include "latency.h"
#include "peer.h"

#include <sys/random.h>

#define ACK_EVERY 16
#define ACK_NS 100000000u
#define RING 1024 // more than the widest window
#define MAX_BODY 65536

typedef enum { ACK_EACH, ACK_TURN, ACK_SOME } AckMode;

// A sending connection; also the pair's shared truth, as both ends are here.
typedef struct {
    Peer *from, *to;
    uint64_t sent, accepted, delivered, receipted; // counts of this run
    uint64_t base;                                 // the conversation's head before this run
    uint64_t told_accepted;
    Version version;
    uint8_t conversation[CONVERSATION_LEN]; // once a message was accepted
    uint64_t sent_at[RING];
    uint32_t missing[RING]; // in a group: how many members still lack it
} Pair;

// A receiving connection.
typedef struct {
    Peer *peer;
    Pair *pair;
    uint64_t seq, got, acked; // numbers, but `got` counts this run's
    uint64_t since;           // when the oldest message without an ack came; 0: none
    uint8_t conversation[CONVERSATION_LEN];
} Receiver;

static Users users;
static Pair *pairs;
static Receiver *receivers;
static size_t pair_count, receiver_count, body_len, window;
static uint64_t most = UINT64_MAX; // messages of a pair
static AckMode ack_mode;
static bool until_receipt, stopping, in_group;
static uint8_t group_id[CONVERSATION_LEN], run_tag[8], pattern[MAX_BODY];
static uint64_t completed, deliveries, stale;
static Latency latency;
static Receiver **to_ack;
static size_t to_ack_count;

// ---- sending ----
static void make_body(uint8_t *body, size_t number, uint64_t count) {
    uint64_t head[2] = {number, count};
    memcpy(body, head, body_len < sizeof head ? body_len : sizeof head);
    if (body_len > sizeof head) memcpy(body + sizeof head, pattern, body_len - sizeof head);
}

static void make_id(uint8_t id[12], uint64_t count) {
    uint32_t low = (uint32_t)count;
    memcpy(id, run_tag, 8);
    memcpy(id + 8, &low, 4);
}

static void put_ack(Peer *peer, const uint8_t *conversation, uint64_t seq) {
    uint8_t inner[64], *at = inner;
    at = put_bytes(at, 1, conversation, CONVERSATION_LEN);
    at = put_uint(at, 2, seq);
    peer_put(peer, CLIENT_ACK, inner, (size_t)(at - inner));
}

// What a sender saw: which messages were accepted, and its last receipt version.
static void confirm(Pair *pair) {
    static uint8_t inner[MOST_ACCEPTED * 10 + VERSION_LEN + 64];
    while (pair->told_accepted < pair->accepted) {
        uint64_t first = pair->base + pair->told_accepted + 1, count = pair->accepted - pair->told_accepted;
        uint8_t *at = inner;
        if (count > MOST_ACCEPTED) count = MOST_ACCEPTED;
        if (pair->version.len) at = put_bytes(at, 3, pair->version.bytes, pair->version.len);
        at = put_accepted(at, pair->conversation, first, count);
        pair->told_accepted += count;
        peer_put(pair->from, CLIENT_ACK, inner, (size_t)(at - inner));
    }
}

static void send_one(Pair *pair) {
    static uint8_t inner[MAX_BODY + 256], body[MAX_BODY];
    uint8_t id[12], *at = inner;
    size_t number = (size_t)(pair - pairs);
    make_id(id, pair->sent);
    make_body(body, number, pair->sent);
    at = put_bytes(at, 1, id, sizeof id);
    if (in_group) {
        at = put_bytes(at, 3, group_id, sizeof group_id);
    } else {
        const char *name = users.list[pair->to->number].name;
        at = put_bytes(at, 2, name, strlen(name));
    }
    at = put_bytes(at, 5, body, body_len);
    peer_put(pair->from, CLIENT_SEND, inner, (size_t)(at - inner));
    pair->sent_at[pair->sent % RING] = loop.now_ns;
    pair->missing[pair->sent % RING] = (uint32_t)receiver_count;
    pair->sent++;
    // As the client library does: what it saw is told beside its sends, now and then.
    if (pair->accepted - pair->told_accepted >= ACK_EVERY) confirm(pair);
}

static uint64_t done(const Pair *pair) {
    if (in_group) return pair->delivered;
    return until_receipt ? pair->receipted : pair->accepted;
}

static void refill(Pair *pair) {
    while (!stopping && pair->sent < most && pair->sent - done(pair) < window) send_one(pair);
}

// ---- receiving ----
static void on_accepted(Pair *pair, View frame) {
    Field field;
    uint8_t id[12];
    uint64_t seq = 0;
    bool same = false;
    make_id(id, pair->accepted);
    while (get_field(&frame, &field)) {
        if (field.number == 1) same = view_is(field.bytes, id, sizeof id);
        if (field.number == 2 && view_len(field.bytes) == CONVERSATION_LEN) memcpy(pair->conversation, field.bytes.at, CONVERSATION_LEN);
        if (field.number == 3) seq = field.value;
    }
    if (!same) die("user %u: accepted out of order", pair->from->number);
    if (pair->accepted == 0) pair->base = seq - 1;
    if (seq != pair->base + pair->accepted + 1) die("user %u: number %lu is not the next", pair->from->number, seq);
    pair->accepted++;
    if (!in_group && !until_receipt) {
        latency_add(&latency, loop.now_ns - pair->sent_at[(pair->accepted - 1) % RING]);
        completed++;
        refill(pair);
    }
}

static void on_receipt(Pair *pair, View frame) {
    Field field;
    uint64_t delivered = 0;
    while (get_field(&frame, &field)) {
        if (field.number == 3) delivered = field.value;
        if (field.number == 5) keep_version(&pair->version, field.bytes);
    }
    if (in_group || !pair->accepted || delivered <= pair->base) return; // one of many; of an earlier run
    delivered -= pair->base;
    if (delivered < pair->receipted || delivered > pair->sent)
        die("user %u: receipt for %lu after %lu, %lu sent", pair->from->number, delivered, pair->receipted, pair->sent);
    if (until_receipt) {
        for (uint64_t i = pair->receipted; i < delivered; i++) latency_add(&latency, loop.now_ns - pair->sent_at[i % RING]);
        completed += delivered - pair->receipted;
    }
    pair->receipted = delivered;
    if (until_receipt) refill(pair);
}

// In a group: who has what is not followed, but that it was told is acknowledged, as clients do.
static void on_receipts(Pair *pair, View frame) {
    Field field;
    while (get_field(&frame, &field))
        if (field.number == 3) keep_version(&pair->version, field.bytes);
}

static void ack(Receiver *receiver) {
    put_ack(receiver->peer, receiver->conversation, receiver->seq);
    receiver->acked = receiver->seq;
    receiver->since = 0;
}

static void want_ack(Receiver *receiver) {
    if (ack_mode == ACK_EACH || (ack_mode == ACK_SOME && receiver->seq - receiver->acked >= ACK_EVERY)) {
        ack(receiver);
    } else if (!receiver->since) {
        receiver->since = loop.now_ns;
        if (ack_mode == ACK_TURN) to_ack[to_ack_count++] = receiver;
    }
}

static void check_message(Receiver *receiver, View id, View body, uint64_t seq) {
    static uint8_t expected[MAX_BODY];
    uint8_t expected_id[12];
    Pair *pair = receiver->pair;
    if (receiver->got && seq != receiver->seq + 1) die("user %u: number %lu after %lu", receiver->peer->number, seq, receiver->seq);
    if (view_len(id) != 12 || memcmp(id.at, run_tag, 8)) { // left over from an earlier run: taken, not counted
        receiver->seq = seq;
        stale++;
        return want_ack(receiver);
    }
    make_id(expected_id, receiver->got);
    make_body(expected, (size_t)(pair - pairs), receiver->got);
    if (memcmp(id.at, expected_id, 12)) die("user %u: message out of order", receiver->peer->number);
    if (!view_is(body, expected, body_len)) die("user %u: message %lu has another body", receiver->peer->number, seq);
    receiver->got++;
    receiver->seq = seq;
    deliveries++;
    want_ack(receiver);
    if (!in_group) {
        pair->delivered++;
    } else if (--pair->missing[(receiver->got - 1) % RING] == 0) {
        latency_add(&latency, loop.now_ns - pair->sent_at[pair->delivered % RING]);
        pair->delivered++; // in order for each, so in order for all
        completed++;
        refill(pair);
    }
}

static void on_message(Receiver *receiver, View frame) {
    Field field;
    View id = {0}, body = {0};
    uint64_t seq = 0;
    while (get_field(&frame, &field)) {
        if (field.number == 1) {
            if (view_len(field.bytes) != CONVERSATION_LEN) die("user %u: a conversation that is none", receiver->peer->number);
            memcpy(receiver->conversation, field.bytes.at, CONVERSATION_LEN);
        }
        if (field.number == 2) seq = field.value;
        if (field.number == 5) id = field.bytes;
        if (field.number == 7) body = field.bytes;
    }
    check_message(receiver, id, body, seq);
}

// What the sender did to the group comes back to it, unlike what it sends.
static void on_own_change(Pair *pair, View frame) {
    Field field;
    uint64_t seq = 0;
    while (get_field(&frame, &field))
        if (field.number == 2) seq = field.value;
    put_ack(pair->from, group_id, seq);
}

static void on_frame(Peer *peer, unsigned member, View frame) {
    bool sends = in_group ? peer->number == 0 : peer->number % 2 == 0;
    if (member == SERVER_ACCEPTED && sends) on_accepted(peer->state, frame);
    else if (member == SERVER_RECEIPT && sends) on_receipt(peer->state, frame);
    else if (member == SERVER_RECEIPTS && sends) on_receipts(peer->state, frame);
    else if (member == SERVER_MESSAGE && !sends) on_message(peer->state, frame);
    else if (member == SERVER_MESSAGE && in_group) on_own_change(peer->state, frame);
    else if (member == SERVER_GROUP && in_group) return; // what a newcomer starts from
    else die("user %u: did not expect frame %u", peer->number, member);
}

// Acks that waited for the end of the turn, or for their 100 ms.
static void late_acks(void) {
    static uint64_t last;
    for (size_t i = 0; i < to_ack_count; i++) ack(to_ack[i]);
    to_ack_count = 0;
    if (ack_mode != ACK_SOME || loop.now_ns - last < ACK_NS / 8) return;
    last = loop.now_ns;
    for (size_t i = 0; i < receiver_count; i++)
        if (receivers[i].since && loop.now_ns - receivers[i].since >= ACK_NS) ack(&receivers[i]);
}

static void turn(int wait_ms) {
    loop_turn(ack_mode == ACK_SOME && wait_ms > 10 ? 10 : wait_ms);
    late_acks();
    loop_flush();
}

// ---- the run ----
typedef struct {
    uint64_t wall_ns, server_ns, client_ns, completed, deliveries;
    double user, system;
} Mark;

static Mark mark(void) {
    Mark now = {clock_ns(CLOCK_MONOTONIC), server_cpu_ns(), clock_ns(CLOCK_PROCESS_CPUTIME_ID), completed, deliveries, 0, 0};
    server_cpu_split(&now.user, &now.system);
    return now;
}

static void run_until(uint64_t end_ns) {
    uint64_t now;
    while ((now = clock_ns(CLOCK_MONOTONIC)) < end_ns) turn((int)((end_ns - now) / 1000000) + 1);
}

// Until all that is to be sent came through.
static void run_out(void) {
    uint64_t start = clock_ns(CLOCK_MONOTONIC), all = most * pair_count;
    while (completed < all) {
        turn(100);
        if (clock_ns(CLOCK_MONOTONIC) - start > 900000000000u) die("%lu of %lu messages after 900 s", completed, all);
    }
}

static bool drained(void) {
    for (size_t i = 0; i < pair_count; i++) {
        const Pair *pair = &pairs[i];
        if (pair->accepted < pair->sent || pair->delivered < pair->sent) return false;
        if (!in_group && pair->receipted < pair->sent) return false;
    }
    return true;
}

static void drain(void) {
    uint64_t start = clock_ns(CLOCK_MONOTONIC), total[4] = {0};
    stopping = true;
    while (!drained() && clock_ns(CLOCK_MONOTONIC) - start < 30000000000u) turn(100);
    for (size_t i = 0; i < pair_count; i++) {
        total[0] += pairs[i].sent;
        total[1] += pairs[i].accepted;
        total[2] += pairs[i].delivered;
        total[3] += pairs[i].receipted;
    }
    if (!drained())
        die("30 s after the end: %lu sent, %lu accepted, %lu delivered, %lu receipted", total[0], total[1], total[2], total[3]);
}

static void connect_pairs(size_t members) {
    size_t needed = in_group ? members + 1 : pair_count * 2;
    if (users.count < needed) die("--users: %zu lines, %zu are needed", users.count, needed);
    pair_count = in_group ? 1 : pair_count;
    receiver_count = in_group ? members : pair_count;
    pairs = check_alloc(calloc(pair_count, sizeof *pairs));
    receivers = check_alloc(calloc(receiver_count, sizeof *receivers));
    to_ack = check_alloc(calloc(receiver_count, sizeof(Receiver *)));
    for (size_t i = 0; i < receiver_count; i++) {
        size_t number = in_group ? i + 1 : i * 2 + 1;
        Pair *pair = in_group ? pairs : &pairs[i];
        receivers[i] = (Receiver){.peer = peer_connect(&users.list[number], (uint32_t)number, true), .pair = pair};
        receivers[i].peer->state = &receivers[i];
        pair->to = receivers[i].peer;
    }
    for (size_t i = 0; i < pair_count; i++) {
        pairs[i].from = peer_connect(&users.list[i * 2], (uint32_t)(i * 2), true);
        pairs[i].from->state = &pairs[i];
    }
    await_welcomes(needed);
}

static void print_report(const Mark *from, const Mark *to) {
    double count = (double)(to->completed - from->completed), took = (double)(to->wall_ns - from->wall_ns) / 1e9;
    double server = (double)(to->server_ns - from->server_ns) / 1e3, client = (double)(to->client_ns - from->client_ns) / 1e3;
    if (count == 0) die("no message was completed in %.1f s", took);
    printf("{\"connections\": %zu, \"window\": %zu, \"body\": %zu, \"seconds\": %.3f, \"messages\": %.0f, \"deliveries\": %lu, "
           "\"rate\": %.1f, \"server_us\": %.3f, \"server_us_per_delivery\": %.3f, \"server_user_us\": %.2f, "
           "\"server_system_us\": %.2f, \"client_us\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"stale\": %lu}\n",
           pair_count + receiver_count, window, body_len, took, count, to->deliveries - from->deliveries, count / took,
           server / count, server / (double)(to->deliveries - from->deliveries), (to->user - from->user) * 1e6 / count, (to->system - from->system) * 1e6 / count, client / count,
           latency_us(&latency, 0.5), latency_us(&latency, 0.99), stale);
}

static AckMode parse_ack(const char *text) {
    if (!strcmp(text, "each")) return ACK_EACH;
    if (!strcmp(text, "turn")) return ACK_TURN;
    if (!strcmp(text, "16")) return ACK_SOME;
    die("--ack: each, turn or 16, not %s", text);
}

static void parse_group(const char *hex) {
    in_group = hex != NULL;
    for (size_t i = 0; hex && i < CONVERSATION_LEN; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &group_id[i]) != 1) die("--group: 32 hexadecimal digits, not %s", hex);
}

int main(int argc, char **argv) {
    loop_open(argc, argv, on_frame);
    users = read_users(option(argc, argv, "--users", "users.txt"));
    pair_count = option_int(argc, argv, "--pairs", 200);
    window = option_int(argc, argv, "--window", 1);
    body_len = option_int(argc, argv, "--body", 160);
    ack_mode = parse_ack(option(argc, argv, "--ack", window == 1 ? "each" : "turn"));
    until_receipt = !strcmp(option(argc, argv, "--flight", "receipt"), "receipt");
    parse_group(option(argc, argv, "--group", NULL));
    if (window == 0 || window > RING || body_len < 16 || body_len > MAX_BODY) die("--window 1…%d, --body 16…%d", RING, MAX_BODY);
    if (getrandom(run_tag, sizeof run_tag, 0) != sizeof run_tag || getrandom(pattern, sizeof pattern, 0) < 256)
        die("no random bytes");
    connect_pairs(option_int(argc, argv, "--members", 1023));
    uint64_t count = option_int(argc, argv, "--messages", 0);
    if (count) most = (count + pair_count - 1) / pair_count;

    uint64_t start = clock_ns(CLOCK_MONOTONIC), warm = start + option_ns(argc, argv, "--warmup", 1);
    loop.now_ns = start;
    Mark from = mark();
    for (size_t i = 0; i < pair_count; i++) refill(&pairs[i]);
    loop_flush();
    if (count) {
        run_out();
    } else {
        run_until(warm);
        memset(&latency, 0, sizeof latency);
        from = mark();
        run_until(from.wall_ns + option_ns(argc, argv, "--seconds", 5));
    }
    Mark to = mark();
    drain();
    print_report(&from, &to);
}
