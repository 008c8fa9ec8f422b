/* librollcall, the C client of Rollcall: a state machine without I/O.
 *
 * The caller owns the socket, the clock and all memory. The library allocates nothing, keeps no global state, calls no function of the
 * operating system and logs nothing. rollcall_posix.h drives it with poll and TCP sockets.
 *
 *     rc_init(&c, &cfg, now);
 *     while (rc_get_state(&c) != RC_STATE_CLOSED) {
 *         wait for the socket, or until rc_tick(&c, now) ms have passed
 *         if (rc_should_disconnect(&c)) close the socket, rc_disconnected(&c, now)
 *         if (rc_should_connect(&c))    open a connection to rc_address(&c); then rc_connected(&c, now), or rc_disconnected(&c, now)
 *         rc_rx(&c, &room), read, rc_received(&c, n, now)
 *         rc_tx(&c, &n), write, rc_written(&c, n, now); if (rc_should_shutdown(&c)) shut down the sending side
 *     }
 *
 * Threads: none. Call all functions of one client on one thread, or under one lock. Callbacks run inside rc_connected, rc_received,
 * rc_disconnected, rc_tick and rc_close. A callback may call all functions but rc_init and the first four of these.
 *
 * Time: `now` is a clock in milliseconds that is never set back. It may wrap around, as uint32_t counters do after 49 days. Call rc_tick
 * once in 10 days at least.
 *
 * Slices that a callback gets are valid until it returns. */
#ifndef ROLLCALL_H
#define ROLLCALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The longest session ID that is kept, in bytes; servers of Rollcall use 36. A client cannot take over a session with a longer one. */
#ifndef RC_SESSION_MAX
#define RC_SESSION_MAX 64
#endif

/* What functions return, and how requests end. Zero is success. */
enum {
    RC_OK = 0,
    RC_MORE = 1,              /* rc_decode: the frame is unfinished */
    RC_NO_HANDLER = 2,        /* from on_message: no handler for this type; the server gets the error reply NoHandler if it asked */
    RC_LATER = 3,             /* from on_push: the push has not been handled yet; rc_ack follows */
    RC_ERR_INVALID = -1,      /* an argument, or what came, breaks the rules of the protocol */
    RC_ERR_TOO_LARGE = -2,    /* larger than the server's limit, than rc_config.max_body, or than the buffer */
    RC_ERR_FULL = -3,         /* no room in the buffer or the request table now; try again after rc_written, or after a reply */
    RC_ERR_NOT_CONNECTED = -4,/* no session at present */
    RC_ERR_CLOSED = -5,       /* the client has ended */
    RC_ERR_REFUSED = -6,      /* a request was answered with an error reply; rc_reply has its code and text */
    RC_ERR_TIMEOUT = -7,      /* a request got no reply in time */
    RC_ERR_DISCONNECTED = -8  /* the connection was lost before the reply came; the server may have handled the request */
};

/* Message types of the system. The application's are 1 to RC_TYPE_LAST. */
enum {
    RC_TYPE_LAST = 0xFEFF, RC_TYPE_HEARTBEAT = 0xFF00, RC_TYPE_LOGON = 0xFF01, RC_TYPE_CLOSE = 0xFF02, RC_TYPE_PUSH = 0xFF03,
    RC_TYPE_PUSH_ACK = 0xFF04, RC_TYPE_WHO_IS_ONLINE = 0xFF05, RC_TYPE_PRESENCE = 0xFF06, RC_TYPE_CHAT = 0xFF09, RC_TYPE_RENEW = 0xFF0A
};

/* Flags of a frame. */
enum { RC_FLAG_REPLY = 1, RC_FLAG_ERROR = 2 };

/* Codes of a Close, and of error replies from 5000 on. The application has 3000 to 4999. docs/protocol.md describes each. */
enum {
    RC_CLIENT_CLOSED = 1000, RC_NETWORK_ERROR = 1001, RC_HEARTBEAT_TIMEOUT = 1002, RC_SLOW_CONSUMER = 1003, RC_SERVER_STOPPING = 1004,
    RC_LOGON_TIMEOUT = 1005, RC_TOO_MANY_CONNECTIONS = 1006, RC_RATE_LIMITED = 1007, RC_INTERNAL_ERROR = 1008, RC_NODE_LOST = 1009,
    RC_TOKEN_EXPIRED = 1010, RC_PUSHED_OUT = 2000, RC_ALREADY_LOGGED_ON = 2001, RC_KICKED_OUT = 2002, RC_UNAUTHORIZED = 2003,
    RC_INVALID_MESSAGE = 2004, RC_WRONG_USER_ID = 2005, RC_MESSAGE_TOO_LARGE = 2006, RC_DEVICE_NOT_ALLOWED = 2007,
    RC_SESSION_EXPIRED = 2008, RC_USER_OFFLINE = 5000, RC_HANDLER_MISSING = 5001, RC_HANDLER_FAILED = 5002, RC_REFUSED = 5003,
    RC_TIMED_OUT = 5004
};

