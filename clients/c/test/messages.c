/* What a client does, by a clock and a server that the test plays: messages, requests, pushes and their limits. */
#include "world.h"

static void push(uint8_t id, bool confirm, const char *content)
{
    char b[128] = {0};
    b[0] = 1;
    b[15] = (char)id;
    b[16] = RC_PUSH_BINARY;
    b[17] = confirm;
    memcpy(b + 28, content, strlen(content));
    send_frame(RC_TYPE_PUSH, 0, 0, "", (rc_slice){b, 28 + strlen(content)});
}

static void want_ack(uint8_t id)
{
    rc_message m = want(RC_TYPE_PUSH_ACK, 0);
    CHECK(m.id == 0 && m.body.len == 16 && (uint8_t)m.body.data[15] == id, "another PushAck");
}

static void requests_get_their_replies(void)
{
    rc_message a, b;
    w.random = UINT32_MAX; /* so that IDs wrap around at once */
    init();
    CHECK(rc_request(&w.c, w.now, 1, "", "x", 1, 0, on_reply, &w) == RC_ERR_NOT_CONNECTED, "no connection");
    go_online("");
    CHECK(rc_request(&w.c, w.now, 1, NULL, "what", 4, 0, on_reply, &w) == RC_OK, "not sent");
    CHECK(rc_request(&w.c, w.now, 2, "bob", "who", 3, 0, on_reply, &w) == RC_OK, "not sent");
    CHECK(rc_request(&w.c, w.now, 3, "_0", "", 0, 0, on_reply, &w) == RC_OK, "not sent");
    CHECK(rc_request(&w.c, w.now, 4, "", "", 0, 0, on_reply, &w) == RC_ERR_FULL, "a fourth one");
    a = want(1, 0);
    b = want(2, 0);
    CHECK(a.id && b.id && a.id != b.id && b.to.len == 3 && a.to.len == 0, "other IDs");
    send_frame(1, RC_FLAG_REPLY, a.id + 1000, "", rc_text("no such"));
    send_frame(1, RC_FLAG_REPLY, 0, "", rc_text("zero"));
    send_frame(1, RC_FLAG_REPLY, a.id, "bob", rc_text("not asked"));
    send_frame(2, RC_FLAG_REPLY, b.id, "carol", rc_text("not asked"));
    CHECK(w.replies == 0, "%s", w.reply);
    send_frame(2, RC_FLAG_REPLY, b.id, "bob", rc_text("me"));
    CHECK(w.replies == 1 && w.status == RC_OK && strcmp(w.reply, "me") == 0, "%s", w.reply);
    send_frame(2, RC_FLAG_REPLY, b.id, "bob", rc_text("me too"));
    CHECK(w.replies == 1, "twice");
    send_frame(1, RC_FLAG_REPLY | RC_FLAG_ERROR, a.id, "", body_of(5003, "no", "retry-ms=1"));
    CHECK(w.replies == 2 && w.status == RC_ERR_REFUSED && w.code == 5003, "status %d", w.status);
    a = want(3, 0);
    send_frame(3, RC_FLAG_REPLY | RC_FLAG_ERROR, a.id, "", rc_text("x"));
    CHECK(w.replies == 3 && w.status == RC_ERR_REFUSED && w.code == RC_INVALID_MESSAGE, "status %d", w.status);
    CHECK(w.n_states == 1, "the connection was lost");
}

static void requests_end_without_replies(void)
{
    init();
    go_online("");
    CHECK(rc_request(&w.c, w.now, 1, "", "", 0, 1500, on_reply, &w) == RC_OK, "not sent");
    pass(1499);
    CHECK(w.replies == 0, "too early");
    pass(1);
    CHECK(w.replies == 1 && w.status == RC_ERR_TIMEOUT, "status %d", w.status);
    CHECK(rc_request(&w.c, w.now, 1, "", "", 0, 0, on_reply, &w) == RC_OK, "not sent");
    rc_disconnected(&w.c, w.now);
    CHECK(w.replies == 2 && w.status == RC_ERR_DISCONNECTED, "status %d", w.status);
    pass(300);
    go_online("");
    CHECK(rc_request(&w.c, w.now, 1, "", "", 0, 0, on_reply, &w) == RC_OK, "not sent");
    rc_close(&w.c, w.now);
    CHECK(w.replies == 3 && w.status == RC_ERR_DISCONNECTED, "status %d", w.status);
    CHECK(rc_request(&w.c, w.now, 1, "", "", 0, 0, on_reply, &w) == RC_ERR_CLOSED, "sent after the close");
}

