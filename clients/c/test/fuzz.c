/* Random and damaged bytes in random pieces, calls in random order, and time that passes: AddressSanitizer and UndefinedBehaviorSanitizer watch.
 * The argument is how many streams there are; a second one is the first seed. */
#include "world.h"

static uint64_t seed;

static uint32_t any(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static uint32_t any_bits(void *ctx)
{
    (void)ctx;
    return any(0x7FFFFFFF);
}

static void any_reply(void *arg, const rc_reply *r)
{
    rc_slice users = r->users, id, key, value, info = r->why.info;
    (void)arg;
    while (rc_user_next(&users, &id))
        CHECK(rc_is_user_id(id), "a bad user ID");
    while (rc_map_next(&info, &key, &value))
        CHECK(key.len > 0, "an empty key");
}

static int any_message(void *ctx, const rc_message *m)
{
    static char copy[RX];
    (void)ctx;
    if (m->body.len)
        memcpy(copy, m->body.data, m->body.len); /* reads all of it */
    if (m->id && any(2))
        rc_reply_to(&w.c, m, copy, any(20));
    if (any(50) == 0)
        rc_close(&w.c, w.now);
    return any(2) ? RC_OK : RC_NO_HANDLER;
}

static int any_push(void *ctx, const rc_push *p)
{
    rc_slice pairs = p->metadata, key, value;
    (void)ctx;
    memcpy(w.push_id, p->id, 16);
    while (rc_map_next(&pairs, &key, &value))
        CHECK(key.len > 0, "an empty key");
    return any(2) ? RC_OK : RC_LATER;
}

/* Writes a frame as a server may send it, or nearly. */
static size_t any_frame(char *p, size_t room)
{
    static const char *const bodies[] = {"", "hello", "\0\0\1\7session\0\2s1", "\3\xec\0\2hi\1\10retry-ms\0\1" "7", "\0\1\3bob", "\1\1a\0\1b",
        "0123456789abcdef\1\1\0\0\0\0\0\0\0\1\0\0text", "\0\0\2\12expires-ms\0\3" "900\14heartbeat-ms\0\3" "200"};
    static const size_t lengths[] = {0, 5, 14, 18, 6, 6, 32, 38};
    static const uint16_t types[] = {1, 2, 0xFF00, 0xFF01, 0xFF02, 0xFF03, 0xFF05, 0xFF09, 0xFF0A, 0xFFFF};
    rc_message m = {0};
    size_t size, i = any(8);
    m.type = types[any(10)];
    m.flags = (uint8_t)(any(2) ? 0 : any(2) ? 1 : 3);
    m.id = any(3) ? any(2) : w.c.last_id - any(3);
    m.from = rc_text(any(3) ? "" : "bob");
    m.body = (rc_slice){bodies[i], lengths[i]};
    if (rc_encode(&m, p, room, &size) != RC_OK)
        return 0;
    while (any(4) == 0)
        p[any((uint32_t)size)] = (char)any(256);
    return size;
}

static void call(void)
{
    const char *users[] = {"bob", "carol"};
    switch (any(8)) {
    case 0:
        rc_send(&w.c, (uint16_t)any(0x10000), any(2) ? "bob" : NULL, w.body, any(sizeof w.body));
        break;
    case 1:
        rc_request(&w.c, w.now, 1, "bob", w.body, any(200), any(500), any_reply, NULL);
        break;
    case 2:
        rc_who_is_online(&w.c, w.now, users, any(3), any(500), any_reply, NULL);
        break;
    case 3:
        rc_ack(&w.c, w.push_id);
        break;
    case 4:
        w.now += any(3000);
        break;
    default:
        w.now += any(50);
    }
}

static void stream(size_t rx, size_t tx)
{
    char *in = malloc(rx), *out = malloc(tx), frames[256];
    bool open = false;
    begin_world(any_bits(NULL) << 1);
    w.cfg.memory.rx = in;
    w.cfg.memory.rx_size = rx;
    w.cfg.memory.tx = out;
    w.cfg.memory.tx_size = tx;
    w.cfg.on_state = NULL;
    w.cfg.on_message = any_message;
    w.cfg.on_push = any_push;
    w.cfg.random = any_bits;
    w.cfg.retry_first = true;
    w.cfg.max_ms = 100;
    init();
    for (int i = 0; i < 60; i++) {
        size_t n = 0, sent;
        rc_tick(&w.c, w.now);
        if (rc_should_disconnect(&w.c) || (open && any(40) == 0)) {
            rc_disconnected(&w.c, w.now);
            open = false;
        }
        if (rc_should_connect(&w.c)) {
            rc_connected(&w.c, w.now);
            open = true;
            if (any(8)) { /* mostly the Logon is accepted */
                memcpy(frames, "\x52\x11\xff\1\0\0\0\2\0\0\0\1\0\0\0\0\0\0", 18);
                n = 18;
            }
        }
        if (open && n == 0 && any(6)) {
            n = any_frame(frames, sizeof frames);
        } else if (open && n == 0) {
            n = any(sizeof frames);
            for (size_t k = 0; k < n; k++)
                frames[k] = (char)any(256);
        }
        for (size_t done = 0; open && done < n;) {
            size_t room, part = 1 + any((uint32_t)(n - done));
            char *to = rc_rx(&w.c, &room);
            CHECK(room > 0, "no room");
            part = part < room ? part : room;
            memcpy(to, frames + done, part);
            rc_received(&w.c, part, w.now);
            done += part;
        }
        call();
        rc_tx(&w.c, &sent);
        CHECK(sent <= tx, "more than there is");
        if (open && sent > 0)
            rc_written(&w.c, 1 + any((uint32_t)sent), w.now);
    }
    rc_close(&w.c, w.now);
    rc_disconnected(&w.c, w.now);
    CHECK(rc_get_state(&w.c) == RC_STATE_CLOSED, "not closed");
    free(in);
    free(out);
}

int main(int argc, char **argv)
{
    unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    for (unsigned long i = 0; i < n; i++) {
        seed = (first + i) * 0x9E3779B97F4A7C15u;
        stream(64 + any(512), 256 + any(512));
    }
    printf("%lu streams, %d checks\n", n, checks);
    return 0;
}
