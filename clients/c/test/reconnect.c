/* A thousand reconnects, in which LeakSanitizer finds what is not freed, and no socket is left open. */
#define _POSIX_C_SOURCE 200809L
#include "peer.h"
#include "rollcall_posix.h"

#include <errno.h>
#include <sys/wait.h>

enum { TIMES = 1000 };

static int online, closed;

static void on_state(void *ctx, const rc_status *s)
{
    rc_posix **p = ctx;
    online += s->state == RC_STATE_ONLINE;
    closed += s->state == RC_STATE_CLOSED;
    CHECK(s->state == RC_STATE_ONLINE || s->why.code == RC_SERVER_STOPPING || s->why.code == RC_CLIENT_CLOSED, "code %d", s->why.code);
    if (online == TIMES)
        rc_close(rc_posix_client(*p), rc_posix_now());
}

int main(void)
{
    rc_config cfg = {0};
    rc_posix *p;
    char port[8];
    int listener = peer_listen(port), lowest, status;
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < TIMES; i++)
            peer_serve(listener, true);
        _exit(0);
    }
    close(listener);
    lowest = dup(0);
    close(lowest);
    cfg.user = "alice";
    cfg.on_state = on_state;
    cfg.ctx = &p;
    cfg.min_ms = cfg.max_ms = 1;
    p = rc_posix_new(&cfg, "127.0.0.1", port, NULL);
    CHECK(p, "no client");
    while (rc_posix_step(p, -1)) {
    }
    rc_posix_free(p);
    cfg.max_body = SIZE_MAX;
    CHECK(!rc_posix_new(&cfg, "127.0.0.1", port, NULL) && errno == ENOMEM, "a buffer larger than memory");
    CHECK(online == TIMES && closed == 1, "%d times online, %d times closed", online, closed);
    CHECK(dup(0) == lowest, "a socket is open");
    waitpid(child, &status, 0);
    printf("%d connections\n", online);
    return 0;
}
