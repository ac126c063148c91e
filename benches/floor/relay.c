// The floor under pyrouter's direct messages: what any server must do for them, in C, and nothing else.
//
// One epoll loop, raw carrier, the same frames and the same socket calls as `pyrouter serve`: a send is read, appended
// to the open batch, made durable by a second thread (one write and one fdatasync for all that waits, then an eventfd);
// then the sender gets `accepted` and the recipient the message; the ack is read, the sender gets a receipt. Everything
// that a connection is owed in a turn leaves in one send(). With `--log none` the second thread is left out.
//
// It is a yardstick, not a server: a user is the number in its name (which is its token too), talks to the user of the
// number beside it, and the conversation's id is that pair's number. A send to the conversation of 16 bytes 0xff goes
// to every connection but the sender's: the floor under fan-out.
//
//   relay --port P [--log FILE|none]      ready line on stdout; at SIGTERM its own getrusage as JSON
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "wire.h"

#define MAX_USERS 65536
#define EVENTS 512
#define READ_BYTES (256 * 1024)
#define BATCH_HEADER 52
#define RECORD_HEADER 10

typedef struct {
    int fd, user; // user: -1 before hello
    bool dirty, magic;
    Buffer in, out; // in: an incomplete frame
} Conn;

typedef struct {
    uint32_t sender, recipient; // recipient == MAX_USERS: everybody
    uint64_t seq, time;
    uint8_t id[32], id_len;
    size_t offset, len; // of the encoded Message in the batch
} Stored;

typedef struct {
    Buffer bytes;
    Stored *items;
    size_t count, cap;
} Batch;

static Conn *users[MAX_USERS];
static uint32_t user_count; // above the highest number seen
static uint64_t heads[MAX_USERS / 2 + 1], cursors[MAX_USERS / 2];
static Conn **dirty;
static size_t dirty_count, dirty_cap;
static Batch batches[2];
static Batch *open_batch = &batches[0];
static int epoll_fd, wake_fd, log_fd = -1;
static uint64_t messages;

// ---- the log: a second thread that has at most one batch, while the loop fills the other ----
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t handed = PTHREAD_COND_INITIALIZER;
static Batch *writing;    // under the lock: handed over, not yet durable
static Batch *in_writing; // the loop's own view of the same

static void *log_thread(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (!writing) pthread_cond_wait(&handed, &lock);
        Batch *batch = writing;
        pthread_mutex_unlock(&lock);
        for (size_t done = 0; done < batch->bytes.len;) {
            ssize_t n = write(log_fd, batch->bytes.data + done, batch->bytes.len - done);
            if (n < 0) die("log: %s", strerror(errno));
            done += (size_t)n;
        }
        if (fdatasync(log_fd)) die("log: %s", strerror(errno));
        pthread_mutex_lock(&lock);
        writing = NULL;
        pthread_mutex_unlock(&lock);
        if (eventfd_write(wake_fd, 1)) die("eventfd: %s", strerror(errno));
    }
    return NULL;
}

static void hand_over(void) {
    if (in_writing || !open_batch->count) return;
    in_writing = open_batch;
    open_batch = &batches[open_batch == &batches[0]];
    pthread_mutex_lock(&lock);
    writing = in_writing;
    pthread_cond_signal(&handed);
    pthread_mutex_unlock(&lock);
}

// ---- output: collected per connection, one send() each at the end of the turn ----
static void put(Conn *conn, unsigned member, const uint8_t *inner, size_t len) {
    uint8_t *start = buffer_room(&conn->out, len + 12);
    conn->out.len += (size_t)(put_frame(start, member, inner, len) - start);
    if (conn->dirty) return;
    conn->dirty = true;
    if (dirty_count == dirty_cap) {
        dirty_cap = dirty_cap ? dirty_cap * 2 : 1024;
        dirty = check_alloc(realloc(dirty, dirty_cap * sizeof *dirty));
    }
    dirty[dirty_count++] = conn;
}

static void drop(Conn *conn) {
    if (conn->user >= 0 && users[conn->user] == conn) users[conn->user] = NULL;
    close(conn->fd);
    conn->fd = -1; // kept until the end of the turn: it may stand in `dirty`
    conn->out.len = 0;
}