/* rc_tick returns it when it need not be called again. As rc_config.max_ms it means that the client never reconnects. */
#define RC_NEVER UINT32_MAX

/* Bytes in memory of another owner. There is no NUL behind them, and data may be NULL where len is 0. */
typedef struct rc_slice {
    const char *data;
    size_t len;
} rc_slice;

/* The slice of a string literal, in initializers. */
#define RC_TEXT(literal) {"" literal, sizeof(literal) - 1}

/* Makes a slice of a string that ends in NUL; of NULL an empty one. */
rc_slice rc_text(const char *s);

/* A field of a Logon. Both are UTF-8; the key has 1 to 255 bytes, the value 65,535 at most. */
typedef struct rc_field {
    rc_slice key, value;
} rc_field;

/* A message, as it is in a frame. */
typedef struct rc_message {
    uint16_t type;
    uint8_t flags;   /* RC_FLAG_…; 0 in what on_message gets */
    uint16_t device; /* the sender's device class, unchecked */
    uint32_t id;     /* 0: no reply is expected */
    rc_slice from;   /* the sender's user ID; empty is the server */
    rc_slice to;
    rc_slice body;
} rc_message;

/* Kinds of pushes. A server may send others; acknowledge and ignore those. */
enum { RC_PUSH_TEXT = 1, RC_PUSH_BINARY = 2, RC_PUSH_KICK_OUT = 3, RC_PUSH_NOTIFICATION = 4, RC_PUSH_CUSTOM = 5 };

/* A push of the server. */
typedef struct rc_push {
    const uint8_t *id; /* 16 bytes */
    uint8_t kind;
    bool confirm;      /* the server wants an acknowledgement, which the client sends behind the handler */
    int64_t time_ms;   /* since 1970-01-01 UTC; 0 is unknown */
    rc_slice name;     /* of an RC_PUSH_CUSTOM */
    rc_slice metadata; /* pairs for rc_map_next */
    rc_slice content;
} rc_push;

typedef enum rc_state { RC_STATE_RECONNECTING, RC_STATE_ONLINE, RC_STATE_CLOSED } rc_state;

/* What a Close and an error reply say. */
typedef struct rc_reason {
    uint16_t code;
    rc_slice text; /* UTF-8, for people; empty where the server has sent none */
    rc_slice info; /* pairs for rc_map_next */
} rc_reason;

/* What on_state gets. */
typedef struct rc_status {
    rc_state state;
    bool may_reconnect; /* whether another logon makes sense after why.code */
    rc_slice user;      /* with RC_STATE_ONLINE: the user ID, as the server names it; empty if it does not */
    rc_reason why;      /* otherwise. RC_NETWORK_ERROR: there was no Close, or no connection; RC_CLIENT_CLOSED: rc_close was called */
} rc_status;

/* How a request has ended. */
typedef struct rc_reply {
    int status;                /* RC_OK, RC_ERR_REFUSED, RC_ERR_TIMEOUT, RC_ERR_DISCONNECTED; RC_ERR_INVALID for a malformed ID list */
    const rc_message *message; /* the reply; NULL if there is none */
    rc_reason why;             /* with RC_ERR_REFUSED */
    rc_slice users;            /* of rc_who_is_online: IDs for rc_user_next */
} rc_reply;

typedef void (*rc_reply_fn)(void *arg, const rc_reply *reply);

/* A request that waits for its reply. The caller provides the memory; the fields are the library's. */
typedef struct rc_request_slot {
    uint32_t id, deadline;
    const char *to;
    rc_reply_fn fn;
    void *arg;
} rc_request_slot;

/* A push with `confirm` that came. The caller provides the memory; the fields are the library's. */
typedef struct rc_push_slot {
    uint8_t id[16];
    uint8_t state;
} rc_push_slot;

/* The memory of a client. It must stay valid as long as the client. */
typedef struct rc_memory {
    /* What came and is not handled yet. A larger frame from the server ends the client with MessageTooLarge; 1 MiB and 64 KiB and 1,024
     * bytes hold all that a server with the default max-body sends. 64 bytes at least. */
    char *rx;
    size_t rx_size;
    /* What waits to be written. It must hold the Logon and the largest message that is to be sent, and 96 bytes more. 256 bytes at least. */
    char *tx;
    size_t tx_size;
    /* The requests that may wait at a time. Without it rc_request returns RC_ERR_FULL. */
    rc_request_slot *requests;
    size_t n_requests;
    /* The last pushes with `confirm`, so that one that comes again is acknowledged and not handed out. The protocol advises 1,024. Fewer
     * save memory; a push may then be handed out twice when the server repeats it late. 1 at least where on_push is set. */
    rc_push_slot *pushes;
    size_t n_pushes;
    /* Keeps the address that a server names. Without it, or if it is too small (less than the address and a NUL), addresses are ignored. */
    char *address;
    size_t address_size;
} rc_memory;

