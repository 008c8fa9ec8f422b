/* A client with a clock and a server that the test plays. */
#ifndef WORLD_H
#define WORLD_H

#include "check.h"
#include "rollcall.h"

#include <string.h>

enum { RX = 4096, TX = 4096, REQUESTS = 3, PUSHES = 2 };

/* All that the client has told, and what its functions are to do. */
struct world {
    rc_client c;
    rc_config cfg;
    uint32_t now, random;
    char rx[RX], tx[TX], address[32];
    rc_request_slot requests[REQUESTS];
    rc_push_slot pushes[PUSHES];
    rc_field fields[4];

    int states[8]; /* how often each rc_state was told */
    int n_states, messages, n_pushes, replies, tokens, status;
    rc_status last;
    char user[64], text[256], body[256], reply[256];
    uint16_t code;
    rc_message request;
    char from[64];
    int verdict, push_verdict;
    bool no_token, close_in_message, close_in_state;
    uint8_t push_id[16];

    /* The server's side. */
    char out[TX]; /* what the client has written and take has not returned yet */
    size_t out_len;
};

static struct world w;

static bool on_token(void *ctx, rc_slice *token)
{
    static char text[16];
    CHECK(ctx == &w, "another ctx");
    snprintf(text, sizeof text, "t%d", ++w.tokens);
    *token = rc_text(text);
    return !w.no_token;
}

static void keep(char *to, size_t size, rc_slice s)
{
    CHECK(s.len < size, "a text of %zu bytes", s.len);
    if (s.len)
        memcpy(to, s.data, s.len);
    to[s.len] = 0;
}

static void on_state(void *ctx, const rc_status *s)
{
    CHECK(ctx == &w && w.n_states >= 0, "another ctx");
    CHECK(w.states[RC_STATE_CLOSED] == 0, "a state after closed");
    w.states[s->state]++;
    w.n_states++;
    w.last = *s;
    keep(w.user, sizeof w.user, s->user);
    keep(w.text, sizeof w.text, s->why.text);
    if (w.close_in_state)
        rc_close(&w.c, w.now);
}

static int on_message(void *ctx, const rc_message *m)
{
    CHECK(ctx == &w, "another ctx");
    w.messages++;
    keep(w.body, sizeof w.body, m->body);
    keep(w.from, sizeof w.from, m->from);
    w.request = *m;
    w.request.from = rc_text(w.from);
    if (w.close_in_message)
        rc_close(&w.c, w.now);
    return w.verdict;
}

static int on_push(void *ctx, const rc_push *p)
{
    CHECK(ctx == &w, "another ctx");
    w.n_pushes++;
    memcpy(w.push_id, p->id, 16);
    keep(w.body, sizeof w.body, p->content);
    return w.push_verdict;
}

static void on_reply(void *arg, const rc_reply *r)
{
    CHECK(arg == &w, "another arg");
    w.replies++;
    w.status = r->status;
    w.code = r->why.code;
    keep(w.reply, sizeof w.reply, r->message ? r->message->body : rc_text(NULL));
    if (r->users.len)
        keep(w.reply, sizeof w.reply, r->users);
}

static uint32_t on_random(void *ctx)
{
    CHECK(ctx == &w, "another ctx");
    return w.random;
}

/* Begins a client at this time. */
static void begin_world(uint32_t now)
{
    memset(&w, 0, sizeof w);
    w.now = now;
    w.cfg.user = "alice";
    w.cfg.on_state = on_state;
    w.cfg.on_message = on_message;
    w.cfg.on_push = on_push;
    w.cfg.random = on_random;
    w.cfg.ctx = &w;
    w.cfg.memory = (rc_memory){w.rx, RX, w.tx, TX, w.requests, REQUESTS, w.pushes, PUSHES, w.address, sizeof w.address};
}

static void init(void) { CHECK(rc_init(&w.c, &w.cfg, w.now) == RC_OK, "refused"); }

/* Moves what waits to be written to the server. */
static void write_all(void)
{
    size_t n;
    const char *p = rc_tx(&w.c, &n);
    CHECK(w.out_len + n <= TX, "too much");
    memcpy(w.out + w.out_len, p, n);
    w.out_len += n;
    rc_written(&w.c, n, w.now);
}

static void tick(void)
{
    rc_tick(&w.c, w.now);
    write_all();
}

/* Lets ms pass, with a tick whenever the client wants one. */
static void pass(uint32_t ms)
{
    uint32_t end = w.now + ms;
    for (;;) {
        uint32_t wait = rc_tick(&w.c, w.now), left = end - w.now;
        write_all();
        if (left == 0)
            return;
        w.now += wait == 0 ? 1 : wait < left ? wait : left;
    }
}