static void watch(Conn *conn, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, conn->fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void flush(Conn *conn) {
    if (!conn->out.len) return;
    ssize_t n = send(conn->fd, conn->out.data, conn->out.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return drop(conn);
    if (n > 0) buffer_drop(&conn->out, (size_t)n);
    if (conn->out.len) watch(conn, EPOLLIN | EPOLLOUT);
}

static void flush_all(void) {
    for (size_t i = 0; i < dirty_count; i++) {
        dirty[i]->dirty = false;
        if (dirty[i]->fd >= 0) flush(dirty[i]);
    }
    dirty_count = 0;
}

// ---- a batch that is durable: accepted to senders, messages to recipients ----
static void put_conversation(uint8_t id[CONVERSATION_LEN], uint32_t number) {
    memset(id, number == MAX_USERS / 2 ? 0xff : 0, CONVERSATION_LEN);
    if (number != MAX_USERS / 2) memcpy(id, &number, sizeof number);
}

static void deliver(Batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        const Stored *item = &batch->items[i];
        const uint8_t *message = batch->bytes.data + item->offset;
        uint8_t inner[128], id[CONVERSATION_LEN], *at = inner;
        put_conversation(id, item->recipient / 2);
        at = put_bytes(at, 1, item->id, item->id_len);
        at = put_bytes(at, 2, id, sizeof id);
        at = put_uint(at, 3, item->seq);
        at = put_uint(at, 4, item->time);
        Conn *sender = users[item->sender];
        if (sender) put(sender, SERVER_ACCEPTED, inner, (size_t)(at - inner));
        if (item->recipient < MAX_USERS) {
            Conn *recipient = users[item->recipient];
            if (recipient) put(recipient, SERVER_MESSAGE, message, item->len);
        } else {
            for (uint32_t user = 0; user < user_count; user++)
                if (users[user] && user != item->sender) put(users[user], SERVER_MESSAGE, message, item->len);
        }
    }
    messages += batch->count;
    batch->count = batch->bytes.len = 0;
}

// ---- frames in ----
static int user_number(View name) {
    char digits[16];
    size_t len = view_len(name);
    if (len < 2 || len >= sizeof digits) return -1;
    memcpy(digits, name.at + 1, len - 1); // one letter, then the number
    digits[len - 1] = 0;
    unsigned long number = strtoul(digits, NULL, 10);
    return number < MAX_USERS ? (int)number : -1;
}

static bool on_hello(Conn *conn, View frame) {
    uint8_t inner[128], *at = inner;
    Field field;
    View token = {0};
    while (get_field(&frame, &field))
        if (field.number == 2) token = field.bytes;
    conn->user = user_number(token);
    if (conn->user < 0) return false;
    users[conn->user] = conn;
    if ((uint32_t)conn->user >= user_count) user_count = (uint32_t)conn->user + 1;
    at = put_uint(at, 1, 1);
    at = put_bytes(at, 2, token.at, view_len(token));
    at = put_uint(at, 3, 1);
    at = put_uint(at, 4, wall_ms());
    put(conn, SERVER_WELCOME, inner, (size_t)(at - inner));
    return true;
}

static bool on_send(Conn *conn, View frame) {
    Field field;
    View id = {0}, target = {0}, body = {0};
    bool everybody = false;
    while (get_field(&frame, &field)) {
        if (field.number == 1) id = field.bytes;
        if (field.number == 2) target = field.bytes;
        if (field.number == 3) everybody = true;
        if (field.number == 5) body = field.bytes;
    }
    int to = everybody ? MAX_USERS : user_number(target);
    if (to < 0 || view_len(id) == 0 || view_len(id) > 32) return false;
    Batch *batch = open_batch;
    if (batch->count == batch->cap) {
        batch->cap = batch->cap ? batch->cap * 2 : 1024;
        batch->items = check_alloc(realloc(batch->items, batch->cap * sizeof *batch->items));
    }
    if (!batch->bytes.len) buffer_add(&batch->bytes, (uint8_t[BATCH_HEADER]){0}, BATCH_HEADER);
    Stored *item = &batch->items[batch->count++];
    uint8_t conversation[CONVERSATION_LEN], name[16];
    int name_len = snprintf((char *)name, sizeof name, "u%d", conn->user);
    put_conversation(conversation, (uint32_t)to / 2);
    *item = (Stored){.sender = (uint32_t)conn->user, .recipient = (uint32_t)to, .seq = ++heads[to / 2], .time = wall_ms()};
    item->id_len = (uint8_t)view_len(id);
    memcpy(item->id, id.at, item->id_len);
    buffer_room(&batch->bytes, RECORD_HEADER + view_len(body) + 128);
    item->offset = batch->bytes.len + RECORD_HEADER;
    uint8_t *start = batch->bytes.data + item->offset, *at = start;
    at = put_bytes(at, 1, conversation, sizeof conversation);
    at = put_uint(at, 2, item->seq);
    at = put_bytes(at, 3, name, (size_t)name_len);
    at = put_uint(at, 4, 1);
    at = put_bytes(at, 5, id.at, view_len(id));
    at = put_uint(at, 6, item->time);
    at = put_bytes(at, 7, body.at, view_len(body));
    item->len = (size_t)(at - start);
    memset(start - RECORD_HEADER, 0, RECORD_HEADER);
    memcpy(start - RECORD_HEADER, &item->len, 4);
    batch->bytes.len = item->offset + item->len;
    return true;
}

static bool on_ack(Conn *conn, View frame) {
    Field field;
    uint64_t seq = 0;
    uint32_t number = MAX_USERS;
    while (get_field(&frame, &field)) {
        if (field.number == 1 && view_len(field.bytes) == CONVERSATION_LEN) memcpy(&number, field.bytes.at, 4);
        if (field.number == 2) seq = field.value;
    }
    if (number >= MAX_USERS / 2 || seq <= cursors[number]) return true; // a group's, or it only confirms what was accepted
    cursors[number] = seq;
    Conn *author = users[conn->user ^ 1];
    if (!author) return true;
    uint8_t inner[128], conversation[CONVERSATION_LEN], name[16], *at = inner;
    int name_len = snprintf((char *)name, sizeof name, "u%d", conn->user);
    put_conversation(conversation, number);
    at = put_bytes(at, 1, conversation, sizeof conversation);
    at = put_bytes(at, 2, name, (size_t)name_len);
    at = put_uint(at, 3, seq);
    at = put_bytes(at, 5, &seq, sizeof seq);
    put(author, SERVER_RECEIPT, inner, (size_t)(at - inner));
    return true;
}

static bool on_frame(Conn *conn, View payload) {
    Field field;
    if (!get_field(&payload, &field)) return false;
    if (field.number == CLIENT_HELLO) return on_hello(conn, field.bytes);
    if (conn->user < 0) return false;
    if (field.number == CLIENT_SEND) return on_send(conn, field.bytes);
    if (field.number == CLIENT_ACK) return on_ack(conn, field.bytes);
    return true;
}

static bool on_bytes(Conn *conn, uint8_t *data, size_t len) {
    View rest = {data, data + len}, payload;
    int got;
    if (conn->in.len) { // only an incomplete frame is ever copied
        buffer_add(&conn->in, data, len);
        rest = (View){conn->in.data, conn->in.data + conn->in.len};
    }
    if (!conn->magic) {
        if (view_len(rest) < MAGIC_LEN || memcmp(rest.at, MAGIC, MAGIC_LEN)) return false;
        conn->magic = true;
        rest.at += MAGIC_LEN;
    }
    while ((got = get_frame(&rest, &payload)) > 0)
        if (!on_frame(conn, payload)) return false;
    if (conn->in.len) buffer_drop(&conn->in, conn->in.len - view_len(rest));
    else if (view_len(rest)) buffer_add(&conn->in, rest.at, view_len(rest));
    return got == 0;
}

static void on_socket(Conn *conn, uint32_t events) {
    static uint8_t shared[READ_BYTES];
    if (conn->fd < 0) return;
    if (events & EPOLLOUT) {
        watch(conn, EPOLLIN);
        flush(conn);
    }
    if (conn->fd < 0 || !(events & ~(uint32_t)EPOLLOUT)) return;
    ssize_t n = recv(conn->fd, shared, sizeof shared, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || !on_bytes(conn, shared, (size_t)n)) drop(conn);
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *conn = check_alloc(calloc(1, sizeof *conn));
        conn->fd = fd;
        conn->user = -1;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl: %s", strerror(errno));
    }
}