/* The settings of a client. Zero means the default. They must stay valid and unchanged as long as the client. */
typedef struct rc_config {
    const char *user;       /* the user that logs on; NULL or "": the server finds the user by the token */
    uint16_t device;        /* the device class; 0 is unspecified */
    const rc_field *fields; /* go with each Logon and Renew; "session" takes a session over that the program knows from an earlier run */
    size_t n_fields;
    rc_memory memory;

    /* Called before each Logon and Renew, in rc_connected and rc_tick, if it is set. The token replaces a "token" in fields. False: there is
     * none now; the attempt has failed and is repeated later. The slice must stay valid until that function has returned. */
    bool (*token)(void *ctx, rc_slice *token);
    /* Called for each change of state, and each failed attempt to reconnect. */
    void (*on_state)(void *ctx, const rc_status *status);
    /* Called for each message of the server or another user; one with an ID is a request: answer it with rc_reply_to or rc_reply_error, here
     * or later. Return RC_OK or RC_NO_HANDLER. Without on_message all requests of the server are answered NoHandler. */
    int (*on_message)(void *ctx, const rc_message *m);
    /* Called once for each push. RC_OK: it has been handled, and is acknowledged now. RC_LATER: call rc_ack when it has. Without on_push
     * pushes are dropped, and not acknowledged. */
    int (*on_push)(void *ctx, const rc_push *push);
    /* Returns 32 random bits. Required. Clients that start at the same time must not get the same numbers. */
    uint32_t (*random)(void *ctx);
    void *ctx; /* what the functions above get */

    /* The wait before attempt n to reconnect is the server's retry-ms, and a random time from 0 to min(max_ms, min_ms × 2ⁿ) more.
     * 0: 200 and 30,000. max_ms RC_NEVER: no attempt. min_ms is at most an hour, and all times are at most 2^30 ms. */
    uint32_t min_ms, max_ms;
    uint32_t stable_ms;  /* a session of this length begins the backoff anew; 0: 60,000 */
    uint32_t attempt_ms; /* how long connecting and logging on may take; 0: 15,000 */
    uint32_t close_ms;   /* how long rc_close waits for the server to end its side; 0: 3,000 */
    size_t max_body;     /* the largest body in bytes, both ways; the server's limit counts too. 0: the server's limit */
    bool retry_first;    /* repeat the first attempt as later ones; otherwise the client ends if it fails */
} rc_config;

/* A client. The fields are the library's. */
typedef struct rc_client {
    const rc_config *cfg;
    uint32_t now;
    uint8_t phase, asks, attempt, session_len;
    bool transport, expires, has_address, unsent; /* unsent: acknowledgements wait */
    uint32_t at; /* the end of the present phase, if it has one */
    size_t rx_len, tx_pos, tx_len, max_send, max_receive;
    size_t push_next; /* the oldest slot */
    uint32_t online_at, lost_at, heard_at, asked_at, sent_at, interval;
    uint32_t renew_at, expires_at, renew_id, last_id;
    uint16_t why; /* the code to end with */
    char session[RC_SESSION_MAX];
} rc_client;

/* Begins a client; the first attempt is due at once. Returns RC_ERR_INVALID for a user ID or field that may not be sent, or a setting that is
 * missing. */
int rc_init(rc_client *c, const rc_config *cfg, uint32_t now);

/* Does what is due: heartbeats, time limits, attempts, renewals. Returns in how many milliseconds it wants to be called again, if nothing
 * else happens before; RC_NEVER once the client has ended. */
uint32_t rc_tick(rc_client *c, uint32_t now);

/* Reports, once for each attempt, that the caller should open a connection and call rc_connected or rc_disconnected when it knows. */
bool rc_should_connect(rc_client *c);

/* Returns the "host:port" that the server has named to connect to instead of the caller's own; NULL if there is none. With TLS the same
 * verification applies, with that host as the name. */
const char *rc_address(const rc_client *c);

/* Reports that the caller should close its connection, or stop opening it, and call rc_disconnected. What waits to be written is void. */
bool rc_should_disconnect(const rc_client *c);

/* Reports that all has been written and the caller should shut down its sending side, once; it goes on reading. */
bool rc_should_shutdown(const rc_client *c);

/* Says that the connection is open, its TLS too. */
void rc_connected(rc_client *c, uint32_t now);

/* Says that the connection has ended or could not be made, and is closed. */
void rc_disconnected(rc_client *c, uint32_t now);

