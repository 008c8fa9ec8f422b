/* Every vector of protocol/testdata/vectors.txt, which describes its lines itself. */
#include "check.h"
#include "rollcall.h"

#include <string.h>

enum { MOST_COLUMNS = 16, MOST_FIELDS = 64, ROOM = 1 << 18 };

static char *column[MOST_COLUMNS];
static char in[ROOM], rx[ROOM], tx[ROOM], address[64];
static rc_request_slot requests[2];
static rc_push_slot pushes[2];
static rc_config cfg;
static rc_client client;

static char *held[512]; /* what bytes has returned for this line */
static size_t n_held;

/* Bytes in hexadecimal, with a NUL behind them; HEX*N is HEX N times. */
static rc_slice bytes(const char *hex)
{
    const char *times = strchr(hex, '*');
    size_t len = (times ? (size_t)(times - hex) : strlen(hex)) / 2, n = times ? strtoul(times + 1, NULL, 10) : 1;
    char *out = malloc(len * n + 1);
    rc_slice s = {out, len * n};
    CHECK(out && n_held < sizeof held / sizeof *held, "%s", column[1]);
    held[n_held++] = out;
    for (size_t i = 0; i < s.len; i++) {
        char digits[3] = {hex[2 * (i % len)], hex[2 * (i % len) + 1], 0};
        out[i] = (char)strtoul(digits, NULL, 16);
    }
    out[s.len] = 0;
    return s;
}

static unsigned long number(int i) { return strtoul(column[i], NULL, 10); }

