/* Prints its port, and serves connections until it is killed. */
#define _POSIX_C_SOURCE 200809L
#include "peer.h"

int main(void)
{
    char port[8];
    int fd = peer_listen(port);
    puts(port);
    fflush(stdout);
    for (;;)
        peer_serve(fd, false);
}