static void who_is_online(void)
{
    const char *users[] = {"bob", "carol"}, *bad[] = {"bob", "a\nb"}, *many[1001];
    rc_message m;
    init();
    go_online("");
    CHECK(rc_who_is_online(&w.c, w.now, users, 2, 0, on_reply, &w) == RC_OK, "not sent");
    m = want(RC_TYPE_WHO_IS_ONLINE, 0);
    CHECK(m.id && m.body.len == 12 && memcmp(m.body.data, "\0\2\3bob\5carol", 12) == 0, "another list");
    send_frame(RC_TYPE_WHO_IS_ONLINE, RC_FLAG_REPLY, m.id, "", (rc_slice){"\0\1\5carol", 8});
    CHECK(w.replies == 1 && w.status == RC_OK && strcmp(w.reply, "\5carol") == 0, "%s", w.reply);
    CHECK(rc_who_is_online(&w.c, w.now, users, 2, 0, on_reply, &w) == RC_OK, "not sent");
    m = want(RC_TYPE_WHO_IS_ONLINE, 0);
    send_frame(RC_TYPE_WHO_IS_ONLINE, RC_FLAG_REPLY, m.id, "", (rc_slice){"\0\2\5carol", 8});
    CHECK(w.replies == 2 && w.status == RC_ERR_INVALID && w.n_states == 1, "status %d", w.status);
    CHECK(rc_who_is_online(&w.c, w.now, bad, 2, 0, on_reply, &w) == RC_ERR_INVALID, "sent");
    for (size_t i = 0; i < 1001; i++)
        many[i] = "u";
    CHECK(rc_who_is_online(&w.c, w.now, many, 1001, 0, on_reply, &w) == RC_ERR_INVALID, "sent");
    CHECK(rc_who_is_online(&w.c, w.now, many, 1000, 0, on_reply, &w) == RC_OK, "not sent");
}

static void answers_requests(void)
{
    rc_message m;
    init();
    go_online("max-body=100");
    send_frame(1, 0, 7, "", rc_text("why"));
    CHECK(w.messages == 1 && strcmp(w.body, "why") == 0, "%s", w.body);
    want_nothing();
    CHECK(rc_reply_to(&w.c, &w.request, "so", 2) == RC_OK, "not sent");
    m = want(1, RC_FLAG_REPLY);
    CHECK(m.id == 7 && m.to.len == 0 && m.body.len == 2, "another answer");
    send_frame(2, 0, 8, "bob", rc_text(""));
    CHECK(rc_reply_error(&w.c, &w.request, 5003, "no") == RC_OK, "not sent");
    m = want(2, RC_FLAG_REPLY | RC_FLAG_ERROR);
    CHECK(m.id == 8 && m.to.len == 3 && memcmp(m.body.data, "\x13\x8b\0\2no", 6) == 0, "another answer");
    CHECK(rc_reply_error(&w.c, &w.request, 2000, NULL) == RC_OK, "not sent");
    CHECK(memcmp(want(2, 3).body.data, "\x13\x8a\0\0", 4) == 0, "a code that is no answer");
    CHECK(rc_reply_error(&w.c, &w.request, 5003, "\xff") == RC_ERR_INVALID, "no UTF-8");
    CHECK(rc_reply_to(&w.c, &w.request, w.rx, 101) == RC_ERR_TOO_LARGE, "too large");
    CHECK(memcmp(want(2, 3).body.data, "\x13\x8a\0\0", 4) == 0, "no HandlerFailed");
    send_frame(2, 0, 0, "bob", rc_text("hi"));
    CHECK(w.messages == 3 && rc_reply_to(&w.c, &w.request, "x", 1) == RC_ERR_INVALID, "an answer to a message");
    w.verdict = RC_NO_HANDLER;
    send_frame(3, 0, 9, "", rc_text(""));
    m = want(3, RC_FLAG_REPLY | RC_FLAG_ERROR);
    CHECK(m.id == 9 && memcmp(m.body.data, "\x13\x89\0\0", 4) == 0, "no NoHandler");
    send_frame(3, 0, 0, "", rc_text(""));
    send_frame(3, 0, 10, "bob", rc_text(""));
    send_frame(0xFF06, 0, 11, "", rc_text(""));
    CHECK(w.messages == 7, "%d messages", w.messages);
    send_frame(0xFF77, 0, 12, "", rc_text(""));
    CHECK(w.messages == 7, "a type of the system");
    want_nothing();
}

