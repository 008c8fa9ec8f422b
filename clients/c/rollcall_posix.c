/* rollcall_posix.h describes what this does. */
#define _POSIX_C_SOURCE 200809L
#include "rollcall_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_BODY 0x100000u
#define MORE_THAN_BODY (0x10000u + 1024u) /* of a notice; a header with its user IDs */
#define MOST_AT_ONCE 0x40000u             /* bytes of one read or write */

enum { REQUESTS = 1024, PUSHES = 1024, ADDRESS = 272, READS = 16 };

enum phase { NO_SOCKET, CONNECTING, HANDSHAKE, OPEN };

struct rc_posix {
    rc_client client;
    rc_config cfg;
    const rc_stream *stream; /* NULL for plain TCP */
    char *host, *port, *memory[5];
    char name[ADDRESS]; /* the host of this connection */
    enum phase phase;
    int fd;
    short events;     /* what the handshake, a read or a write of the stream waits for */
    unsigned attempt; /* each attempt begins with another address of the host */
    bool more;        /* there may be more to read without waiting */
    bool mute;        /* a write has failed; what the server said before is still read */
    bool shut;
};

uint32_t rc_posix_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint32_t)((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

static uint32_t urandom(void *ctx)
{
    struct timespec t;
    uint32_t v = 0;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    bool got = fd >= 0 && read(fd, &v, sizeof v) == (ssize_t)sizeof v;
    (void)ctx;
    if (fd >= 0)
        close(fd);
    if (!got) { /* as where there is no /dev: good enough to spread clients */
        clock_gettime(CLOCK_REALTIME, &t);
        v = ((uint32_t)t.tv_nsec ^ (uint32_t)getpid() << 12) * 2654435761u;
    }
    return v;
}

rc_client *rc_posix_client(rc_posix *p) { return &p->client; }

static void *allocate(rc_posix *p, int i, size_t size)
{
    p->memory[i] = malloc(size);
    return p->memory[i];
}

/* Allocates what the settings do not name. */
static bool provide(rc_posix *p)
{
    rc_memory *m = &p->cfg.memory;
    size_t size = (p->cfg.max_body ? p->cfg.max_body : DEFAULT_BODY) + MORE_THAN_BODY;
    if (size < MORE_THAN_BODY)
        return false; /* the sum has wrapped around */
    if (!m->rx) {
        m->rx_size = size;
        m->rx = allocate(p, 0, size);
    }
    if (!m->tx) {
        m->tx_size = size;
        m->tx = allocate(p, 1, size);
    }
    if (!m->requests) {
        m->n_requests = REQUESTS;
        m->requests = allocate(p, 2, REQUESTS * sizeof *m->requests);
    }
    if (!m->pushes) {
        m->n_pushes = PUSHES;
        m->pushes = allocate(p, 3, PUSHES * sizeof *m->pushes);
    }
    if (!m->address) {
        m->address_size = ADDRESS;
        m->address = allocate(p, 4, ADDRESS);
    }
    if (!p->cfg.random)
        p->cfg.random = urandom;
    return m->rx && m->tx && m->requests && m->pushes && m->address;
}

rc_posix *rc_posix_new(const rc_config *cfg, const char *host, const char *port, const rc_stream *stream)
{
    rc_posix *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->cfg = *cfg;
    p->stream = stream;
    p->fd = -1;
    p->host = strdup(host);
    p->port = strdup(port);
    if (!p->host || !p->port || !provide(p)) {
        rc_posix_free(p);
        errno = ENOMEM;
        return NULL;
    }
    if (rc_init(&p->client, &p->cfg, rc_posix_now()) != RC_OK || strlen(host) >= ADDRESS) {
        rc_posix_free(p);
        errno = EINVAL;
        return NULL;
    }
    return p;
}

/* Closes the socket, if there is one. */
static void drop(rc_posix *p)
{
    if (p->stream && p->phase > CONNECTING)
        p->stream->close(p->stream->ctx);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    p->phase = NO_SOCKET;
    p->events = 0;
    p->more = p->mute = p->shut = false;
}

void rc_posix_free(rc_posix *p)
{
    if (!p)
        return;
    drop(p);
    for (size_t i = 0; i < sizeof p->memory / sizeof *p->memory; i++)
        free(p->memory[i]);
    free(p->host);
    free(p->port);
    free(p);
}

/* Closes the socket, and tells the client. */
static void ended(rc_posix *p)
{
    drop(p);
    rc_disconnected(&p->client, rc_posix_now());
}

/* Splits "host:port", where the host may be an IPv6 address in brackets, into p->name and *port. */
static bool split(rc_posix *p, const char *address, const char **port)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;
    if (n > 2 && address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    } else if (memchr(address, ':', n)) {
        return false;
    }
    if (n == 0 || n >= ADDRESS || colon[1] == 0)
        return false;
    memcpy(p->name, address, n);
    p->name[n] = 0;
    *port = colon + 1;
    return true;
}

/* Makes a socket that does not block, and begins to connect it. */
static int begin(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol), on = 1;
    if (fd < 0)
        return -1;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
        (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS))
        return fd;
    close(fd);
    return -1;
}

