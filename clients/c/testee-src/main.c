/* The testee of the C client; docs/writing-a-client.md describes what it speaks. */
#define _POSIX_C_SOURCE 200809L
#include "../rollcall_openssl.h"
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FIELDS = 64, MOST_TYPES = 64, MOST_ASKED = 4096, LARGEST = 4 << 20 };

/* A request of the server or of a user, until it is answered. */
struct asked {
    rc_message m;
    char from[256];
};

/* A command that waits for its answer. */
struct waiting {
    char *tag, *to;
    bool online;
};

static rc_config cfg;
static rc_field fields[MOST_FIELDS];
static char **tokens;
static size_t n_tokens, next_token, n_types, n_asked;
static long types[MOST_TYPES];
static struct asked *asked;
static rc_posix *client;
static rc_tls *tls;
static bool hold;
static char *last_text;
static unsigned last_code;
static char rx[LARGEST], tx[LARGEST];

static void print_text(const char *key, rc_slice s)
{
    printf(",\"%s\":", key);
    json_print(s.data, s.len);
}

static void print_hex(const char *key, rc_slice s)
{
    printf(",\"%s\":\"", key);
    for (size_t i = 0; i < s.len; i++)
        printf("%02x", (unsigned char)s.data[i]);
    putchar('"');
}

static void end_line(void)
{
    puts("}");
    fflush(stdout);
}

static rc_slice text(const char *s)
{
    rc_slice t = {s ? s : "", s ? strlen(s) : 0};
    return t;
}

static bool on_token(void *ctx, rc_slice *token)
{
    (void)ctx;
    *token = text(tokens[next_token]);
    if (next_token + 1 < n_tokens)
        next_token++;
    return true;
}

static void on_state(void *ctx, const rc_status *s)
{
    static const char *const names[] = {"reconnecting", "online", "closed"};
    (void)ctx;
    printf("{\"event\":\"state\",\"state\":\"%s\"", names[s->state]);
    if (s->state == RC_STATE_ONLINE) {
        print_text("user", s->user.len ? s->user : text(cfg.user));
    } else {
        printf(",\"code\":%u,\"may_reconnect\":%s", s->why.code, s->may_reconnect ? "true" : "false");
        print_text("text", s->why.text);
        last_code = s->why.code;
        free(last_text);
        last_text = strndup(s->why.text.len ? s->why.text.data : "", s->why.text.len);
    }
    end_line();
}

static int on_message(void *ctx, const rc_message *m)
{
    size_t i = 0;
    (void)ctx;
    while (i < n_types && types[i] != m->type)
        i++;
    if (i == n_types)
        return RC_NO_HANDLER;
    printf("{\"event\":\"%s\",\"type\":%u", m->id ? "request" : "message", m->type);
    if (m->id && n_asked < MOST_ASKED) {
        struct asked *a = &asked[n_asked];
        a->m = *m;
        if (m->from.len)
            memcpy(a->from, m->from.data, m->from.len);
        a->m.from.data = a->from;
        printf(",\"request\":%zu", n_asked++);
    }
    print_text("from", m->from);
    print_hex("body", m->body);
    end_line();
    return RC_OK;
}

static void print_id(const uint8_t *id)
{
    for (int i = 0; i < 16; i++)
        printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
}

static int on_push(void *ctx, const rc_push *p)
{
    rc_slice pairs = p->metadata, key, value;
    const char *comma = "";
    (void)ctx;
    printf("{\"event\":\"push\",\"id\":\"");
    print_id(p->id);
    printf("\",\"kind\":%u,\"confirm\":%s,\"time\":%" PRId64 ",\"metadata\":{", p->kind, p->confirm ? "true" : "false", p->time_ms);
    while (rc_map_next(&pairs, &key, &value)) {
        printf("%s", comma);
        json_print(key.data, key.len);
        putchar(':');
        json_print(value.data, value.len);
        comma = ",";
    }
    putchar('}');
    print_text("name", p->name);
    print_hex("body", p->content);
    end_line();
    return hold ? RC_LATER : RC_OK;
}

static void answer(const char *event, const char *tag)
{
    printf("{\"event\":\"%s\"", event);
    print_text("tag", text(tag));
}

static void failed(const char *tag, int err, const rc_reason *why)
{
    static const char *const reasons[] = {"", "invalid", "too-large", "too-large", "not-connected", "closed", "refused", "timeout", "disconnected"};
    answer("error", tag);
    printf(",\"reason\":\"%s\"", reasons[-err]);
    if (err == RC_ERR_REFUSED) {
        printf(",\"code\":%u", why->code);
        print_text("text", why->text);
    }
    end_line();
}