static void pushes_come_once(void)
{
    init();
    go_online("");
    push(1, false, "a");
    push(2, true, "b");
    CHECK(w.n_pushes == 2, "%d pushes", w.n_pushes);
    want_ack(2);
    push(2, true, "b");
    want_ack(2);
    CHECK(w.n_pushes == 2, "twice");
    w.push_verdict = RC_LATER;
    push(3, true, "c");
    want_nothing();
    push(3, true, "c");
    CHECK(w.n_pushes == 3, "twice, while it is being handled");
    want_nothing();
    rc_disconnected(&w.c, w.now);
    rc_ack(&w.c, w.push_id);
    pass(300);
    go_online("");
    want_ack(3);
    want_nothing();
    push(3, true, "c");
    push(2, true, "b");
    want_ack(3);
    want_ack(2);
    CHECK(w.n_pushes == 3, "twice, over a reconnect");
    push(4, true, "d"); /* there is memory for two */
    push(5, true, "e");
    push(3, true, "c");
    CHECK(w.n_pushes == 6, "%d pushes", w.n_pushes);
    w.push_id[15] = 4; /* whose place was taken meanwhile */
    rc_ack(&w.c, w.push_id);
    want_ack(4);
}

static void acknowledgements_wait_for_room(void)
{
    static char body[TX];
    w.push_verdict = RC_LATER;
    init();
    go_online("");
    push(1, true, "");
    CHECK(rc_send(&w.c, 1, "", body, TX - 16 - 84) == RC_OK, "not sent");
    rc_ack(&w.c, w.push_id);
    CHECK(w.c.tx_len == TX - 84, "it has taken the room of a Close");
    want(1, 0);
    want_ack(1);
}

static void a_push_must_be_well_formed(void)
{
    init();
    go_online("");
    send_frame(RC_TYPE_PUSH, 0, 0, "", rc_text("no push"));
    CHECK(memcmp(want(RC_TYPE_CLOSE, 0).body.data, "\x07\xd4", 2) == 0, "no InvalidMessage");
    CHECK(rc_should_shutdown(&w.c) && w.n_states == 1, "it does not leave in order");
    rc_disconnected(&w.c, w.now);
    CHECK(w.last.state == RC_STATE_CLOSED && w.last.why.code == RC_INVALID_MESSAGE, "code %d", w.last.why.code);
}

