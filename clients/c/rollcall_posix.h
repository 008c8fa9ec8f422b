/* Drives a client of rollcall.h with poll and TCP sockets, on POSIX systems.
 *
 *     rc_posix *p = rc_posix_new(&cfg, "localhost", "9000", NULL);
 *     while (rc_posix_step(p, -1)) {}
 *     rc_posix_free(p);
 *
 * Not safe for concurrent use: call all functions of one client on one thread, or under one lock. Callbacks run on the thread that calls
 * rc_posix_prepare, rc_posix_handle or rc_posix_step; they may call all functions of rollcall.h that callbacks may, and none of these but
 * rc_posix_now and rc_posix_client. */
#ifndef ROLLCALL_POSIX_H
#define ROLLCALL_POSIX_H

#include "rollcall.h"

#include <poll.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the functions of an rc_stream return apart from a number of bytes. */
enum { RC_IO_END = 0, RC_IO_WANT_READ = -1, RC_IO_WANT_WRITE = -2, RC_IO_FAILED = -3 };

/* What lies between a client and its sockets, such as TLS; rollcall_openssl.h has one. ctx is the first argument of each function. A client
 * has one connection at a time. Sockets do not block; WANT_READ and WANT_WRITE say what the stream waits for. */
typedef struct rc_stream {
    void *ctx;
    /* Begins on a connected socket, which stays the caller's. host is the name that was connected to, without a port, which a certificate has
     * to be for. Returns 0 or RC_IO_FAILED. */
    int (*open)(void *ctx, int fd, const char *host);
    /* Goes on with the handshake. Returns 0 when it is complete, and otherwise RC_IO_WANT_READ, RC_IO_WANT_WRITE or RC_IO_FAILED. */
    int (*handshake)(void *ctx);
    /* Return how many bytes were read or written, or RC_IO_…. RC_IO_END is of read alone: the other side sends no more. */
    int (*read)(void *ctx, char *buf, size_t n);
    int (*write)(void *ctx, const char *buf, size_t n);
    /* Says that this side sends no more, as far as that is possible without waiting. */
    void (*shutdown)(void *ctx);
    /* Ends it at once. Called once after each open. */
    void (*close)(void *ctx);
} rc_stream;

typedef struct rc_posix rc_posix;

/* Makes a client that connects to a host (a name or an address) and port, through a stream if that is not NULL. It copies cfg, host and port;
 * what cfg points to must stay valid. Memory that cfg does not name is allocated: rx and tx for bodies of max_body, or 1 MiB, 1,024 requests and pushes,
 * and an address. Without cfg->random /dev/urandom is used. Returns NULL without memory, or where rc_init refuses the settings; then errno is ENOMEM
 * or EINVAL. */
rc_posix *rc_posix_new(const rc_config *cfg, const char *host, const char *port, const rc_stream *stream);

/* Closes the connection at once, and frees all. NULL is fine. For an end in order call rc_close before, and rc_posix_step until it returns false. */
void rc_posix_free(rc_posix *p);

/* Returns the client, for rc_send, rc_request and the others. */
rc_client *rc_posix_client(rc_posix *p);

/* Returns the time that the client goes by, in ms: the system's monotonic clock. */
uint32_t rc_posix_now(void);

/* Does what is due, waits for at most max_ms (negative: without a limit) until something happens, and handles that. Returns false once the
 * client has ended. */
bool rc_posix_step(rc_posix *p, int max_ms);

/* rc_posix_step in two parts, for a program with a poll of its own. rc_posix_prepare does what is due, fills in fd (its fd is -1 while there is
 * no socket) and returns the timeout for poll. rc_posix_handle takes what poll has said; call it after a timeout too. Names are looked up
 * in rc_posix_prepare, by getaddrinfo, which may block. */
int rc_posix_prepare(rc_posix *p, struct pollfd *fd);
bool rc_posix_handle(rc_posix *p, const struct pollfd *fd);

#ifdef __cplusplus
}
#endif

#endif