static void on_reply(void *arg, const rc_reply *r)
{
    struct waiting *w = arg;
    rc_slice users = r->users, user;
    const char *comma = "";
    if (r->status != RC_OK) {
        failed(w->tag, r->status, &r->why);
    } else {
        answer("reply", w->tag);
        if (w->online) {
            printf(",\"users\":[");
            for (; rc_user_next(&users, &user); comma = ",") {
                printf("%s", comma);
                json_print(user.data, user.len);
            }
            putchar(']');
        } else {
            print_text("from", r->message->from);
            print_hex("body", r->message->body);
        }
        end_line();
    }
    free(w->tag);
    free(w->to);
    free(w);
}

static void add_field(void *arg, const char *key, const char *value)
{
    rc_field f = {{0}, {0}};
    (void)arg;
    if (cfg.n_fields == MOST_FIELDS)
        return;
    f.key.data = json_string(key, &f.key.len);
    f.value.data = json_string(value, &f.value.len);
    fields[cfg.n_fields++] = f;
}

/* Returns a text that the library takes with a NUL at its end. One with a NUL in it, which no user ID may have, becomes one with another control
 * character, because C cannot pass it on. */
static char *c_string(const char *value)
{
    size_t len;
    char *s = json_string(value, &len), *nul;
    while (s && (nul = memchr(s, 0, len)))
        *nul = 1;
    return s;
}

/* Appends a string of an array to a list of *n. */
struct list {
    char **items;
    size_t n;
};

static void add_item(void *arg, const char *key, const char *value)
{
    struct list *l = arg;
    (void)key;
    l->items = realloc(l->items, (l->n + 1) * sizeof *l->items);
    l->items[l->n++] = c_string(value);
}

static void free_list(struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
}

static void add_type(void *arg, const char *key, const char *value)
{
    (void)arg;
    (void)key;
    if (n_types < MOST_TYPES)
        types[n_types++] = json_number(value, 0);
}

/* Ends what is left of the last client. */
static void forget(void)
{
    struct list old = {tokens, n_tokens};
    rc_posix_free(client);
    rc_tls_free(tls);
    free_list(&old);
    for (size_t i = 0; i < cfg.n_fields; i++) {
        free((char *)fields[i].key.data);
        free((char *)fields[i].value.data);
    }
    free((char *)cfg.user);
    client = NULL;
    tls = NULL;
    tokens = NULL;
    n_tokens = next_token = n_types = n_asked = 0;
    memset(&cfg, 0, sizeof cfg);
}

static void dial(const char *line)
{
    char *address = json_string(json_member(line, "address"), NULL), *host, *port, *ca = json_string(json_member(line, "ca"), NULL);
    struct list l = {0};
    forget();
    json_each(json_member(line, "fields"), add_field, NULL);
    json_each(json_member(line, "tokens"), add_item, &l);
    tokens = l.items;
    n_tokens = l.n;
    types[n_types++] = 1;
    if (json_member(line, "types")) {
        n_types = 0;
        json_each(json_member(line, "types"), add_type, NULL);
    }
    hold = json_member(line, "hold") && *json_member(line, "hold") == 't';
    cfg.user = c_string(json_member(line, "user"));
    cfg.device = (uint16_t)json_number(json_member(line, "device"), 0);
    cfg.fields = fields;
    cfg.memory.rx = rx;
    cfg.memory.tx = tx;
    cfg.memory.rx_size = cfg.memory.tx_size = LARGEST;
    cfg.token = n_tokens ? on_token : NULL;
    cfg.on_state = on_state;
    cfg.on_message = on_message;
    cfg.on_push = on_push;
    cfg.min_ms = (uint32_t)json_number(json_member(line, "min_ms"), 0);
    cfg.max_ms = (uint32_t)json_number(json_member(line, "max_ms"), 0);
    cfg.stable_ms = (uint32_t)json_number(json_member(line, "stable_ms"), 0);
    cfg.max_body = (size_t)json_number(json_member(line, "max_body"), 0);
    host = strstr(address, "://") + 3;
    port = strrchr(host, ':');
    if (*host == '[') { /* an address of IPv6 */
        host++;
        port[-1] = 0;
    }
    *port++ = 0;
    if (strncmp(address, "tls", 3) == 0)
        tls = rc_tls_new(ca);
    client = rc_posix_new(&cfg, host, port, tls ? rc_tls_stream(tls) : NULL);
    if (!client) /* nothing was tried */
        on_state(NULL, &(rc_status){RC_STATE_CLOSED, false, text(""), {RC_INVALID_MESSAGE, text("settings that may not be sent"), text("")}});
    free(address);
    free(ca);
}

/* Returns the body that a command names. */
static char *body_of(const char *line, size_t *len)
{
    char *hex = json_string(json_member(line, "body"), len), *body;
    *len = hex ? *len / 2 : (size_t)json_number(json_member(line, "size"), 0);
    body = calloc(1, *len + 1);
    for (size_t i = 0; hex && i < *len; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        body[i] = (char)strtoul(digits, NULL, 16);
    }
    free(hex);
    return body;
}

