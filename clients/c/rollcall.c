/* The state machine of librollcall, from the bottom up; rollcall.h describes it. */
#include "rollcall_internal.h"

#include <string.h>

enum { LEAST_RX = 64, LEAST_TX = 256, MOST_FIELDS = 253, MOST_DOUBLINGS = 8 };

#define NOTICE_EXTRA 0x10000u /* how much larger a Close, the Logon's reply and error replies may be */
#define STANDSTILL 250u       /* a tick that is so late shows that this process stood still */

uint32_t rci_until(const rc_client *c, uint32_t t)
{
    int32_t left = (int32_t)(t - c->now);
    return left > 0 ? (uint32_t)left : 0;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint32_t rci_most(uint32_t a, uint32_t b) { return a > b ? a : b; }

uint32_t rci_setting(uint32_t v, uint32_t otherwise) { return v ? v : otherwise; }

uint32_t rci_random_to(const rc_client *c, uint32_t limit) { return c->cfg->random(c->cfg->ctx) % (limit + 1); }

bool rci_may_reconnect(uint16_t code) { return code / 1000 == 1 || code / 1000 == 3; }

void rci_tell(const rc_client *c, rc_status *status)
{
    status->may_reconnect = rci_may_reconnect(status->why.code);
    if (c->cfg->on_state)
        c->cfg->on_state(c->cfg->ctx, status);
}

/* Ends the client after rci_leave, or where there is nothing to leave. */
static void closed(rc_client *c)
{
    rc_status status = {0};
    c->phase = RCI_CLOSED;
    status.state = RC_STATE_CLOSED;
    status.why.code = c->why;
    rci_tell(c, &status);
}

int rci_queue(rc_client *c, const rc_message *m, char **body)
{
    const rc_memory *mem = &c->cfg->memory;
    size_t spare = m->type == RC_TYPE_CLOSE ? 0 : m->type == RC_TYPE_HEARTBEAT ? RCI_CLOSE_ROOM : RCI_SYSTEM_ROOM;
    for (;;) {
        size_t room = mem->tx_size - c->tx_len, size;
        int err = rc_encode(m, mem->tx + c->tx_len, room > spare ? room - spare : 0, &size);
        if (err == RC_OK) {
            c->tx_len += size;
            *body = mem->tx + c->tx_len - m->body.len;
        } else if (err == RC_ERR_FULL && c->tx_pos > 0) {
            c->tx_len -= c->tx_pos;
            memmove(mem->tx, mem->tx + c->tx_pos, c->tx_len);
            c->tx_pos = 0;
            continue;
        } else if (err == RC_ERR_FULL && size > mem->tx_size - spare) {
            err = RC_ERR_TOO_LARGE;
        }
        return err;
    }
}

bool rci_queue_system(rc_client *c, uint16_t type, uint32_t id, const void *body, size_t len)
{
    rc_message m = {0};
    char *ignored;
    m.type = type;
    m.id = id;
    m.body.data = body;
    m.body.len = len;
    return rci_queue(c, &m, &ignored) == RC_OK;
}

/* Finds the request with this ID, or, with ID 0, a slot for another one. */
static rc_request_slot *find_request(const rc_client *c, uint32_t id)
{
    const rc_memory *mem = &c->cfg->memory;
    for (rc_request_slot *r = mem->requests; r != mem->requests + mem->n_requests; r++)
        if (r->id == id)
            return r;
    return NULL;
}

uint32_t rci_next_id(rc_client *c)
{
    do
        c->last_id++;
    while (c->last_id == 0 || c->last_id == c->renew_id || find_request(c, c->last_id));
    return c->last_id;
}

static void finish(rc_request_slot *r, const rc_reply *reply)
{
    r->id = 0;
    if (r->fn)
        r->fn(r->arg, reply);
}

/* Ends the requests that wait: with RC_ERR_DISCONNECTED all of them, with RC_ERR_TIMEOUT those whose time is over. */
static void end_requests(rc_client *c, int status)
{
    rc_reply reply = {0};
    reply.status = status;
    for (size_t i = 0; i < c->cfg->memory.n_requests; i++) {
        rc_request_slot *r = &c->cfg->memory.requests[i];
        if (r->id && (status == RC_ERR_DISCONNECTED || rci_until(c, r->deadline) == 0))
            finish(r, &reply);
    }
}

void rci_end(rc_client *c, rc_status *status)
{
    const rc_config *cfg = c->cfg;
    const rc_memory *mem = &cfg->memory;
    rc_slice address;
    uint8_t phase = RCI_WAITING;
    bool again = rci_may_reconnect(status->why.code);
    if (c->phase == RCI_ONLINE) {
        c->lost_at = c->now;
        if (c->now - c->online_at >= rci_setting(cfg->stable_ms, 60000))
            c->attempt = 0;
    } else {
        c->has_address = false; /* an attempt at the address that the server named has failed */
        if (!c->interval) /* there was no session yet */
            again = again && cfg->retry_first;
        else if (status->why.code == RC_ALREADY_LOGGED_ON) /* perhaps the server still has this client's own dead connection */
            again = c->now - c->lost_at < 3 * c->interval;
    }
    if (rc_map_get(status->why.info, "address", &address) && address.len > 0 && address.len < mem->address_size) {
        *rci_put_bytes(mem->address, address) = 0;
        c->has_address = true;
    }
    if (again && cfg->max_ms != RC_NEVER) {
        uint32_t limit = least(rci_setting(cfg->min_ms, 200), RCI_HOUR) << c->attempt;
        c->at = c->now + rci_number(&status->why.info, "retry-ms", RCI_HOUR) + rci_random_to(c, least(limit, rci_setting(cfg->max_ms, 30000)));
        if (c->attempt < MOST_DOUBLINGS)
            c->attempt++;
    } else {
        phase = RCI_CLOSED;
        status->state = RC_STATE_CLOSED;
    }
    c->phase = phase;
    end_requests(c, RC_ERR_DISCONNECTED);
    if (c->phase == phase) /* no callback has called rc_close */
        rci_tell(c, status);
}

/* rci_end, where the server has given no reason. */
static void lost(rc_client *c)
{
    rc_status status = {0};
    status.why.code = RC_NETWORK_ERROR;
    rci_end(c, &status);
}

void rci_leave(rc_client *c, uint16_t code)
{
    char body[4] = {0};
    rci_put(body, 2, code);
    rci_queue_system(c, RC_TYPE_CLOSE, 0, body, sizeof body);
    c->phase = RCI_LEAVING;
    c->why = code;
    c->at = c->now + rci_setting(c->cfg->close_ms, 3000);
    end_requests(c, RC_ERR_DISCONNECTED);
}

/* Queues a message with this body. */
static int message(rc_client *c, rc_message *m, const void *body, size_t len, char **p)
{
    if (c->phase >= RCI_LEAVING)
        return RC_ERR_CLOSED;
    if (c->phase != RCI_ONLINE)
        return RC_ERR_NOT_CONNECTED;
    if (len > c->max_send && !(m->flags & RC_FLAG_ERROR))
        return RC_ERR_TOO_LARGE;
    m->body.data = body;
    m->body.len = len;
    return rci_queue(c, m, p);
}

static int send_message(rc_client *c, uint16_t type, uint32_t id, const char *to, const void *body, size_t len)
{
    rc_message m = {0};
    char *ignored;
    m.type = type;
    m.id = id;
    m.to = rc_text(to);
    if (type > RC_TYPE_LAST && (type < RC_TYPE_PRESENCE || type > RC_TYPE_CHAT))
        return RC_ERR_INVALID;
    return message(c, &m, body, len, &ignored);
}

/* Queues an answer to m. */
static int answer(rc_client *c, const rc_message *m, uint8_t flags, const void *body, size_t len, char **p)
{
    rc_message reply = {0};
    reply.type = m->type;
    reply.flags = flags;
    reply.id = m->id;
    reply.to = m->from;
    return m->id ? message(c, &reply, body, len, p) : RC_ERR_INVALID;
}

static void answered(rc_client *c, const rc_message *m)
{
    rc_reply reply = {0};
    rc_request_slot *r = m->id ? find_request(c, m->id) : NULL;
    if (m->id && m->id == c->renew_id && m->from.len == 0)
        rci_renewed(c, m);
    if (!r || (m->from.len > 0 && !rci_same(m->from, rc_text(r->to))))
        return;
    reply.message = m;
    if (m->flags & RC_FLAG_ERROR) {
        reply.status = RC_ERR_REFUSED;
        if (!rc_parse_close(m->body, &reply.why))
            reply.why.code = RC_INVALID_MESSAGE;
    } else if (m->type == RC_TYPE_WHO_IS_ONLINE && !rc_parse_users(m->body, &reply.users)) {
        reply.status = RC_ERR_INVALID;
    }
    finish(r, &reply);
}

/* Reports whether a frame is a Close, the reply to a Logon or an error reply, which may be larger than others. */
static bool is_notice(const char *frame)
{
    return frame[1] & RC_FLAG_ERROR || ((uint8_t)frame[2] == 0xFF && (frame[3] == (RC_TYPE_LOGON & 0xFF) || frame[3] == (RC_TYPE_CLOSE & 0xFF)));
}

/* Handles a Close. */
static void told(rc_client *c, const rc_message *m)
{
    rc_status status = {0};
    if (!rc_parse_close(m->body, &status.why))
        status.why.code = RC_INVALID_MESSAGE;
    rci_end(c, &status);
}

static void handle(rc_client *c, const rc_message *m)
{
    int verdict = RC_NO_HANDLER;
    char *ignored;
    bool reply = m->flags & RC_FLAG_REPLY;
    if (m->type == RC_TYPE_CLOSE && !reply) {
        told(c, m);
    } else if (c->phase == RCI_LOGGING_ON) {
        rci_logged_on(c, m);
    } else if (reply) {
        answered(c, m);
    } else if (m->type == RC_TYPE_HEARTBEAT) {
        if (m->id)
            answer(c, m, RC_FLAG_REPLY, NULL, 0, &ignored);
    } else if (m->type == RC_TYPE_PUSH) {
        if (c->cfg->on_push)
            rci_pushed(c, m->body);
    } else if (m->type <= RC_TYPE_LAST || (m->type >= RC_TYPE_PRESENCE && m->type <= RC_TYPE_CHAT)) {
        if (c->cfg->on_message)
            verdict = c->cfg->on_message(c->cfg->ctx, m);
        /* Another session of this user may have the handler for a user's request, and answer that. */
        if (verdict == RC_NO_HANDLER && m->from.len == 0 && m->type <= RC_TYPE_LAST)
            rc_reply_error(c, m, RC_HANDLER_MISSING, NULL);
    }
}

void rc_received(rc_client *c, size_t n, uint32_t now)
{
    const rc_memory *mem = &c->cfg->memory;
    size_t pos = 0, size;
    if (n == 0)
        return;
    c->now = c->heard_at = now;
    c->asks = 0;
    c->rx_len += n;
    while (c->phase == RCI_LOGGING_ON || c->phase == RCI_ONLINE) {
        const char *in = mem->rx + pos;
        size_t rest = c->rx_len - pos, limit = c->max_receive;
        rc_message m;
        if (rest >= RCI_HEADER && is_notice(in))
            limit += NOTICE_EXTRA;
        int err = rc_decode(in, rest, limit, mem->rx_size, &m, &size);
        if (err == RC_MORE)
            break;
        if (err == RC_OK)
            handle(c, &m);
        else
            rci_leave(c, err == RC_ERR_TOO_LARGE ? RC_MESSAGE_TOO_LARGE : RC_INVALID_MESSAGE);
        pos += size;
    }
    if (c->phase != RCI_LOGGING_ON && c->phase != RCI_ONLINE)
        pos = c->rx_len;
    c->rx_len -= pos;
    if (pos > 0)
        memmove(mem->rx, mem->rx + pos, c->rx_len);
}

char *rc_rx(rc_client *c, size_t *room)
{
    *room = c->cfg->memory.rx_size - c->rx_len;
    return c->cfg->memory.rx + c->rx_len;
}

const char *rc_tx(const rc_client *c, size_t *n)
{
    *n = c->tx_len - c->tx_pos;
    return c->cfg->memory.tx + c->tx_pos;
}

void rc_written(rc_client *c, size_t n, uint32_t now)
{
    if (n == 0)
        return;
    c->sent_at = now;
    c->tx_pos += n;
    if (c->tx_pos == c->tx_len)
        c->tx_pos = c->tx_len = 0;
    rci_send_acks(c);
}

int rc_init(rc_client *c, const rc_config *cfg, uint32_t now)
{
    const rc_memory *mem = &cfg->memory;
    rc_slice token = {0}, map;
    memset(c, 0, sizeof *c);
    c->cfg = cfg;
    c->now = c->at = now;
    if (!cfg->random || mem->rx_size < LEAST_RX || mem->tx_size < LEAST_TX || (cfg->on_push && mem->n_pushes == 0) ||
        cfg->n_fields > MOST_FIELDS || (cfg->user && cfg->user[0] == '_'))
        return RC_ERR_INVALID;
    for (size_t i = 0; i < mem->n_requests; i++)
        mem->requests[i].id = 0;
    for (size_t i = 0; i < mem->n_pushes; i++)
        mem->pushes[i].state = 0;
    /* A rehearsal shows whether the user and the fields may be sent. */
    if (!rci_queue_fields(c, RC_TYPE_LOGON, RCI_LOGON_ID, &token))
        return RC_ERR_INVALID;
    map.data = mem->tx + RCI_HEADER + (uint8_t)mem->tx[12];
    map.len = (size_t)(mem->tx + c->tx_len - map.data);
    c->tx_len = 0;
    return rc_parse_map(map, &token) ? RC_OK : RC_ERR_INVALID;
}

static void sooner(const rc_client *c, uint32_t *wait, uint32_t t) { *wait = least(*wait, rci_until(c, t)); }

static uint32_t tick_online(rc_client *c)
{
    const rc_memory *mem = &c->cfg->memory;
    uint32_t now = c->now, ask_after = rci_most(c->interval, 1000), quiet = now - (c->asks ? c->asked_at : c->heard_at), wait;
    end_requests(c, RC_ERR_TIMEOUT);
    if (c->phase == RCI_ONLINE && c->expires && rci_until(c, c->renew_at) == 0)
        rci_renew(c);
    /* Two questions without an answer are enough; after a standstill of this process, where the answer may be unread, three. */
    if (c->phase == RCI_ONLINE && quiet >= ask_after && (c->asks > 2 || (c->asks == 2 && quiet < ask_after + STANDSTILL)))
        lost(c);
    if (c->phase != RCI_ONLINE)
        return 0;
    if (quiet >= ask_after) {
        quiet = 0;
        c->asks++;
        c->asked_at = now;
        rci_queue_system(c, RC_TYPE_HEARTBEAT, rci_next_id(c), NULL, 0);
    }
    wait = ask_after - quiet;
    if (c->tx_len == 0) {
        if (now - c->sent_at >= c->interval)
            rci_queue_system(c, RC_TYPE_HEARTBEAT, 0, NULL, 0);
        else
            sooner(c, &wait, c->sent_at + c->interval);
    }
    if (c->expires)
        sooner(c, &wait, c->renew_at);
    for (size_t i = 0; i < mem->n_requests; i++)
        if (mem->requests[i].id)
            sooner(c, &wait, mem->requests[i].deadline);
    return wait;
}

uint32_t rc_tick(rc_client *c, uint32_t now)
{
    c->now = now;
    if (c->phase == RCI_ONLINE)
        return tick_online(c);
    if (c->phase != RCI_CLOSED && rci_until(c, c->at) == 0) {
        if (c->phase == RCI_LEAVING) {
            closed(c);
        } else if (c->phase != RCI_WAITING) {
            lost(c); /* there was no logon in time */
        } else if (!c->transport) {
            c->phase = RCI_CONNECTING;
            c->at = now + rci_setting(c->cfg->attempt_ms, 15000);
        }
    }
    return c->phase == RCI_CLOSED ? RC_NEVER : rci_until(c, c->at);
}

bool rc_should_connect(rc_client *c)
{
    bool begin = c->phase == RCI_CONNECTING && !c->transport;
    c->transport |= begin;
    return begin;
}

const char *rc_address(const rc_client *c) { return c->has_address ? c->cfg->memory.address : NULL; }

bool rc_should_disconnect(const rc_client *c) { return c->transport && (c->phase == RCI_WAITING || c->phase == RCI_CLOSED); }

bool rc_should_shutdown(const rc_client *c) { return c->phase == RCI_LEAVING && c->tx_len == 0; }

void rc_connected(rc_client *c, uint32_t now)
{
    rc_slice token = {0};
    c->now = now;
    if (c->phase != RCI_CONNECTING)
        return;
    c->tx_pos = c->tx_len = c->rx_len = 0;
    c->max_receive = c->cfg->max_body ? c->cfg->max_body : RCI_MAX_BODY;
    c->last_id = c->cfg->random(c->cfg->ctx); /* a reply to a user reaches all sessions, whose IDs should differ */
    if (!rci_get_token(c, &token) || (c->phase == RCI_CONNECTING && !rci_queue_fields(c, RC_TYPE_LOGON, RCI_LOGON_ID, &token)))
        lost(c);
    else if (c->phase == RCI_CONNECTING)
        c->phase = RCI_LOGGING_ON;
}

void rc_disconnected(rc_client *c, uint32_t now)
{
    c->now = now;
    c->transport = false;
    c->tx_pos = c->tx_len = 0;
    if (c->phase == RCI_LEAVING)
        closed(c);
    else if (c->phase != RCI_WAITING && c->phase != RCI_CLOSED)
        lost(c);
}

void rc_close(rc_client *c, uint32_t now)
{
    c->now = now;
    if (c->phase == RCI_LOGGING_ON || c->phase == RCI_ONLINE) {
        rci_leave(c, RC_CLIENT_CLOSED);
    } else if (c->phase == RCI_WAITING || c->phase == RCI_CONNECTING) {
        c->why = RC_CLIENT_CLOSED;
        closed(c);
    }
}

rc_state rc_get_state(const rc_client *c)
{
    return c->phase == RCI_ONLINE ? RC_STATE_ONLINE : c->phase == RCI_CLOSED ? RC_STATE_CLOSED : RC_STATE_RECONNECTING;
}

rc_slice rc_session(const rc_client *c)
{
    rc_slice s = {c->session, c->session_len};
    return s;
}

int rc_send(rc_client *c, uint16_t type, const char *to, const void *body, size_t len) { return send_message(c, type, 0, to, body, len); }

/* Makes r wait for the reply to the request that was queued last. */
static void expect(rc_client *c, rc_request_slot *r, const char *to, uint32_t timeout_ms, rc_reply_fn fn, void *arg)
{
    r->id = c->last_id;
    r->to = to;
    r->deadline = c->now + rci_setting(timeout_ms, 10000);
    r->fn = fn;
    r->arg = arg;
}

int rc_request(rc_client *c, uint32_t now, uint16_t type, const char *to, const void *body, size_t len, uint32_t timeout_ms, rc_reply_fn fn,
    void *arg)
{
    rc_request_slot *r = find_request(c, 0);
    int err = r ? send_message(c, type, rci_next_id(c), to, body, len) : RC_ERR_FULL;
    c->now = now;
    if (err == RC_OK)
        expect(c, r, to, timeout_ms, fn, arg);
    return err;
}

int rc_who_is_online(rc_client *c, uint32_t now, const char *const *users, size_t n, uint32_t timeout_ms, rc_reply_fn fn, void *arg)
{
    rc_request_slot *r = find_request(c, 0);
    rc_message m = {0};
    size_t len = 2;
    char *p;
    int err = n > RCI_MAX_USERS ? RC_ERR_INVALID : r ? RC_OK : RC_ERR_FULL;
    for (size_t i = 0; i < n && err == RC_OK; i++) {
        rc_slice user = rc_text(users[i]);
        len += 1 + user.len;
        if (!rc_is_user_id(user))
            err = RC_ERR_INVALID;
    }
    m.type = RC_TYPE_WHO_IS_ONLINE;
    m.id = rci_next_id(c);
    if (err == RC_OK)
        err = message(c, &m, NULL, len, &p);
    if (err == RC_OK) {
        p = rci_put(p, 2, (uint32_t)n);
        for (; n > 0; n--) {
            rc_slice user = rc_text(*users++);
            p = rci_put_bytes(rci_put(p, 1, (uint32_t)user.len), user);
        }
        c->now = now;
        expect(c, r, NULL, timeout_ms, fn, arg);
    }
    return err;
}

int rc_reply_to(rc_client *c, const rc_message *m, const void *body, size_t len)
{
    char *ignored;
    int err = answer(c, m, RC_FLAG_REPLY, body, len, &ignored);
    if (err == RC_ERR_TOO_LARGE)
        rc_reply_error(c, m, RC_HANDLER_FAILED, NULL);
    return err;
}

int rc_reply_error(rc_client *c, const rc_message *m, uint16_t code, const char *text)
{
    rc_slice t = rc_text(text);
    char *p;
    int err = t.len > 0xFFFF || !rci_is_utf8(t) ? RC_ERR_INVALID : answer(c, m, RC_FLAG_REPLY | RC_FLAG_ERROR, NULL, 4 + t.len, &p);
    if (err == RC_OK)
        rci_put_bytes(rci_put(rci_put(p, 2, code >= 3000 && code < 6000 ? code : RC_HANDLER_FAILED), 2, (uint32_t)t.len), t);
    return err;
}