static bool same(rc_slice a, rc_slice b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

/* Splits off what is before the separator. */
static bool item(char **list, char separator, char **head)
{
    char *end;
    if (!*list || !**list)
        return false;
    *head = *list;
    end = strchr(*list, separator);
    *list = end ? end + 1 : NULL;
    if (end)
        *end = 0;
    return true;
}

static size_t read_map(char *text, rc_field *fields)
{
    size_t n = 0;
    char *pair;
    while (item(&text, ',', &pair)) {
        char *equals = strchr(pair, '=');
        *equals = 0;
        fields[n].key = bytes(pair);
        fields[n++].value = bytes(equals + 1);
    }
    return n;
}

static void check_map(rc_slice pairs, char *want)
{
    rc_field fields[MOST_FIELDS];
    size_t n = read_map(want, fields), got = 0;
    rc_slice key, value;
    while (rc_map_next(&pairs, &key, &value)) {
        size_t i = 0;
        while (i < n && !same(fields[i].key, key))
            i++;
        CHECK(i < n && same(fields[i].value, value), "%s: a pair that it does not have", column[1]);
        got++;
    }
    CHECK(got == n, "%s: %zu pairs, want %zu", column[1], got, n);
}

static void check_id(const uint8_t *id, const char *uuid)
{
    for (int i = 0; i < 16; uuid += 2, i++) {
        char digits[3];
        uuid += *uuid == '-';
        memcpy(digits, uuid, 2);
        digits[2] = 0;
        CHECK(id[i] == strtoul(digits, NULL, 16), "%s: another ID", column[1]);
    }
}

static size_t limit(int i) { return number(i) ? number(i) : SIZE_MAX; }

/* Decodes each beginning of the frame, and then all of it. */
static int decode(rc_slice frame, rc_message *m, size_t *size)
{
    int err = RC_MORE;
    for (size_t n = 0; n <= frame.len && err == RC_MORE; n++) {
        char *exact = malloc(n + 1); /* of its own length, so that AddressSanitizer sees what reads behind it */
        memcpy(exact, frame.data, n);
        exact = realloc(exact, n ? n : 1);
        err = rc_decode(exact, n, limit(3), limit(4), m, size);
        free(exact);
        if (err == RC_MORE)
            CHECK(*size > n, "%s: after %zu bytes it wants %zu", column[1], n, *size);
    }
    return err == RC_OK ? rc_decode(frame.data, frame.len, limit(3), limit(4), m, size) : err;
}

static void frame(void)
{
    rc_slice f = bytes(column[5]);
    rc_message m;
    size_t size;
    char *out = malloc(f.len);
    CHECK(decode(f, &m, &size) == RC_OK && size == f.len, "%s", column[1]);
    CHECK(m.type == number(6) && m.flags == number(7) && m.id == number(8) && m.device == number(9), "%s: another header", column[1]);
    CHECK(same(m.from, bytes(column[10])) && same(m.to, bytes(column[11])) && same(m.body, bytes(column[12])), "%s: other parts", column[1]);
    CHECK(rc_encode(&m, out, f.len, &size) == RC_OK && size == f.len && memcmp(out, f.data, f.len) == 0, "%s: encoded", column[1]);
    CHECK(rc_encode(&m, out, f.len - 1, &size) == RC_ERR_FULL, "%s: into too little", column[1]);
    free(out);
}

static void refused(void)
{
    rc_message m;
    size_t size;
    int err = decode(bytes(column[5]), &m, &size);
    CHECK(err == (number(6) == RC_MESSAGE_TOO_LARGE ? RC_ERR_TOO_LARGE : RC_ERR_INVALID), "%s: %d", column[1], err);
}

static void unfinished(void)
{
    rc_message m;
    size_t size;
    CHECK(decode(bytes(column[5]), &m, &size) == RC_MORE && size == number(6), "%s: it wants %zu", column[1], size);
}

static void body(void)
{
    rc_slice b = bytes(column[2]), pairs = {0}, id;
    rc_reason why = {0};
    rc_push p;
    char *next;
    if (strcmp(column[0], "map") == 0 || strcmp(column[0], "logon-reply") == 0) {
        if (*column[0] == 'l') {
            b.data += 2;
            b.len -= 2;
        }
        CHECK(rc_parse_map(b, &pairs), "%s", column[1]);
        check_map(pairs, column[3]);
    } else if (strcmp(column[0], "close") == 0) {
        CHECK(rc_parse_close(b, &why) && why.code == number(3) && same(why.text, bytes(column[4])), "%s", column[1]);
        check_map(why.info, column[5]);
    } else if (strcmp(column[0], "push") == 0) {
        CHECK(rc_parse_push(b, &p), "%s", column[1]);
        check_id(p.id, column[3]);
        CHECK(p.kind == number(4) && same(p.name, bytes(column[5])) && p.confirm == (number(6) == 1), "%s", column[1]);
        CHECK(p.time_ms == strtoll(column[7], NULL, 10) && same(p.content, bytes(column[9])), "%s", column[1]);
        check_map(p.metadata, column[8]);
    } else if (strcmp(column[0], "id-list") == 0) {
        CHECK(rc_parse_users(b, &pairs), "%s", column[1]);
        while (item(&column[3], ',', &next))
            CHECK(rc_user_next(&pairs, &id) && same(id, bytes(next)), "%s", column[1]);
        CHECK(!rc_user_next(&pairs, &id), "%s: more users", column[1]);
    } else { /* push-ack, which no client reads */
        CHECK(b.len == 16, "%s", column[1]);
        check_id((const uint8_t *)b.data, column[3]);
    }
}

static void bad_body(void)
{
    rc_slice b = bytes(column[2]), pairs;
    rc_push p;
    const char *what = column[3];
    bool fine = strcmp(what, "map") == 0 ? rc_parse_map(b, &pairs)
        : strcmp(what, "push") == 0      ? rc_parse_push(b, &p)
        : strcmp(what, "id-list") == 0   ? rc_parse_users(b, &pairs)
                                         : b.len == 16;
    CHECK(!fine && number(4) == RC_INVALID_MESSAGE, "%s", column[1]);
}

static uint32_t no_random(void *ctx)
{
    (void)ctx;
    return 0;
}

static int no_push(void *ctx, const rc_push *p)
{
    (void)ctx;
    (void)p;
    return RC_LATER;
}

/* Begins a client with these settings. */
static int begin(const char *user, const rc_field *fields, size_t n)
{
    memset(&cfg, 0, sizeof cfg);
    cfg.user = user;
    cfg.fields = fields;
    cfg.n_fields = n;
    cfg.random = no_random;
    cfg.on_push = no_push;
    cfg.memory = (rc_memory){rx, sizeof rx, tx, sizeof tx, requests, 2, pushes, 2, address, sizeof address};
    return rc_init(&client, &cfg, 0);
}

static void connect_client(void)
{
    rc_tick(&client, 0);
    CHECK(rc_should_connect(&client), "%s: no attempt", column[1]);
    rc_connected(&client, 0);
}

static void receive(const char *hex, uint32_t now)
{
    rc_slice f = bytes(hex);
    size_t room;
    memcpy(rc_rx(&client, &room), f.data, f.len);
    rc_received(&client, f.len, now);
}

/* Makes a client that is online, whose session expires in 60 s, with nothing to write. */
static void online(const char *user, const rc_field *fields, size_t n)
{
    size_t len;
    CHECK(begin(user, fields, n) == RC_OK, "%s", column[1]);
    connect_client();
    rc_tx(&client, &len);
    rc_written(&client, len, 0);
    receive("5211ff01000000150000000100000000" "0000010a657870697265732d6d7300053630303030", 0);
    CHECK(rc_get_state(&client) == RC_STATE_ONLINE, "%s", column[1]);
}

static void no_reply(void *arg, const rc_reply *r)
{
    (void)arg;
    (void)r;
}

/* Compares what the client has queued with a frame. IDs that the client chooses itself are left out. */
static void check_sent(const char *frame, bool own_id)
{
    rc_slice want = bytes(frame);
    size_t len;
    const char *got = rc_tx(&client, &len);
    CHECK(len == want.len && memcmp(got, want.data, 8) == 0 && (own_id || memcmp(got + 8, want.data + 8, 4) == 0) &&
            memcmp(got + 12, want.data + 12, len - 12) == 0,
        "%s: encoded otherwise, in %zu bytes", column[1], len);
    CHECK(!own_id || memcmp(got + 8, "\0\0\0\0", 4) != 0, "%s: without an ID", column[1]);
}

static size_t others;

static void encode(void)
{
    const char *what = column[2], *to = bytes(column[8]).data, *fields_text = column[9];
    rc_message m = {0};
    rc_field fields[MOST_FIELDS];
    rc_slice argument = {0};
    size_t n;
    m.type = (uint16_t)number(3);
    m.flags = (uint8_t)number(4);
    m.id = (uint32_t)number(5);
    m.device = (uint16_t)number(6);
    m.from = bytes(column[8]);
    if (strcmp(what, "logon") == 0) {
        n = read_map((char *)fields_text, fields);
        CHECK(begin(bytes(column[7]).data, fields, n) == RC_OK, "%s", column[1]);
        cfg.device = m.device;
        connect_client();
        check_sent(column[12], true);
    } else if (strcmp(what, "renew") == 0) {
        n = read_map((char *)fields_text, fields);
        online("alice", fields, n);
        receive("5210ff00000000000000000000000000", 45000); /* so that no question is due */
        rc_tick(&client, 45000);
        check_sent(column[12], true);
    } else if (strcmp(what, "message") == 0 && (*column[7] || m.device)) {
        m.to = m.from; /* no client of this library sends either, but the codec can */
        m.from = bytes(column[7]);
        m.body = bytes(column[9]);
        CHECK(rc_encode(&m, in, sizeof in, &n) == RC_OK && same((rc_slice){in, n}, bytes(column[12])), "%s", column[1]);
    } else if (strcmp(what, "message") == 0) {
        online("alice", NULL, 0);
        argument = bytes(column[9]);
        if (m.id)
            CHECK(rc_request(&client, 0, m.type, to, argument.data, argument.len, 0, no_reply, NULL) == RC_OK, "%s", column[1]);
        else
            CHECK(rc_send(&client, m.type, to, argument.data, argument.len) == RC_OK, "%s", column[1]);
        check_sent(column[12], m.id != 0);
    } else if (strcmp(what, "reply") == 0) {
        online("alice", NULL, 0);
        argument = bytes(column[9]);
        CHECK(rc_reply_to(&client, &m, argument.data, argument.len) == RC_OK, "%s", column[1]);
        check_sent(column[12], false);
    } else if (strcmp(what, "error-reply") == 0 && !*column[11]) {
        online("alice", NULL, 0);
        CHECK(rc_reply_error(&client, &m, (uint16_t)number(9), bytes(column[10]).data) == RC_OK, "%s", column[1]);
        check_sent(column[12], false);
    } else if (strcmp(what, "close") == 0 && !*column[10]) {
        online("alice", NULL, 0);
        rc_close(&client, 0);
        check_sent(column[12], false);
    } else if (strcmp(what, "push-ack") == 0) {
        rc_slice f = bytes(column[12]);
        online("alice", NULL, 0);
        rc_ack(&client, (const uint8_t *)f.data + f.len - 16);
        check_sent(column[12], false);
    } else if (strcmp(what, "who-is-online") == 0) {
        const char *users[8];
        char *next, *list = column[9];
        for (n = 0; item(&list, ',', &next); n++)
            users[n] = bytes(next).data;
        online("alice", NULL, 0);
        CHECK(rc_who_is_online(&client, 0, users, n, 0, no_reply, NULL) == RC_OK, "%s", column[1]);
        check_sent(column[12], true);
    } else if (strcmp(what, "heartbeat") == 0) {
        online("alice", NULL, 0);
        if (!m.id) /* so that no question is due */
            receive("5210ff00000000000000000000000000", 9999);
        rc_tick(&client, 10000);
        check_sent(column[12], m.id != 0);
    } else if (strcmp(what, "heartbeat-reply") == 0) {
        online("alice", NULL, 0);
        receive("5210ff00000000000000004d00000000", 0);
        check_sent(column[12], false);
    } else { /* error replies with keys, and a Close with a text: this client sends neither */
        others++;
    }
}

static void sendable(bool may)
{
    const char *what = column[2];
    rc_slice s = bytes(column[3]);
    rc_field f = {RC_TEXT("key"), RC_TEXT("value")};
    bool done;
    /* A string that ends in NUL cannot have one: those IDs can only come as slices. */
    if (memchr(s.data, 0, s.len) && *what != 'k' && *what != 'v') {
        CHECK(rc_is_user_id(s) == may, "%s", column[1]);
        return;
    }
    if (strcmp(what, "user") == 0) {
        done = begin(s.data, NULL, 0) == RC_OK;
    } else if (strcmp(what, "key") == 0) {
        f.key = s;
        done = begin("alice", &f, 1) == RC_OK;
    } else if (strcmp(what, "value") == 0) {
        f.value = s;
        done = begin("alice", &f, 1) == RC_OK;
    } else if (strcmp(what, "dest") == 0) {
        online("alice", NULL, 0);
        done = rc_send(&client, 1, s.data, "x", 1) == RC_OK;
        CHECK(done == (rc_request(&client, 0, 1, s.data, "x", 1, 0, no_reply, NULL) == RC_OK), "%s: as a request", column[1]);
    } else {
        const char *users[] = {"bob", s.data};
        online("alice", NULL, 0);
        done = rc_who_is_online(&client, 0, users, 2, 0, no_reply, NULL) == RC_OK;
    }
    CHECK(done == may, "%s", column[1]);
}

int main(int argc, char **argv)
{
    static char line[ROOM];
    int n = 0;
    FILE *f = fopen(argc > 1 ? argv[1] : "vectors.txt", "r");
    CHECK(f, "cannot open the vectors");
    while (fgets(line, sizeof line, f)) {
        char *p = line;
        const char *kind = line;
        if (*line == '#' || *line == '\n')
            continue;
        line[strcspn(line, "\n")] = 0;
        for (int i = 0; i < MOST_COLUMNS; i++) {
            char *tab = p ? strchr(p, '\t') : NULL;
            column[i] = p ? p : "";
            if (tab)
                *tab = 0;
            p = tab ? tab + 1 : NULL;
        }
        n++;
        if (strcmp(kind, "frame") == 0)
            frame();
        else if (strcmp(kind, "refused") == 0)
            refused();
        else if (strcmp(kind, "unfinished") == 0)
            unfinished();
        else if (strcmp(kind, "bad-body") == 0)
            bad_body();
        else if (strcmp(kind, "encode") == 0)
            encode();
        else if (strcmp(kind, "sendable") == 0)
            sendable(true);
        else if (strcmp(kind, "unsendable") == 0)
            sendable(false);
        else
            body();
        while (n_held > 0)
            free(held[--n_held]);
    }
    fclose(f);
    CHECK(n > 300, "only %d vectors", n);
    CHECK(others == 2, "%zu vectors of what this client does not send", others);
    printf("%d vectors, %d checks\n", n, checks);
    return 0;
}
