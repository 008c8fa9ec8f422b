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

int rci_queue(rc_client *c, const rc_message *m)
{
    const rc_memory *mem = &c->cfg->memory;
    size_t spare = m->type == RC_TYPE_CLOSE ? 0 : m->type == RC_TYPE_HEARTBEAT ? RCI_CLOSE_ROOM : RCI_SYSTEM_ROOM;
    if (m->type != RC_TYPE_LOGON && m->type != RC_TYPE_CLOSE) {
        if (c->phase != RCI_ONLINE)
            return c->phase >= RCI_LEAVING ? RC_ERR_CLOSED : RC_ERR_NOT_CONNECTED;
        if (m->body.len > c->max_send)
            return RC_ERR_TOO_LARGE;
    }
    for (;;) {
        size_t room = mem->tx_size - c->tx_len, size;
        int err = rc_encode(m, mem->tx + c->tx_len, room > spare ? room - spare : 0, &size);
        if (err == RC_OK) {
            c->tx_len += size;
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

int rci_queue_frame(rc_client *c, uint16_t type, uint32_t id, const void *body, size_t len)
{
    rc_message m = {0};
    m.type = type;
    m.id = id;
    m.body.data = body;
    m.body.len = len;
    return rci_queue(c, &m);
}

char *rci_body(const rc_client *c, size_t len) { return c->cfg->memory.tx + c->tx_len - len; }

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
        uint32_t limit = rci_setting(cfg->min_ms, 200) << c->attempt;
        /* A millisecond more, since now has been cut off to whole ones. */
        c->at = c->now + 1 + rci_number(&status->why.info, "retry-ms", RCI_HOUR) + rci_random_to(c, least(limit, rci_setting(cfg->max_ms, 30000)));
        if (c->attempt < MOST_DOUBLINGS)
            c->attempt++;
    } else {
        phase = RCI_CLOSED;
        status->state = RC_STATE_CLOSED;
    }
    c->phase = phase;
    rci_end_requests(c, RC_ERR_DISCONNECTED);
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
    char body[4];
    rci_put(body, 4, (uint32_t)code << 16); /* no text */
    rci_queue_frame(c, RC_TYPE_CLOSE, 0, body, sizeof body);
    c->phase = RCI_LEAVING;
    c->why = code;
    c->at = c->now + rci_setting(c->cfg->close_ms, 3000);
    rci_end_requests(c, RC_ERR_DISCONNECTED);
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
    rc_parse_close(m->body, &status.why);
    rci_end(c, &status);
}

static void handle(rc_client *c, const rc_message *m)
{
    int verdict = RC_NO_HANDLER;
    bool reply = m->flags & RC_FLAG_REPLY;
    if (m->type == RC_TYPE_CLOSE && !reply) {
        told(c, m);
    } else if (c->phase == RCI_LOGGING_ON) {
        rci_logged_on(c, m);
    } else if (reply) {
        rci_answered(c, m);
    } else if (m->type == RC_TYPE_HEARTBEAT) {
        if (m->id)
            rci_answer(c, m, RC_FLAG_REPLY, NULL, 0);
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
    if (mem->n_requests > 0)
        memset(mem->requests, 0, mem->n_requests * sizeof *mem->requests);
    if (mem->n_pushes > 0)
        memset(mem->pushes, 0, mem->n_pushes * sizeof *mem->pushes);
    /* A rehearsal shows whether the user and the fields may be sent. */
    if (!rci_queue_fields(c, RC_TYPE_LOGON, RCI_LOGON_ID, &token))
        return RC_ERR_INVALID;
    map.data = mem->tx + RCI_HEADER + (uint8_t)mem->tx[12];
    map.len = (size_t)(mem->tx + c->tx_len - map.data);
    c->tx_len = 0;
    return rc_parse_map(map, &token) ? RC_OK : RC_ERR_INVALID;
}

static uint32_t sooner(const rc_client *c, uint32_t wait, uint32_t t) { return least(wait, rci_until(c, t)); }

static uint32_t tick_online(rc_client *c)
{
    const rc_memory *mem = &c->cfg->memory;
    uint32_t now = c->now, ask_after = rci_most(c->interval, 1000), quiet = now - (c->asks ? c->asked_at : c->heard_at);
    uint32_t idle = now - c->sent_at, wait;
    bool ask;
    rci_end_requests(c, RC_ERR_TIMEOUT);
    if (c->phase == RCI_ONLINE && c->expires && rci_until(c, c->renew_at) == 0)
        rci_renew(c);
    /* Two questions without an answer are enough; after a standstill of this process, where the answer may be unread, three. */
    if (c->phase == RCI_ONLINE && quiet >= ask_after && (c->asks > 2 || (c->asks == 2 && quiet < ask_after + STANDSTILL)))
        lost(c);
    if (c->phase != RCI_ONLINE)
        return 0;
    ask = quiet >= ask_after;
    if (ask) {
        quiet = 0;
        c->asks++;
        c->asked_at = now;
    }
    if (ask || (c->tx_len == 0 && idle >= c->interval))
        rci_queue_frame(c, RC_TYPE_HEARTBEAT, ask ? rci_next_id(c) : 0, NULL, 0);
    wait = ask_after - quiet;
    if (c->tx_len == 0)
        wait = least(wait, c->interval - idle);
    if (c->expires)
        wait = sooner(c, wait, c->renew_at);
    for (size_t i = 0; i < mem->n_requests; i++)
        if (mem->requests[i].id)
            wait = sooner(c, wait, mem->requests[i].deadline);
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
    bool ready;
    c->now = now;
    if (c->phase != RCI_CONNECTING)
        return;
    c->tx_pos = c->tx_len = c->rx_len = 0;
    c->max_receive = c->cfg->max_body ? c->cfg->max_body : RCI_MAX_BODY;
    c->last_id = c->cfg->random(c->cfg->ctx); /* a reply to a user reaches all sessions, whose IDs should differ */
    ready = rci_get_token(c, &token) && rci_queue_fields(c, RC_TYPE_LOGON, RCI_LOGON_ID, &token);
    if (c->phase != RCI_CONNECTING)
        return; /* the program has closed the client in its function */
    if (ready)
        c->phase = RCI_LOGGING_ON;
    else
        lost(c);
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
    if (c->phase == RCI_CLOSED)
        return RC_STATE_CLOSED;
    return c->phase == RCI_ONLINE ? RC_STATE_ONLINE : RC_STATE_RECONNECTING;
}

rc_slice rc_session(const rc_client *c)
{
    rc_slice s = {c->session, c->session_len};
    return s;
}