/* Returns where to read to, and for how many bytes there is room: one at least. Pass to rc_received how many came. */
char *rc_rx(rc_client *c, size_t *room);
void rc_received(rc_client *c, size_t n, uint32_t now);

/* Returns what is to be written, and its length, which may be 0. Pass to rc_written how many were. */
const char *rc_tx(const rc_client *c, size_t *n);
void rc_written(rc_client *c, size_t n, uint32_t now);

/* Ends the client: what waits is still written, then a Close. Requests that wait end with RC_ERR_DISCONNECTED, no further message is handed
 * out, and pushes that wait for rc_ack stay unacknowledged. The caller goes on until on_state has told RC_STATE_CLOSED, which may be
 * before rc_close returns. Later calls do nothing. */
void rc_close(rc_client *c, uint32_t now);

/* Returns the state. Before the first logon it is RC_STATE_RECONNECTING. */
rc_state rc_get_state(const rc_client *c);

/* Returns the ID of the last session, empty if there is none. It is a secret. Valid until the next session. */
rc_slice rc_session(const rc_client *c);

/* Sends a message without an ID. `to` is a user ID that ends in NUL; NULL or "" is the server. type is 1 to RC_TYPE_LAST, or
 * RC_TYPE_PRESENCE to RC_TYPE_CHAT, for the server's optional packages, which go to no other user. The body is copied. A message that is under way when the connection
 * is lost is lost without an error. Returns RC_OK or an RC_ERR_…. */
int rc_send(rc_client *c, uint16_t type, const char *to, const void *body, size_t len);

/* Sends a request. fn is called once: with the reply, or when timeout_ms (0: 10,000; 2^30 at most) have passed, or the connection is lost, unless
 * rc_request itself returns an error. `to` must stay valid and unchanged until then. */
int rc_request(rc_client *c, uint32_t now, uint16_t type, const char *to, const void *body, size_t len, uint32_t timeout_ms, rc_reply_fn fn,
    void *arg);

/* Asks which of n users, 1,000 at most, are online. rc_reply.users has those who are, in the same order. */
int rc_who_is_online(rc_client *c, uint32_t now, const char *const *users, size_t n, uint32_t timeout_ms, rc_reply_fn fn, void *arg);

/* Answers a request. Of m only type, id and from count, so a program that answers later may keep those. Returns RC_ERR_INVALID where the ID is
 * 0, because the sender waits for no answer. After RC_ERR_TOO_LARGE the sender gets the error reply HandlerFailed instead. */
int rc_reply_to(rc_client *c, const rc_message *m, const void *body, size_t len);

/* Answers a request with an error: a code of 3000 to 5999 (others become HandlerFailed) and a text in UTF-8, which may be NULL.
 * Returns what rc_reply_to does; the code and the length of the text take 4 bytes of the server's limit. */
int rc_reply_error(rc_client *c, const rc_message *m, uint16_t code, const char *text);

/* Acknowledges a push with `confirm` for which on_push returned RC_LATER, by its 16 bytes: at once, or on the next connection. */
void rc_ack(rc_client *c, const uint8_t *id);

/* Takes the next pair off the pairs of a string map; false at their end. */
bool rc_map_next(rc_slice *pairs, rc_slice *key, rc_slice *value);

/* Finds the value of a key. */
bool rc_map_get(rc_slice pairs, const char *key, rc_slice *value);

/* Takes the next user ID off rc_reply.users; false at their end. */
bool rc_user_next(rc_slice *users, rc_slice *id);

/* The codec, which the client uses itself.
 *
 * rc_decode reads the frame that in begins with. RC_OK: m is the message, whose slices lie in `in`, and *size the frame's bytes. RC_MORE: *size
 * bytes are needed before it is worth another look. RC_ERR_INVALID and RC_ERR_TOO_LARGE: the frame is refused. */
int rc_decode(const char *in, size_t n, size_t max_body, size_t max_frame, rc_message *m, size_t *size);

/* rc_encode writes a frame to out, without its body if that has no data. RC_ERR_INVALID: m may not be sent. RC_ERR_FULL: it is larger than room. */
int rc_encode(const rc_message *m, char *out, size_t room, size_t *size);

/* Read bodies: a push, a code and a text with its map, a string map, an ID list. False if the body breaks the rules. rc_parse_close then
 * gives RC_INVALID_MESSAGE without a text; *why is to be zeroed before. */
bool rc_parse_push(rc_slice body, rc_push *push);
bool rc_parse_close(rc_slice body, rc_reason *why);
bool rc_parse_map(rc_slice body, rc_slice *pairs);
bool rc_parse_users(rc_slice body, rc_slice *users);

/* Reports whether s may be a user ID: 1 to 255 bytes of UTF-8 without control characters. */
bool rc_is_user_id(rc_slice s);

#ifdef __cplusplus
}
#endif

#endif