static void limits_hold(void)
{
    static char body[TX];
    init();
    go_online("max-body=1000");
    CHECK(rc_send(&w.c, 1, "bob", body, 1001) == RC_ERR_TOO_LARGE, "sent");
    CHECK(rc_send(&w.c, 1, "bob", body, 1000) == RC_OK, "not sent");
    CHECK(rc_send(&w.c, 1, "bob", body, 1000) == RC_OK, "not sent");
    CHECK(rc_send(&w.c, 1, "bob", body, 1000) == RC_OK, "not sent");
    CHECK(rc_send(&w.c, 1, "bob", body, 1000) == RC_ERR_FULL, "sent into a full buffer");
    rc_written(&w.c, 700, w.now); /* a part of a frame */
    CHECK(rc_send(&w.c, 1, "bob", body, 500) == RC_OK, "not sent although there is room");
    CHECK(rc_send(&w.c, 0, "bob", body, 1) == RC_ERR_INVALID && rc_send(&w.c, 0xFF00, "", body, 1) == RC_ERR_INVALID, "a type");
    CHECK(rc_send(&w.c, 0xFF09, "", body, 1) == RC_OK, "not sent");
    CHECK(rc_send(&w.c, 1, "a\x7f", body, 1) == RC_ERR_INVALID, "a user ID");
    send_frame(1, 0, 0, "", (rc_slice){body, 200});
    CHECK(w.messages == 1, "not handed out");
    send_close(1004, "", "");
    disconnect();
    pass(300);
    go_online("max-body=100000");
    CHECK(rc_send(&w.c, 1, "bob", body, TX) == RC_ERR_TOO_LARGE, "a message larger than the buffer");
    bytes_come("\x52\x10\0\1\0\0\x0f\xf1\0\0\0\0\0\0\0\0", 16); /* a byte more than the buffer has room for */
    CHECK(memcmp(want(RC_TYPE_CLOSE, 0).body.data, "\x07\xd6", 2) == 0, "no MessageTooLarge");
    rc_disconnected(&w.c, w.now);
    CHECK(w.last.state == RC_STATE_CLOSED && w.last.why.code == RC_MESSAGE_TOO_LARGE, "code %d", w.last.why.code);
}

static void a_length_that_wraps_is_too_large(void)
{
    init();
    go_online("");
    bytes_come("\x52\x10\0\1\xff\xff\xff\xf0\0\0\0\0\0\0\0\0", 16);
    CHECK(memcmp(want(RC_TYPE_CLOSE, 0).body.data, "\x07\xd6", 2) == 0, "no MessageTooLarge");
}

static void the_programs_limit_holds(void)
{
    static char body[201];
    w.cfg.max_body = 100;
    init();
    go_online("");
    CHECK(rc_send(&w.c, 1, "", body, 101) == RC_ERR_TOO_LARGE && rc_send(&w.c, 1, "", body, 100) == RC_OK, "another limit");
    send_frame(1, 0, 0, "", (rc_slice){body, 100});
    memset(body, 'x', 200);
    body[200] = 0;
    send_close(1004, body, ""); /* which may be larger */
    CHECK(w.last.why.code == 1004, "code %d", w.last.why.code);
    disconnect();
    pass(300);
    go_online("");
    send_frame(1, 0, 0, "", (rc_slice){body, 101});
    CHECK(w.messages == 1 && memcmp(want(RC_TYPE_CLOSE, 0).body.data, "\x07\xd6", 2) == 0, "handed out");
}

static void an_error_reply_counts_too(void)
{
    static char text[101];
    init();
    go_online("max-body=100");
    send_frame(1, 0, 7, "", rc_text("why"));
    memset(text, 'x', 97);
    CHECK(rc_reply_error(&w.c, &w.request, 5003, text) == RC_ERR_TOO_LARGE, "the server would close the connection");
    text[96] = 0;
    CHECK(rc_reply_error(&w.c, &w.request, 5003, text) == RC_OK, "not sent");
    CHECK(want(1, RC_FLAG_REPLY | RC_FLAG_ERROR).body.len == 100, "another answer");
}

static void user_ids_are_text(void)
{
    static const char *const good[] = {"a", "\xc2\xa0", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"", "\x1f", "\x7f", "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x80", "\xc2\x9f", "\xc3\x28", "\xe0\x9f\xbf",
        "\xe1\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf7\xbf\xbf\xbf",
        "\xf8\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfb\xbf\xbf\xbf", "\xfc\x80\x80\x80", "\xfe\x90\x80\x80", "\xff\xbf\xbf\xbf"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(rc_is_user_id(rc_text(good[i])), "%zu: refused", i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!rc_is_user_id(rc_text(bad[i])), "%zu: accepted", i);
}

int main(void)
{
    static void (*const tests[])(void) = {requests_get_their_replies, requests_end_without_replies, who_is_online, answers_requests,
        pushes_come_once, acknowledgements_wait_for_room, a_push_must_be_well_formed, limits_hold, a_length_that_wraps_is_too_large,
        the_programs_limit_holds, an_error_reply_counts_too, user_ids_are_text};
    return run(tests, sizeof tests / sizeof *tests);
}
