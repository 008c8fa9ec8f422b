/* Messages that the program sends, and the requests that wait for their replies. */
#include "rollcall_internal.h"

#include <string.h>

/* Finds the request with this ID, or, with ID 0, a slot for another one. */
static rc_request_slot *find_request(const rc_client *c, uint32_t id)
{
    rc_request_slot *r = c->cfg->memory.requests;
    for (size_t n = c->cfg->memory.n_requests; n > 0; n--, r++)
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
    r->fn(r->arg, reply);
}

void rci_end_requests(rc_client *c, int status)
{
    rc_reply reply = {0};
    reply.status = status;
    for (size_t i = 0; i < c->cfg->memory.n_requests; i++) {
        rc_request_slot *r = &c->cfg->memory.requests[i];
        if (r->id && (status == RC_ERR_DISCONNECTED || rci_until(c, r->deadline) == 0))
            finish(r, &reply);
    }
}

/* Makes a message of the program. It has the type 0, which may not be sent, if the program may not send the type. */
static rc_message message(uint16_t type, const char *to, const void *body, size_t len)
{
    rc_message m = {0};
    if (type <= RC_TYPE_LAST || (type >= RC_TYPE_PRESENCE && type <= RC_TYPE_CHAT))
        m.type = type;
    m.to = rc_text(to);
    m.body.data = body;
    m.body.len = len;
    return m;
}

int rci_answer(rc_client *c, const rc_message *m, uint8_t flags, const void *body, size_t len)
{
    rc_message reply = {0};
    reply.type = m->type;
    reply.flags = flags;
    reply.id = m->id;
    reply.to = m->from;
    reply.body.data = body;
    reply.body.len = len;
    return m->id ? rci_queue(c, &reply) : RC_ERR_INVALID;
}

void rci_answered(rc_client *c, const rc_message *m)
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
        rc_parse_close(m->body, &reply.why);
    } else if (m->type == RC_TYPE_WHO_IS_ONLINE && !rc_parse_users(m->body, &reply.users)) {
        reply.status = RC_ERR_INVALID;
    }
    finish(r, &reply);
}

int rc_send(rc_client *c, uint16_t type, const char *to, const void *body, size_t len)
{
    rc_message m = message(type, to, body, len);
    return rci_queue(c, &m);
}

/* Queues a request, and has the reply waited for. */
static int ask(rc_client *c, uint32_t now, rc_message *m, uint32_t timeout_ms, rc_reply_fn fn, void *arg)
{
    rc_request_slot *r = find_request(c, 0);
    int err;
    if (!r)
        return RC_ERR_FULL;
    c->now = now;
    m->id = rci_next_id(c);
    err = rci_queue(c, m);
    if (err == RC_OK) {
        r->id = m->id;
        r->to = m->to.data;
        r->deadline = now + rci_setting(timeout_ms, 10000);
        r->fn = fn;
        r->arg = arg;
    }
    return err;
}

int rc_request(rc_client *c, uint32_t now, uint16_t type, const char *to, const void *body, size_t len, uint32_t timeout_ms, rc_reply_fn fn,
    void *arg)
{
    rc_message m = message(type, to, body, len);
    return ask(c, now, &m, timeout_ms, fn, arg);
}

int rc_who_is_online(rc_client *c, uint32_t now, const char *const *users, size_t n, uint32_t timeout_ms, rc_reply_fn fn, void *arg)
{
    rc_message m = {0};
    int err;
    if (n > RCI_MAX_USERS)
        return RC_ERR_INVALID;
    m.type = RC_TYPE_WHO_IS_ONLINE;
    m.body.len = 2;
    for (size_t i = 0; i < n; i++) {
        rc_slice user = rc_text(users[i]);
        if (!rc_is_user_id(user))
            return RC_ERR_INVALID;
        m.body.len += 1 + user.len;
    }
    err = ask(c, now, &m, timeout_ms, fn, arg);
    if (err == RC_OK) {
        char *p = rci_put(rci_body(c, m.body.len), 2, (uint32_t)n);
        for (; n > 0; n--) {
            rc_slice user = rc_text(*users++);
            p = rci_put_bytes(rci_put(p, 1, (uint32_t)user.len), user);
        }
    }
    return err;
}

int rc_reply_to(rc_client *c, const rc_message *m, const void *body, size_t len)
{
    int err = rci_answer(c, m, RC_FLAG_REPLY, body, len);
    if (err == RC_ERR_TOO_LARGE)
        rc_reply_error(c, m, RC_HANDLER_FAILED, NULL);
    return err;
}

int rc_reply_error(rc_client *c, const rc_message *m, uint16_t code, const char *text)
{
    rc_slice t = rc_text(text);
    int err = t.len > 0xFFFF || !rci_is_utf8(t) ? RC_ERR_INVALID : rci_answer(c, m, RC_FLAG_REPLY | RC_FLAG_ERROR, NULL, 4 + t.len);
    if (err == RC_OK)
        rci_put_bytes(rci_put(rci_body(c, 4 + t.len), 4, (uint32_t)(code >= 3000 && code < 6000 ? code : RC_HANDLER_FAILED) << 16 | (uint32_t)t.len), t);
    return err;
}
