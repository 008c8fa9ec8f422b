/* The codec: frames, string maps, and the bodies of system messages. */
#include "rollcall_internal.h"

#include <string.h>

enum { PUSH_HEAD = 27 }; /* the bytes of a push up to the length of its name */

bool rci_same(rc_slice a, rc_slice b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

rc_slice rc_text(const char *s)
{
    rc_slice t = {s, s ? strlen(s) : 0};
    return t;
}

uint32_t rci_get(const char *p, int bytes)
{
    uint32_t v = 0;
    while (bytes-- > 0)
        v = v << 8 | (uint8_t)*p++;
    return v;
}

char *rci_put(char *p, int bytes, uint32_t v)
{
    for (int i = bytes; i-- > 0; v >>= 8)
        p[i] = (char)(uint8_t)v;
    return p + bytes;
}

char *rci_put_bytes(char *p, rc_slice s)
{
    if (s.len > 0 && s.data)
        memcpy(p, s.data, s.len);
    return p + s.len;
}

/* Takes n bytes off s. */
static bool cut(rc_slice *s, size_t n, rc_slice *head)
{
    if (s->len < n)
        return false;
    head->data = s->data;
    head->len = n;
    s->data += n;
    s->len -= n;
    return true;
}

/* Takes a length of some bytes, and as many bytes as it says, off s. */
static bool cut_counted(rc_slice *s, int bytes, rc_slice *head)
{
    rc_slice length;
    return cut(s, (size_t)bytes, &length) && cut(s, rci_get(length.data, bytes), head);
}

/* Reports whether s is UTF-8, and, in an ID, without control characters. */
static bool is_text(rc_slice s, bool in_id)
{
    const uint8_t *p = (const uint8_t *)s.data, *end = p + s.len;
    while (p != end) {
        uint32_t r = *p++;
        if (r >= 0x80) {
            int more = (r >= 0xC2) + (r >= 0xE0) + (r >= 0xF0);
            uint32_t least = 1u << (5 * more + 1); /* 0x800 and 0x10000, and below 0x80, which 0xC2 sees to */
            if (more == 0 || end - p < more)
                return false;
            /* One bit more than belongs to r: it is set in bytes from 0xF8 on, and makes r too large. */
            for (r &= 0x7Fu >> more; more > 0; more--) {
                if ((*p & 0xC0) != 0x80)
                    return false;
                r = r << 6 | (*p++ & 0x3Fu);
            }
            if (r < least || r > 0x10FFFF || r - 0xD800 < 0x800)
                return false;
        }
        if (in_id && (r < 0x20 || r - 0x7F <= 0x20))
            return false;
    }
    return true;
}

bool rci_is_utf8(rc_slice s) { return is_text(s, false); }

/* Reports whether s may be a user ID in a frame, where it may be empty. */
static bool is_id(rc_slice s) { return s.len <= 0xFF && is_text(s, true); }

bool rc_is_user_id(rc_slice s) { return s.len > 0 && is_id(s); }

int rc_decode(const char *in, size_t n, size_t max_body, size_t max_frame, rc_message *m, size_t *size)
{
    uint32_t length, rest;
    size_t ids;
    *size = RCI_HEADER;
    if ((n > 0 && in[0] != 0x52) || (n > 1 && in[1] != 0x10 && in[1] != 0x11 && in[1] != 0x13))
        return RC_ERR_INVALID;
    if (n < RCI_HEADER)
        return RC_MORE;
    length = rci_get(in + 4, 4);
    rest = rci_get(in + 12, 4);
    m->type = (uint16_t)rci_get(in + 2, 2);
    m->flags = in[1] & 3;
    m->device = (uint16_t)rest;
    m->id = rci_get(in + 8, 4);
    m->from.data = in + RCI_HEADER;
    m->from.len = rest >> 24;
    m->to.data = m->from.data + m->from.len;
    m->to.len = rest >> 16 & 0xFF;
    ids = m->from.len + m->to.len;
    m->body.data = m->from.data + ids;
    m->body.len = length - ids;
    if (m->type == 0 || ids > length)
        return RC_ERR_INVALID;
    /* Compared so that nothing wraps around where size_t has 32 bits. */
    if (max_frame < RCI_HEADER || length > max_frame - RCI_HEADER || m->body.len > max_body)
        return RC_ERR_TOO_LARGE;
    *size += length;
    if (n < *size)
        return RC_MORE;
    return is_id(m->from) && is_id(m->to) ? RC_OK : RC_ERR_INVALID;
}

int rc_encode(const rc_message *m, char *out, size_t room, size_t *size)
{
    size_t length = m->from.len + m->to.len + m->body.len;
    if (m->type == 0 || m->flags > 3 || m->flags == RC_FLAG_ERROR || !is_id(m->from) || !is_id(m->to) || m->body.len > UINT32_MAX - 1024)
        return RC_ERR_INVALID;
    *size = RCI_HEADER + length;
    if (*size > room)
        return RC_ERR_FULL;
    out = rci_put(out, 4, 0x52100000u | (uint32_t)m->flags << 16 | m->type);
    out = rci_put(out, 4, (uint32_t)length);
    out = rci_put(out, 4, m->id);
    out = rci_put(out, 4, (uint32_t)(m->from.len << 24 | m->to.len << 16 | m->device));
    rci_put_bytes(rci_put_bytes(rci_put_bytes(out, m->from), m->to), m->body);
    return RC_OK;
}

bool rc_map_next(rc_slice *pairs, rc_slice *key, rc_slice *value)
{
    return cut_counted(pairs, 1, key) && cut_counted(pairs, 2, value);
}

bool rc_map_get(rc_slice pairs, const char *key, rc_slice *value)
{
    rc_slice k, v;
    while (rc_map_next(&pairs, &k, &v))
        if (rci_same(k, rc_text(key))) {
            *value = v;
            return true;
        }
    return false;
}

/* Takes the string map off s that s begins with, and checks it. */
static bool cut_map(rc_slice *s, rc_slice *pairs)
{
    rc_slice head, key, value;
    const char *start;
    if (!cut(s, 1, &head))
        return false;
    start = s->data;
    for (uint32_t count = rci_get(head.data, 1); count > 0; count--) {
        rc_slice before = {start, (size_t)(s->data - start)}, other, ignored;
        if (!rc_map_next(s, &key, &value) || key.len == 0 || !is_text(key, false) || !is_text(value, false))
            return false;
        while (rc_map_next(&before, &other, &ignored))
            if (rci_same(other, key))
                return false;
    }
    pairs->data = start;
    pairs->len = (size_t)(s->data - start);
    return true;
}

bool rc_parse_map(rc_slice body, rc_slice *pairs)
{
    pairs->len = 0;
    return body.len == 0 || (cut_map(&body, pairs) && body.len == 0);
}

bool rc_parse_close(rc_slice body, rc_reason *why)
{
    rc_slice head;
    if (cut(&body, 2, &head) && cut_counted(&body, 2, &why->text) && is_text(why->text, false) && rc_parse_map(body, &why->info)) {
        why->code = (uint16_t)rci_get(head.data, 2);
        return true;
    }
    why->code = RC_INVALID_MESSAGE;
    why->text.len = 0;
    return false;
}

bool rc_parse_push(rc_slice body, rc_push *p)
{
    rc_slice head;
    uint8_t any = 0;
    if (!cut(&body, PUSH_HEAD, &head) || !cut(&body, (uint8_t)head.data[26], &p->name) || !cut_map(&body, &p->metadata))
        return false;
    p->id = (const uint8_t *)head.data;
    p->kind = (uint8_t)head.data[16];
    p->confirm = head.data[17] == 1;
    p->time_ms = (int64_t)((uint64_t)rci_get(head.data + 18, 4) << 32 | rci_get(head.data + 22, 4));
    p->content = body;
    for (int i = 0; i < 16; i++)
        any |= p->id[i];
    return (head.data[17] & 0xFE) == 0 && any != 0 && p->kind != 0 && is_text(p->name, false) &&
        (p->kind > RC_PUSH_CUSTOM || (p->kind == RC_PUSH_CUSTOM) == (p->name.len > 0)) &&
        (p->kind != RC_PUSH_TEXT || is_text(body, false));
}

bool rc_user_next(rc_slice *users, rc_slice *id) { return cut_counted(users, 1, id); }

bool rc_parse_users(rc_slice body, rc_slice *users)
{
    rc_slice head, id;
    if (!cut(&body, 2, &head))
        return false;
    uint32_t count = rci_get(head.data, 2);
    rc_slice all = body;
    if (count > RCI_MAX_USERS)
        return false;
    for (; count > 0; count--)
        if (!rc_user_next(&body, &id) || !rc_is_user_id(id))
            return false;
    if (body.len > 0)
        return false;
    *users = all;
    return true;
}

uint32_t rci_number(const rc_slice *pairs, const char *key, uint32_t most)
{
    rc_slice s;
    uint32_t v = 0;
    if (!rc_map_get(*pairs, key, &s))
        return 0;
    for (; s.len > 0; s.len--) {
        uint32_t digit = (uint8_t)*s.data++ - (uint32_t)'0';
        if (digit > 9)
            return 0;
        v = v > most / 10 ? most : v * 10 + digit;
    }
    return v < most ? v : most;
}