static void command(const char *line)
{
    char *verb = json_string(json_member(line, "do"), NULL), *tag = json_string(json_member(line, "tag"), NULL), *s;
    char *to = c_string(json_member(line, "to")), *body;
    rc_client *c = client ? rc_posix_client(client) : NULL;
    uint16_t type = (uint16_t)json_number(json_member(line, "type"), 0);
    uint32_t now = rc_posix_now(), timeout = (uint32_t)json_number(json_member(line, "timeout_ms"), 60000);
    size_t len;
    int err;
    body = body_of(line, &len);
    if (strcmp(verb, "dial") == 0) {
        dial(line);
    } else if (strcmp(verb, "show") == 0) {
        answer("shown", tag);
        printf(",\"text\":\"code %u: ", last_code); /* the library makes no text of a client or its settings */
        for (const char *p = last_text; p && *p; p++)
            putchar(*p == '"' || *p == '\\' || *(const unsigned char *)p < 0x20 ? '?' : *p);
        putchar('"');
        end_line();
    } else if (!c) {
        if (tag)
            failed(tag, RC_ERR_NOT_CONNECTED, NULL);
    } else if (strcmp(verb, "send") == 0) {
        err = rc_send(c, type, to, body, len);
        if (err != RC_OK) {
            failed(tag, err, NULL);
        } else {
            answer("done", tag);
            end_line();
        }
    } else if (strcmp(verb, "request") == 0 || strcmp(verb, "online") == 0) {
        struct waiting *w = malloc(sizeof *w);
        struct list users = {0};
        *w = (struct waiting){tag ? strdup(tag) : NULL, to ? strdup(to) : NULL, *verb == 'o'};
        json_each(json_member(line, "users"), add_item, &users);
        if (w->online)
            err = rc_who_is_online(c, now, (const char *const *)users.items, users.n, timeout, on_reply, w);
        else
            err = rc_request(c, now, type, w->to, body, len, timeout, on_reply, w);
        free_list(&users);
        if (err != RC_OK) {
            rc_reply r = {0};
            r.status = err;
            on_reply(w, &r);
        }
    } else if (strcmp(verb, "reply") == 0) {
        const rc_message *m = &asked[json_number(json_member(line, "request"), 0)].m;
        uint16_t code = (uint16_t)json_number(json_member(line, "code"), 0);
        s = json_string(json_member(line, "text"), NULL);
        if (code)
            rc_reply_error(c, m, code, s);
        else
            rc_reply_to(c, m, body, len);
        free(s);
    } else if (strcmp(verb, "ack") == 0) {
        uint8_t id[16] = {0};
        s = json_string(json_member(line, "push"), NULL);
        for (size_t i = 0, n = 0; s && s[i] && n < 32; i++)
            if (s[i] != '-') {
                char digit[2] = {s[i], 0};
                id[n / 2] = (uint8_t)((unsigned long)id[n / 2] << 4 | strtoul(digit, NULL, 16));
                n++;
            }
        rc_ack(c, id);
        free(s);
    } else if (strcmp(verb, "close") == 0) {
        rc_close(c, now);
    }
    free(verb);
    free(tag);
    free(to);
    free(body);
}

/* Carries out the lines that have come. Returns false when standard input has ended. */
static bool read_commands(void)
{
    static char *in;
    static size_t len, size;
    ssize_t n;
    char *end;
    if (len + 65536 > size)
        in = realloc(in, size = 2 * (len + 65536));
    n = read(STDIN_FILENO, in + len, size - len - 1);
    if (n <= 0) {
        free(in);
        in = NULL;
        return false;
    }
    len += (size_t)n;
    while ((end = memchr(in, '\n', len))) {
        *end++ = 0;
        command(in);
        len -= (size_t)(end - in);
        memmove(in, end, len);
    }
    return true;
}

int main(void)
{
    bool reading = true, running = true;
    asked = calloc(MOST_ASKED, sizeof *asked);
    puts("{\"event\":\"ready\",\"language\":\"c\",\"transports\":[\"tcp\",\"tls\"]}");
    fflush(stdout);
    while (reading || (running && client)) {
        struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, 0, 0}};
        int wait = client ? rc_posix_prepare(client, &fds[1]) : -1;
        if (!reading)
            fds[0].fd = -1;
        if (!(client && rc_get_state(rc_posix_client(client)) == RC_STATE_CLOSED && !reading))
            poll(fds, 2, wait);
        if (client)
            running = rc_posix_handle(client, &fds[1]);
        if (fds[0].revents && !read_commands()) {
            reading = false;
            if (client)
                rc_close(rc_posix_client(client), rc_posix_now());
        }
    }
    forget();
    free(asked);
    free(last_text);
    return 0;
}
