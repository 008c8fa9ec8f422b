/* What a client does, by a clock and a server that the test plays: how it comes and goes. */
#include "world.h"

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
        renews_its_token, closes_in_order, does_not_wait_for_ever_to_close, closes_without_a_connection, callbacks_may_close,
        frames_come_in_pieces, settings_are_checked};
    return run(tests, sizeof tests / sizeof *tests);
}
