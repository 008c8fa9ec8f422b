/* What a client does, by a clock and a server that the test plays. All runs three times: from 0, and over the two places where 32-bit times
 * wrap around. */
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

static void logs_on(void)
{
    rc_slice fields;
    w.cfg.device = 7;
    w.fields[0] = (rc_field){RC_TEXT("room"), RC_TEXT("42")};
    w.fields[1] = (rc_field){RC_TEXT("token"), RC_TEXT("old")};
    w.cfg.fields = w.fields;
    w.cfg.n_fields = 2;
    w.cfg.token = on_token;
    init();
    CHECK(rc_get_state(&w.c) == RC_STATE_RECONNECTING, "it is not new");
    open_connection();
    {
        rc_message m = want(RC_TYPE_LOGON, 0);
        CHECK(m.id && m.device == 7 && m.from.len == 5 && memcmp(m.from.data, "alice", 5) == 0 && m.to.len == 0, "another header");
        CHECK(rc_parse_map(m.body, &fields) && has(fields, "room", "42") && has(fields, "token", "t1"), "other fields");
        CHECK(!has(fields, "token", "old") && m.body.len == 1 + 9 + 10, "more fields, in %zu bytes", m.body.len);
        CHECK(rc_send(&w.c, 1, "", "x", 1) == RC_ERR_NOT_CONNECTED, "sent before the answer");
        send_frame(RC_TYPE_LOGON, RC_FLAG_REPLY, m.id, "", (rc_slice){"\0\0", 2});
    }
    CHECK(w.n_states == 1 && w.last.state == RC_STATE_ONLINE && w.last.user.len == 0, "not online");
    CHECK(rc_get_state(&w.c) == RC_STATE_ONLINE && rc_session(&w.c).len == 0, "another state");
    send_close(1004, "", "");
    disconnect();
    pass(300);
    open_connection();
    fields = welcome("session=s2");
    CHECK(has(fields, "token", "t2"), "the token was not asked for again");
}

static void without_a_token_the_attempt_fails(void)
{
    w.cfg.token = on_token;
    w.cfg.retry_first = true;
    w.no_token = true;
    init();
    open_connection();
    CHECK(w.states[RC_STATE_RECONNECTING] == 1 && w.last.why.code == RC_NETWORK_ERROR, "code %d", w.last.why.code);
    want_nothing();
    disconnect();
    w.no_token = false;
    pass(300);
    go_online("");
}

static void the_first_failure_ends_it(void)
{
    init();
    tick();
    CHECK(rc_should_connect(&w.c), "no attempt");
    rc_disconnected(&w.c, w.now);
    CHECK(w.n_states == 1 && w.last.state == RC_STATE_CLOSED && w.last.why.code == 1001 && w.last.may_reconnect, "state %d", w.last.state);
    CHECK(rc_tick(&w.c, w.now) == RC_NEVER && rc_send(&w.c, 1, "", "x", 1) == RC_ERR_CLOSED, "not closed");
}

static void attempts_take_15_seconds_at_most(void)
{
    w.cfg.retry_first = true;
    init();
    tick();
    CHECK(rc_should_connect(&w.c), "no attempt");
    pass(14999);
    CHECK(!rc_should_disconnect(&w.c), "too early");
    pass(1);
    CHECK(w.states[RC_STATE_RECONNECTING] == 1 && !rc_should_connect(&w.c), "an attempt beside another");
    pass(1000);
    CHECK(!rc_should_connect(&w.c), "an attempt while the old socket is open");
    disconnect();
    open_connection();
    w.now += 10000;
    tick();
    CHECK(!rc_should_disconnect(&w.c), "too early");
    w.now += 5000;
    tick();
    disconnect(); /* there was no answer to the Logon */
}

static void backs_off_with_full_jitter(void)
{
    uint32_t limit = 200;
    init();
    go_online("");
    send_close(1004, "", "");
    disconnect();
    w.random = 0;
    for (int n = 0; n < 14; n++) {
        /* The random number makes the wait as long as it may be, which is limit; limit is one more than the largest remainder. */
        if (n > 0) {
            rc_disconnected(&w.c, w.now);
        }
        CHECK(w.c.at - w.now <= limit + 1, "attempt %d waits %u of %u", n, w.c.at - w.now, limit);
        tick();
        if (!rc_should_connect(&w.c)) {
            pass(w.c.at - w.now);
            CHECK(rc_should_connect(&w.c), "no attempt %d", n);
        }
        limit = limit * 2 < 30000 ? limit * 2 : 30000;
        w.random = limit; /* limit % (limit + 1) is limit */
    }
    CHECK(w.c.attempt == 8 && limit == 30000, "%d doublings", w.c.attempt);
    rc_disconnected(&w.c, w.now);
    CHECK(w.c.at - w.now == 30001, "the longest wait is %u", w.c.at - w.now);
}

