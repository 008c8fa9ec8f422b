/* What a session consists of: the Logon, renewals, and the memory of pushes. */
#include "rollcall_internal.h"

#include <string.h>

enum { HELD = 1, UNSENT, ACKED }; /* rc_push_slot.state; 0 is empty */

#define LEAST_RENEWAL 100u /* between two renewals */

void rci_send_acks(rc_client *c)
{
    rc_push_slot *slot = c->cfg->memory.pushes;
    if (!c->unsent)
        return;
    for (size_t n = c->cfg->memory.n_pushes; n > 0; n--, slot++)
        if (slot->state == UNSENT) {
            if (rci_queue_frame(c, RC_TYPE_PUSH_ACK, 0, slot->id, 16) != RC_OK)
                return;
            slot->state = ACKED;
        }
    c->unsent = false;
}

/* Finds a push among those that are remembered; NULL if it is not. */
static rc_push_slot *find_push(const rc_client *c, const uint8_t *id)
{
    rc_push_slot *slot = c->cfg->memory.pushes;
    for (size_t n = c->cfg->memory.n_pushes; n > 0; n--, slot++)
        if (slot->state && memcmp(slot->id, id, 16) == 0)
            return slot;
    return NULL;
}

/* Remembers a push in place of the oldest one. */
static rc_push_slot *remember(rc_client *c, const uint8_t *id)
{
    rc_push_slot *slot = &c->cfg->memory.pushes[c->push_next];
    memcpy(slot->id, id, 16);
    slot->state = HELD;
    if (++c->push_next == c->cfg->memory.n_pushes)
        c->push_next = 0;
    return slot;
}

static void acknowledge(rc_client *c, rc_push_slot *slot)
{
    slot->state = UNSENT;
    c->unsent = true;
    rci_send_acks(c);
}

void rc_ack(rc_client *c, const uint8_t *id)
{
    rc_push_slot *slot = find_push(c, id);
    if (!slot && c->cfg->memory.n_pushes > 0)
        slot = remember(c, id); /* others have taken its place meanwhile */
    if (slot && slot->state == HELD)
        acknowledge(c, slot);
}

void rci_pushed(rc_client *c, rc_slice body)
{
    rc_push p;
    rc_push_slot *slot;
    if (!rc_parse_push(body, &p)) {
        rci_leave(c, RC_INVALID_MESSAGE);
        return;
    }
    if (p.confirm) {
        slot = find_push(c, p.id);
        if (slot && slot->state == ACKED)
            acknowledge(c, slot);
        if (slot)
            return; /* it has been handed out */
        remember(c, p.id);
    }
    if (c->cfg->on_push(c->cfg->ctx, &p) != RC_LATER && p.confirm)
        rc_ack(c, p.id);
}

bool rci_get_token(const rc_client *c, rc_slice *token)
{
    return !c->cfg->token || (c->cfg->token(c->cfg->ctx, token) && rci_is_utf8(*token));
}

/* Writes a pair, or, where there is no memory, only counts its bytes. */
static size_t put_pair(char *map, size_t at, const rc_field *f)
{
    if (f->key.len > 0xFF || f->value.len > 0xFFFF)
        return at | (SIZE_MAX / 2 + 1); /* it fits nowhere */
    if (map) {
        map[0]++;
        rci_put_bytes(rci_put(rci_put_bytes(rci_put(map + at, 1, (uint32_t)f->key.len), f->key), 2, (uint32_t)f->value.len), f->value);
    }
    return at + 3 + f->key.len + f->value.len;
}

/* Writes the map of a Logon or Renew; without memory it only counts the bytes. Those of own that have data replace the program's fields, and
 * go along if they are not empty. */
static size_t put_fields(const rc_client *c, const rc_field *own, char *map)
{
    const rc_field *f = c->cfg->fields;
    size_t size = 1;
    if (map)
        map[0] = 0;
    for (size_t n = c->cfg->n_fields; n > 0; n--, f++)
        if (!(own[0].value.data && rci_same(f->key, own[0].key)) && !(own[1].value.data && rci_same(f->key, own[1].key)))
            size = put_pair(map, size, f);
    for (int i = 0; i < 2; i++)
        if (own[i].value.len > 0)
            size = put_pair(map, size, &own[i]);
    return size;
}

