/* A server for tests, which is as simple as can be: one connection at a time, and it blocks. */
#ifndef PEER_H
#define PEER_H

#include "check.h"
#include "rollcall.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEER_ROOM = 1 << 18 };

/* Listens on a port of the loopback interface, which is written to port. */
static int peer_listen(char port[8])
{
    struct sockaddr_in a = {0};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 16) == 0, "no port");
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0, "no name");
    snprintf(port, 8, "%d", ntohs(a.sin_port));
    return fd;
}

static void peer_write(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t part = send(fd, p, n, MSG_NOSIGNAL);
        if (part <= 0)
            return;
        p += part;
        n -= (size_t)part;
    }
}

/* Serves one connection: it accepts the Logon, sends back what comes, and answers requests with their bodies. If drop is true it sends a Close
 * behind the Logon's reply instead. */
static void peer_serve(int listener, bool drop)
{
    static char in[PEER_ROOM], out[PEER_ROOM + 64];
    size_t have = 0;
    int on = 1, fd = accept(listener, NULL, NULL);
    bool closed = false;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (!closed) {
        size_t pos = 0, made = 0, size;
        ssize_t n = recv(fd, in + have, sizeof in - have, 0);
        rc_message m;
        if (n <= 0)
            break;
        have += (size_t)n;
        while (!closed && rc_decode(in + pos, have - pos, PEER_ROOM, PEER_ROOM, &m, &size) == RC_OK) {
            rc_message reply = m;
            pos += size;
            reply.from = reply.to = (rc_slice){0};
            reply.flags = m.id ? RC_FLAG_REPLY : 0;
            if (m.type == RC_TYPE_LOGON)
                reply.body = (rc_slice){"\0\0", 2};
            closed = m.type == RC_TYPE_CLOSE;
            if (!closed && (m.type < RC_TYPE_HEARTBEAT || m.id)) {
                CHECK(rc_encode(&reply, out + made, sizeof out - made, &size) == RC_OK, "not encoded");
                made += size;
            }
        }
        memmove(in, in + pos, have - pos);
        have -= pos;
        peer_write(fd, out, made);
        if (drop) {
            static const char notice[] = "\x52\x10\xff\x02\0\0\0\4\0\0\0\0\0\0\0\0\x03\xec\0\0";
            peer_write(fd, notice, sizeof notice - 1);
            break;
        }
    }
    close(fd);
}

#endif