static void a_minute_online_begins_the_backoff_anew(void)
{
    init();
    go_online("heartbeat-ms=100000");
    for (int i = 0; i < 2; i++) {
        send_close(1004, "", "");
        disconnect();
        pass(1);
        go_online("heartbeat-ms=100000");
        CHECK(w.c.attempt == i + 1, "attempt %d", w.c.attempt);
    }
    w.now += 60000;
    w.random = 200;
    send_close(1004, "", "");
    CHECK(w.c.attempt == 1 && w.c.at - w.now == 201, "attempt %d, in %u ms", w.c.attempt, w.c.at - w.now);
}

static void waits_as_the_server_says(void)
{
    init();
    go_online("");
    send_close(1004, "stopping", "retry-ms=5000");
    CHECK(strcmp(w.text, "stopping") == 0 && w.last.may_reconnect, "%s", w.text);
    disconnect();
    pass(5000);
    CHECK(!rc_should_connect(&w.c), "too early");
    pass(1);
    go_online("");
    send_close(1004, "", "retry-ms=99999999999999999999");
    disconnect();
    pass(3600000);
    CHECK(!rc_should_connect(&w.c), "too early");
    pass(1);
    CHECK(rc_should_connect(&w.c), "more than an hour");
}

static void the_class_of_a_code_decides(void)
{
    static const struct {
        int code;
        bool again;
    } cases[] = {{1000, true}, {1010, true}, {1999, true}, {2000, false}, {2999, false}, {3000, true}, {3999, true}, {4000, false},
        {4999, false}, {5000, false}, {0, false}, {999, false}, {6000, false}, {65535, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_world(w.now);
        init();
        go_online("");
        send_close(cases[i].code, "", "");
        CHECK(w.last.state == (cases[i].again ? RC_STATE_RECONNECTING : RC_STATE_CLOSED) && w.last.why.code == cases[i].code, "%d", cases[i].code);
        CHECK(w.last.may_reconnect == cases[i].again, "%d", cases[i].code);
        disconnect();
    }
}

static void refuse(int code)
{
    rc_message m;
    open_connection();
    m = want(RC_TYPE_LOGON, 0);
    send_frame(RC_TYPE_LOGON, RC_FLAG_REPLY | RC_FLAG_ERROR, m.id, "", body_of(code, "no", ""));
}

static void already_logged_on_may_be_its_own_ghost(void)
{
    init();
    go_online("heartbeat-ms=1000 session=s1");
    rc_disconnected(&w.c, w.now);
    for (int i = 0; i < 3; i++) {
        pass(1);
        refuse(RC_ALREADY_LOGGED_ON);
        CHECK(w.last.state == RC_STATE_RECONNECTING && !w.last.may_reconnect, "it gave up after %d", i);
        disconnect();
        pass(500);
    }
    pass(1500);
    refuse(RC_ALREADY_LOGGED_ON);
    CHECK(w.last.state == RC_STATE_CLOSED && w.last.why.code == 2001, "it tries on after three intervals");
}

static void at_first_already_logged_on_ends_it(void)
{
    w.cfg.retry_first = true;
    init();
    refuse(RC_ALREADY_LOGGED_ON);
    CHECK(w.last.state == RC_STATE_CLOSED && strcmp(w.text, "no") == 0, "state %d", w.last.state);
}

static void comes_back_with_its_session(void)
{
    rc_slice fields;
    char session[RC_SESSION_MAX + 12];
    w.fields[0] = (rc_field){RC_TEXT("session"), RC_TEXT("kept")};
    w.cfg.fields = w.fields;
    w.cfg.n_fields = 1;
    init();
    open_connection();
    fields = welcome("session=s1");
    CHECK(has(fields, "session", "kept"), "without the program's session");
    CHECK(rc_session(&w.c).len == 2, "another session");
    rc_disconnected(&w.c, w.now);
    pass(300);
    open_connection();
    sprintf(session, "session=%0*d", RC_SESSION_MAX + 1, 0);
    fields = welcome(session);
    CHECK(has(fields, "session", "s1"), "without its session");
    CHECK(rc_session(&w.c).len == 0, "a session that is too long");
}

static void the_address_of_the_server_is_tried_once(void)
{
    init();
    CHECK(!rc_address(&w.c), "an address");
    go_online("");
    send_close(1004, "", "address=b.example:900");
    disconnect();
    CHECK(rc_address(&w.c) && strcmp(rc_address(&w.c), "b.example:900") == 0, "no address");
    pass(200);
    CHECK(rc_should_connect(&w.c), "no attempt");
    rc_disconnected(&w.c, w.now);
    CHECK(!rc_address(&w.c), "the address that failed");
    pass(400);
    go_online("");
    send_close(1004, "", "address=a-name-that-is-too-long.example.com:900");
    CHECK(!rc_address(&w.c), "an address that does not fit");
}

static void sends_heartbeats_when_silent(void)
{
    rc_message m;
    init();
    go_online("heartbeat-ms=2000");
    pass(1000);
    CHECK(rc_send(&w.c, 1, "", "x", 1) == RC_OK, "not sent");
    want(1, 0);
    send_frame(RC_TYPE_HEARTBEAT, 0, 0, "", rc_text(""));
    pass(1999);
    send_frame(RC_TYPE_HEARTBEAT, 0, 0, "", rc_text(""));
    want_nothing();
    pass(1);
    m = want(RC_TYPE_HEARTBEAT, 0);
    CHECK(m.id == 0 && m.body.len == 0, "it asks");
    send_frame(RC_TYPE_HEARTBEAT, 0, 77, "", rc_text(""));
    m = want(RC_TYPE_HEARTBEAT, RC_FLAG_REPLY);
    CHECK(m.id == 77, "another ID");
    send_close(1004, "", "");
    disconnect();
    pass(300);
    go_online("heartbeat-ms=1"); /* which is 100 ms */
    pass(99);
    want_nothing();
    pass(1);
    want(RC_TYPE_HEARTBEAT, 0);
}

static void gives_a_silent_server_up(void)
{
    rc_message m;
    init();
    go_online("heartbeat-ms=2000");
    pass(2000);
    m = want(RC_TYPE_HEARTBEAT, 0);
    CHECK(m.id != 0, "it does not ask");
    send_frame(RC_TYPE_HEARTBEAT, RC_FLAG_REPLY, m.id, "", rc_text(""));
    pass(5999);
    CHECK(w.n_states == 1, "too early");
    pass(1);
    CHECK(w.last.state == RC_STATE_RECONNECTING && w.last.why.code == RC_NETWORK_ERROR, "a silent server is not noticed");
    disconnect();
}

static void asks_once_more_after_a_standstill(void)
{
    init();
    go_online("heartbeat-ms=2000");
    pass(4000);
    w.out_len = 0;
    w.now += 600000; /* a laptop that sleeps */
    tick();
    CHECK(want(RC_TYPE_HEARTBEAT, 0).id != 0, "it does not ask");
    pass(1999);
    CHECK(w.n_states == 1, "too early");
    w.now += 600000; /* and again */
    tick();
    CHECK(w.last.state == RC_STATE_RECONNECTING, "a machine that is always late finds no dead server");
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

static void renews_its_token(void)
{
    rc_message m;
    rc_slice fields;
    w.cfg.token = on_token;
    init();
    go_online("heartbeat-ms=3600000 expires-ms=10000 session=s1");
    pass(5999);
    want_nothing();
    pass(1501);
    m = want(RC_TYPE_RENEW, 0);
    CHECK(m.id && rc_parse_map(m.body, &fields) && has(fields, "token", "t2") && !has(fields, "session", "s1"), "other fields");
    send_frame(RC_TYPE_RENEW, RC_FLAG_REPLY | RC_FLAG_ERROR, m.id, "", body_of(1008, "later", "retry-ms=700"));
    pass(699);
    want_nothing();
    pass(200);
    m = want(RC_TYPE_RENEW, 0);
    send_frame(RC_TYPE_RENEW, RC_FLAG_REPLY, m.id, "", body_of(0, NULL, "expires-ms=20000"));
    pass(11999);
    want_nothing();
    pass(3001);
    m = want(RC_TYPE_RENEW, 0);
    send_frame(RC_TYPE_RENEW, RC_FLAG_REPLY | RC_FLAG_ERROR, m.id, "", body_of(2003, "bad", ""));
    pass(100000);
    want_nothing(); /* a bad token is not tried again */
    CHECK(w.n_states == 1, "the connection was lost");
    send_close(1010, "", "");
    CHECK(w.last.state == RC_STATE_RECONNECTING, "state %d", w.last.state);
}

static void closes_in_order(void)
{
    init();
    go_online("");
    CHECK(rc_send(&w.c, 1, "", "last", 4) == RC_OK, "not sent");
    rc_close(&w.c, w.now);
    rc_close(&w.c, w.now);
    CHECK(!rc_should_shutdown(&w.c) && !rc_should_disconnect(&w.c), "too early");
    want(1, 0);
    CHECK(memcmp(want(RC_TYPE_CLOSE, 0).body.data, "\x03\xe8", 2) == 0 && rc_should_shutdown(&w.c), "no Close");
    send_frame(1, 0, 0, "", rc_text("late"));
    CHECK(w.messages == 0 && w.n_states == 1, "handed out after the close");
    rc_disconnected(&w.c, w.now);
    CHECK(w.last.state == RC_STATE_CLOSED && w.last.why.code == RC_CLIENT_CLOSED, "code %d", w.last.why.code);
    rc_close(&w.c, w.now);
    want_nothing();
}

static void does_not_wait_for_ever_to_close(void)
{
    init();
    go_online("");
    rc_close(&w.c, w.now);
    write_all();
    pass(2999);
    CHECK(w.n_states == 1, "too early");
    pass(1);
    CHECK(w.last.state == RC_STATE_CLOSED, "not closed");
    disconnect();
}

static void closes_without_a_connection(void)
{
    init();
    go_online("");
    send_close(1004, "", "");
    rc_close(&w.c, w.now);
    CHECK(w.last.state == RC_STATE_CLOSED && w.last.why.code == RC_CLIENT_CLOSED, "not closed");
    disconnect();
}

static void callbacks_may_close(void)
{
    init();
    go_online("");
    w.close_in_message = true;
    send_frame(1, 0, 7, "", rc_text("a"));
    want(RC_TYPE_CLOSE, 0);
    send_frame(1, 0, 8, "", rc_text("b"));
    CHECK(w.messages == 1, "a message after the close");
    begin_world(w.now);
    init();
    go_online("");
    w.close_in_state = true;
    send_close(1004, "", "");
    CHECK(w.states[RC_STATE_RECONNECTING] == 1 && w.states[RC_STATE_CLOSED] == 1, "not closed");
    disconnect();
}

static void frames_come_in_pieces(void)
{
    char frame[64];
    rc_message m = {0};
    size_t size;
    m.type = 1;
    m.from = rc_text("bob");
    m.body = rc_text("hello");
    rc_encode(&m, frame, sizeof frame, &size);
    init();
    go_online("");
    for (size_t i = 0; i < size; i++)
        bytes_come(frame + i, 1);
    CHECK(w.messages == 1 && strcmp(w.body, "hello") == 0 && strcmp(w.from, "bob") == 0, "%s", w.body);
}

static void settings_are_checked(void)
{
    w.cfg.user = "_0";
    CHECK(rc_init(&w.c, &w.cfg, 0) == RC_ERR_INVALID, "a reserved user");
    w.cfg.user = "alice";
    w.cfg.memory.n_pushes = 0;
    CHECK(rc_init(&w.c, &w.cfg, 0) == RC_ERR_INVALID, "no memory for pushes");
    w.cfg.on_push = NULL;
    CHECK(rc_init(&w.c, &w.cfg, 0) == RC_OK, "no pushes at all");
    w.fields[0] = w.fields[1] = (rc_field){RC_TEXT("a"), RC_TEXT("b")};
    w.cfg.fields = w.fields;
    w.cfg.n_fields = 2;
    CHECK(rc_init(&w.c, &w.cfg, 0) == RC_ERR_INVALID, "a key twice");
    w.cfg.n_fields = 1;
    CHECK(rc_init(&w.c, &w.cfg, 0) == RC_OK, "once");
    w.cfg.random = NULL;
    CHECK(rc_init(&w.c, &w.cfg, 0) == RC_ERR_INVALID, "no random numbers");
}

int main(void)
{
    static void (*const tests[])(void) = {logs_on, without_a_token_the_attempt_fails, the_first_failure_ends_it, attempts_take_15_seconds_at_most,
        backs_off_with_full_jitter, a_minute_online_begins_the_backoff_anew, waits_as_the_server_says, the_class_of_a_code_decides,
        already_logged_on_may_be_its_own_ghost, at_first_already_logged_on_ends_it, comes_back_with_its_session,
        the_address_of_the_server_is_tried_once, sends_heartbeats_when_silent, gives_a_silent_server_up, asks_once_more_after_a_standstill,
        requests_get_their_replies, requests_end_without_replies, who_is_online, answers_requests, pushes_come_once, acknowledgements_wait_for_room,
        a_push_must_be_well_formed, limits_hold, a_length_that_wraps_is_too_large, the_programs_limit_holds, renews_its_token, closes_in_order,
        does_not_wait_for_ever_to_close, closes_without_a_connection, callbacks_may_close, frames_come_in_pieces, settings_are_checked};
    static const uint32_t times[] = {0, UINT32_MAX - 1000, INT32_MAX - 1000};
    for (size_t t = 0; t < 3; t++)
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
            begin_world(times[t]);
            tests[i]();
        }
    printf("%d checks\n", checks);
    return 0;
}
