/* What the sources of librollcall share. It is no part of the library's interface. */
#ifndef ROLLCALL_INTERNAL_H
#define ROLLCALL_INTERNAL_H

#include "rollcall.h"

/* The single-file form of the library makes these functions static. */
#ifndef RCI
#define RCI
#endif

/* rc_client.phase. In the first and the last one the client wants no connection. */
enum { RCI_WAITING, RCI_CONNECTING, RCI_LOGGING_ON, RCI_ONLINE, RCI_LEAVING, RCI_CLOSED };

/* Room in tx that is kept free for what the client sends by itself: a Close always fits, and before it some Heartbeats. */
enum { RCI_CLOSE_ROOM = 20, RCI_SYSTEM_ROOM = 84 };

enum { RCI_HEADER = 16, RCI_LOGON_ID = 1, RCI_MAX_USERS = 1000 };

#define RCI_MAX_BODY 0x100000u  /* the limit of a body where the server names none */
#define RCI_LONGEST 0x40000000u /* bounds all times, so that the sum of two still compares correctly */
#define RCI_HOUR 3600000u

/* rollcall_codec.c */

RCI bool rci_same(rc_slice a, rc_slice b);
RCI uint32_t rci_get(const char *p, int bytes);

/* These write to p, and return what is behind it. Of a slice without data they leave the room free. */
RCI char *rci_put(char *p, int bytes, uint32_t v);
RCI char *rci_put_bytes(char *p, rc_slice s);

RCI bool rci_is_utf8(rc_slice s);

/* Returns the decimal number of a field, or `most` if it is larger; 0 if there is none. */
RCI uint32_t rci_number(const rc_slice *pairs, const char *key, uint32_t most);

/* rollcall.c. Each function that gets the time keeps it in rc_client.now. */

RCI uint32_t rci_until(const rc_client *c, uint32_t t); /* 0 if t has passed */
RCI uint32_t rci_most(uint32_t a, uint32_t b);
RCI uint32_t rci_setting(uint32_t v, uint32_t otherwise); /* a time of rc_config */
RCI uint32_t rci_random_to(const rc_client *c, uint32_t limit);
RCI bool rci_may_reconnect(uint16_t code);

/* Adds a frame to tx. A body without data is the caller's to write, where rci_body says. */
RCI int rci_queue(rc_client *c, const rc_message *m);
RCI int rci_queue_frame(rc_client *c, uint16_t type, uint32_t id, const void *body, size_t len);

/* Returns where the body of the frame that was queued last is. */
RCI char *rci_body(const rc_client *c, size_t len);

RCI void rci_tell(const rc_client *c, rc_status *status);

/* Ends an attempt or a session because of status->why, and decides whether there is another one. */
RCI void rci_end(rc_client *c, rc_status *status);

/* Sends a Close, and ends the client with this code when the connection has ended. */
RCI void rci_leave(rc_client *c, uint16_t code);

/* rollcall_requests.c */

RCI uint32_t rci_next_id(rc_client *c); /* an ID that no open request has */

/* Ends the requests that wait: with RC_ERR_DISCONNECTED all of them, with RC_ERR_TIMEOUT those whose time is over. */
RCI void rci_end_requests(rc_client *c, int status);

RCI void rci_answered(rc_client *c, const rc_message *m);

/* Queues an answer to m. */
RCI int rci_answer(rc_client *c, const rc_message *m, uint8_t flags, const void *body, size_t len);

/* rollcall_session.c */

RCI void rci_send_acks(rc_client *c);
RCI void rci_pushed(rc_client *c, rc_slice body);

/* Queues a Logon or a Renew, with the token if that has data. False: there is no room. */
RCI bool rci_queue_fields(rc_client *c, uint16_t type, uint32_t id, const rc_slice *token);

/* Gets a token; *token stays empty where there is no function for it. False: there is none now. */
RCI bool rci_get_token(const rc_client *c, rc_slice *token);

RCI void rci_renew(rc_client *c);
RCI void rci_renewed(rc_client *c, const rc_message *m);
RCI void rci_logged_on(rc_client *c, const rc_message *m);

#endif