bool rci_queue_fields(rc_client *c, uint16_t type, uint32_t id, const rc_slice *token)
{
    rc_field own[2] = {{RC_TEXT("token"), *token}, {RC_TEXT("session"), {c->session, 0}}};
    rc_message m = {0};
    if (type == RC_TYPE_LOGON) {
        m.from = rc_text(c->cfg->user);
        own[1].value.len = c->session_len;
        if (c->session_len == 0)
            own[1].value.data = NULL; /* perhaps the program knows one from an earlier run */
    }
    m.type = type;
    m.device = c->cfg->device;
    m.id = id;
    m.body.len = put_fields(c, own, NULL);
    if (rci_queue(c, &m) != RC_OK)
        return false;
    put_fields(c, own, rci_body(c, m.body.len));
    return true;
}

/* Plans a renewal after `wait` ms at least, and a random part of `spread` more, so that not all clients of a server renew at once. */
static void plan(rc_client *c, uint32_t wait, uint32_t spread)
{
    c->renew_id = 0;
    c->renew_at = c->now + rci_most(LEAST_RENEWAL, wait) + rci_random_to(c, spread);
}

/* Plans the renewal of a session that ends in `expires` ms; 0 is never. */
static void plan_renewal(rc_client *c, uint32_t expires)
{
    uint32_t part = expires / 20;
    c->expires = expires > 0;
    c->expires_at = c->now + expires;
    plan(c, part * 12, part * 3);
}

/* Plans another attempt after a renewal that failed, if there is time for one. */
static void plan_retry(rc_client *c, uint32_t wait)
{
    uint32_t left = rci_until(c, c->expires_at);
    c->expires = left > 0;
    plan(c, rci_most(wait, left / 16), left / 16);
}

void rci_renew(rc_client *c)
{
    rc_slice token = {0};
    plan_retry(c, 0); /* also where the last one was not answered in time */
    if (c->expires && rci_get_token(c, &token)) {
        uint32_t id = rci_next_id(c);
        if (rci_queue_fields(c, RC_TYPE_RENEW, id, &token)) {
            c->renew_id = id;
            c->renew_at = c->now + rci_setting(c->cfg->attempt_ms, 15000);
        }
    }
}

/* Reads the body of a reply to a Logon or Renew. Where it was accepted the code is 0, and info has its fields. */
static bool parse_accepted(const rc_message *m, rc_reason *why)
{
    rc_slice fields = m->body;
    if (fields.len < 2)
        return false;
    if (fields.data[0] || fields.data[1])
        return rc_parse_close(fields, why);
    fields.data += 2;
    fields.len -= 2;
    return !(m->flags & RC_FLAG_ERROR) && rc_parse_map(fields, &why->info);
}

void rci_renewed(rc_client *c, const rc_message *m)
{
    rc_reason why = {0};
    bool valid = parse_accepted(m, &why);
    if (valid && (rci_may_reconnect(why.code) || why.code >= RC_HANDLER_FAILED)) /* also RC_REFUSED and RC_TIMED_OUT */
        plan_retry(c, rci_number(&why.info, "retry-ms", RCI_HOUR));
    else /* after a refusal for another reason not again: each attempt with a bad token counts as a failed logon */
        plan_renewal(c, valid && why.code == 0 ? rci_number(&why.info, "expires-ms", RCI_LONGEST) : 0);
}

/* Begins a session with the fields of the Logon's reply. */
static void accept(rc_client *c, const rc_message *m, const rc_slice *info)
{
    rc_status status = {0};
    rc_slice session = {0};
    size_t own = c->cfg->max_body, told = rci_number(info, "max-body", RCI_LONGEST);
    if (told > c->max_receive)
        c->max_receive = told;
    if (!told)
        told = RCI_MAX_BODY;
    c->max_send = own && own < told ? own : told;
    c->interval = rci_number(info, "heartbeat-ms", RCI_HOUR);
    c->interval = c->interval ? rci_most(c->interval, 100) : 10000;
    rc_map_get(*info, "session", &session);
    if (session.len > RC_SESSION_MAX)
        session.len = 0;
    c->session_len = (uint8_t)session.len;
    rci_put_bytes(c->session, session);
    plan_renewal(c, rci_number(info, "expires-ms", RCI_LONGEST));
    c->phase = RCI_ONLINE;
    c->online_at = c->sent_at = c->now;
    status.state = RC_STATE_ONLINE;
    status.user = m->to;
    rci_tell(c, &status);
    rci_send_acks(c);
}

void rci_logged_on(rc_client *c, const rc_message *m)
{
    rc_status status = {0};
    if (m->type != RC_TYPE_LOGON || !(m->flags & RC_FLAG_REPLY) || m->id != RCI_LOGON_ID || !parse_accepted(m, &status.why))
        rci_leave(c, RC_INVALID_MESSAGE);
    else if (status.why.code)
        rci_end(c, &status);
    else
        accept(c, m, &status.why.info);
}