/* Begins an attempt. An address that does not answer costs one; the next attempt takes the next address of the host. */
static void connect_out(rc_posix *p)
{
    const char *address = rc_address(&p->client), *port = p->port;
    struct addrinfo hints = {0}, *all = NULL, *a;
    unsigned n = 0, skip;
    strcpy(p->name, p->host);
    hints.ai_socktype = SOCK_STREAM;
    if ((address && !split(p, address, &port)) || getaddrinfo(p->name, port, &hints, &all) != 0) {
        ended(p);
        return;
    }
    for (a = all; a; a = a->ai_next)
        n++;
    skip = n ? p->attempt++ % n : 0;
    for (a = all; skip > 0; skip--)
        a = a->ai_next;
    for (; n > 0 && p->fd < 0; n--) {
        p->fd = begin(a);
        a = a->ai_next ? a->ai_next : all;
    }
    freeaddrinfo(all);
    if (p->fd < 0)
        ended(p);
    else
        p->phase = CONNECTING;
}

static void opened(rc_posix *p)
{
    p->phase = OPEN;
    p->events = 0;
    p->attempt--; /* stay with the address that works */
    rc_connected(&p->client, rc_posix_now());
}

/* Goes on with connecting or with the stream's handshake. */
static void advance(rc_posix *p)
{
    int err = 0, state;
    socklen_t len = sizeof err;
    if (p->phase == CONNECTING) {
        if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0) {
            ended(p);
            return;
        }
        if (!p->stream) {
            opened(p);
            return;
        }
        if (p->stream->open(p->stream->ctx, p->fd, p->name) != 0) {
            ended(p);
            return;
        }
        p->phase = HANDSHAKE;
    }
    state = p->stream->handshake(p->stream->ctx);
    if (state == 0)
        opened(p);
    else if (state == RC_IO_FAILED)
        ended(p);
    else
        p->events = state == RC_IO_WANT_WRITE ? POLLOUT : POLLIN;
}

static int result(ssize_t n)
{
    if (n >= 0)
        return (int)n;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? RC_IO_WANT_READ : RC_IO_FAILED;
}

/* Reads until there is nothing, or for so long that the program gets its turn too. */
static void read_in(rc_posix *p)
{
    p->more = false;
    for (int i = 0; i < READS && p->phase == OPEN && !rc_should_disconnect(&p->client); i++) {
        size_t room;
        char *to = rc_rx(&p->client, &room);
        int n;
        if (room > MOST_AT_ONCE)
            room = MOST_AT_ONCE;
        n = p->stream ? p->stream->read(p->stream->ctx, to, room) : result(recv(p->fd, to, room, 0));
        if (n == RC_IO_END || n == RC_IO_FAILED) {
            ended(p);
            return;
        }
        if (n < 0) {
            p->events |= n == RC_IO_WANT_WRITE ? POLLOUT : 0;
            return;
        }
        rc_received(&p->client, (size_t)n, rc_posix_now());
        if (!p->stream && (size_t)n < room)
            return;
    }
    p->more = true;
}

/* Writes what waits, as far as the network takes it. */
static void write_out(rc_posix *p)
{
    size_t len;
    const char *from;
    while (p->phase == OPEN && !p->mute && !rc_should_disconnect(&p->client) && (from = rc_tx(&p->client, &len), len > 0)) {
        int n;
        if (len > MOST_AT_ONCE)
            len = MOST_AT_ONCE;
        n = p->stream ? p->stream->write(p->stream->ctx, from, len) : result(send(p->fd, from, len, MSG_NOSIGNAL));
        if (n <= 0) {
            p->mute = n == RC_IO_FAILED;
            p->events |= !p->mute && (n == RC_IO_WANT_WRITE || !p->stream) ? POLLOUT : 0;
            return;
        }
        rc_written(&p->client, (size_t)n, rc_posix_now());
    }
    if (p->phase == OPEN && !p->shut && rc_should_shutdown(&p->client)) {
        p->shut = true;
        if (p->stream)
            p->stream->shutdown(p->stream->ctx);
        else
            shutdown(p->fd, SHUT_WR);
    }
}

int rc_posix_prepare(rc_posix *p, struct pollfd *fd)
{
    uint32_t wait;
    for (;;) {
        wait = rc_tick(&p->client, rc_posix_now());
        if (rc_should_disconnect(&p->client))
            ended(p);
        else if (rc_should_connect(&p->client))
            connect_out(p);
        else
            break;
    }
    if (p->phase == OPEN) {
        p->events = 0;
        write_out(p);
    }
    if (p->more)
        wait = 0;
    fd->fd = p->fd;
    fd->revents = 0;
    fd->events = p->phase == CONNECTING ? POLLOUT : p->phase == OPEN ? (short)(p->events | POLLIN) : p->events;
    return wait > INT_MAX ? -1 : (int)wait;
}

bool rc_posix_handle(rc_posix *p, const struct pollfd *fd)
{
    if (p->fd >= 0 && fd->fd == p->fd && (fd->revents || p->more)) {
        if (p->phase == OPEN) {
            read_in(p);
            write_out(p);
        } else {
            advance(p);
        }
    }
    if (rc_should_disconnect(&p->client))
        ended(p);
    return rc_get_state(&p->client) != RC_STATE_CLOSED;
}

bool rc_posix_step(rc_posix *p, int max_ms)
{
    struct pollfd fd;
    int wait = rc_posix_prepare(p, &fd);
    if (max_ms >= 0 && (wait < 0 || wait > max_ms))
        wait = max_ms;
    if (rc_get_state(&p->client) != RC_STATE_CLOSED)
        poll(&fd, 1, wait);
    return rc_posix_handle(p, &fd);
}