/* Takes the next frame that the client has written; false if there is none. Its slices are valid until the next call. */
static bool take(rc_message *m)
{
    static char frame[TX];
    size_t size;
    write_all();
    if (w.out_len == 0)
        return false;
    memcpy(frame, w.out, w.out_len);
    CHECK(rc_decode(frame, w.out_len, TX, TX, m, &size) == RC_OK, "no frame");
    w.out_len -= size;
    memmove(w.out, w.out + size, w.out_len);
    return true;
}

/* Takes a frame that has to be of this type and have these flags. */
static rc_message want(uint16_t type, uint8_t flags)
{
    rc_message m = {0};
    CHECK(take(&m), "nothing was written");
    CHECK(m.type == type && m.flags == flags, "type %x, flags %d", m.type, m.flags);
    return m;
}

static void want_nothing(void)
{
    rc_message m = {0};
    CHECK(!take(&m), "type %x, flags %d", m.type, m.flags);
}

static void bytes_come(const char *p, size_t n)
{
    while (n > 0) {
        size_t room, part;
        char *to = rc_rx(&w.c, &room);
        part = n < room ? n : room;
        CHECK(room > 0, "no room");
        memcpy(to, p, part);
        rc_received(&w.c, part, w.now);
        p += part;
        n -= part;
    }
}

static void send_frame(uint16_t type, uint8_t flags, uint32_t id, const char *from, rc_slice body)
{
    static char frame[4 * RX];
    rc_message m = {0};
    size_t size;
    m.type = type;
    m.flags = flags;
    m.id = id;
    m.from = rc_text(from);
    m.body = body;
    CHECK(rc_encode(&m, frame, sizeof frame, &size) == RC_OK, "not encoded");
    bytes_come(frame, size);
}

/* Writes a string map of pairs "key=value", separated by spaces, behind a code and a text, unless that is NULL. */
static rc_slice body_of(int code, const char *text, const char *pairs)
{
    static char b[1024];
    char *p = b, *count;
    *p++ = (char)(code >> 8);
    *p++ = (char)(code & 0xFF);
    if (text) {
        *p++ = 0;
        *p++ = (char)(uint8_t)strlen(text);
        memcpy(p, text, strlen(text));
        p += strlen(text);
    }
    count = p;
    *p++ = 0;
    while (*pairs) {
        size_t key = strcspn(pairs, "="), value = strcspn(pairs + key + 1, " ");
        *count = (char)(*count + 1);
        *p++ = (char)key;
        memcpy(p, pairs, key);
        p += key;
        *p++ = (char)(value >> 8);
        *p++ = (char)(value & 0xFF);
        memcpy(p, pairs + key + 1, value);
        p += value;
        pairs += key + 1 + value;
        pairs += *pairs == ' ';
    }
    return (rc_slice){b, (size_t)(p - b)};
}

static void send_close(int code, const char *text, const char *pairs) { send_frame(RC_TYPE_CLOSE, 0, 0, "", body_of(code, text, pairs)); }

/* Opens the connection that the client wants by now. */
static void open_connection(void)
{
    tick();
    CHECK(rc_should_connect(&w.c), "no attempt");
    CHECK(!rc_should_connect(&w.c), "twice the same attempt");
    w.out_len = 0;
    rc_connected(&w.c, w.now);
}

/* Answers the Logon, and returns the fields that it had. */
static rc_slice welcome(const char *pairs)
{
    rc_message m = want(RC_TYPE_LOGON, 0);
    rc_slice fields;
    CHECK(m.id != 0 && rc_parse_map(m.body, &fields), "a bad Logon");
    send_frame(RC_TYPE_LOGON, RC_FLAG_REPLY, m.id, "", body_of(0, NULL, pairs));
    return fields;
}

static void go_online(const char *pairs)
{
    int before = w.states[RC_STATE_ONLINE];
    open_connection();
    welcome(pairs);
    CHECK(w.states[RC_STATE_ONLINE] == before + 1, "not online");
}

/* Closes the socket, as the client wants. */
static void disconnect(void)
{
    CHECK(rc_should_disconnect(&w.c), "it keeps the connection");
    rc_disconnected(&w.c, w.now);
    CHECK(!rc_should_disconnect(&w.c), "it still has a connection");
}

static bool has(rc_slice map, const char *key, const char *value)
{
    rc_slice v;
    return rc_map_get(map, key, &v) && v.len == strlen(value) && memcmp(v.data, value, v.len) == 0;
}

/* Runs tests three times: from time 0, and over the two places where 32-bit times wrap around. Returns main's result. */
static int run(void (*const tests[])(void), size_t n)
{
    static const uint32_t times[] = {0, UINT32_MAX - 1000, INT32_MAX - 1000};
    for (size_t t = 0; t < 3; t++)
        for (size_t i = 0; i < n; i++) {
            begin_world(times[t]);
            tests[i]();
        }
    printf("%d checks\n", checks);
    return 0;
}

#endif