// ---- start and stop ----
static int listen_at(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) die("port %u: %s", port, strerror(errno));
    return fd;
}

static void add(int fd, void *tag) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static double seconds(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static void report(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"messages\": %llu, \"user_s\": %.3f, \"system_s\": %.3f}\n", (unsigned long long)messages,
           seconds(usage.ru_utime), seconds(usage.ru_stime));
}

int main(int argc, char **argv) {
    const char *log = option(argc, argv, "--log", "none");
    uint16_t port = (uint16_t)option_int(argc, argv, "--port", 7499);
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    int signal_fd = signalfd(-1, &stop, SFD_CLOEXEC), listener = listen_at(port);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    add(listener, &listener);
    add(signal_fd, &signal_fd);
    add(wake_fd, &wake_fd);
    if (strcmp(log, "none")) {
        pthread_t thread;
        log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (log_fd < 0) die("%s: %s", log, strerror(errno));
        if (pthread_create(&thread, NULL, log_thread, NULL)) die("no thread for the log");
    }
    printf("ready 127.0.0.1:%u log %s\n", port, log);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            void *tag = events[i].data.ptr;
            if (tag == &listener) accept_all(listener);
            else if (tag == &signal_fd) return report(), 0;
            else if (tag == &wake_fd) {
                eventfd_t ignored;
                eventfd_read(wake_fd, &ignored);
                deliver(in_writing);
                in_writing = NULL;
            } else on_socket(tag, events[i].events);
        }
        if (log_fd >= 0) hand_over();
        else deliver(open_batch);
        flush_all();
    }
}
