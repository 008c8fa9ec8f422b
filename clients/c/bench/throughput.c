/* How many messages of 128 bytes a client sends and receives: a peer sends back what comes. It prints the rate, and what the client alone needs of a
 * core. Run it with taskset -c 0 to have both on one core. */
#define _POSIX_C_SOURCE 200809L
#include "../test/peer.h"
#include "rollcall_posix.h"

#include <signal.h>
#include <sys/resource.h>
#include <time.h>

enum { MESSAGES = 1000000, WINDOW = 1000, SIZE = 128 };

static long sent, received;
static bool online;

static void on_state(void *ctx, const rc_status *s)
{
    (void)ctx;
    online = s->state == RC_STATE_ONLINE;
}

static int on_message(void *ctx, const rc_message *m)
{
    (void)ctx;
    received += m->body.len == SIZE;
    return RC_OK;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(void)
{
    static const char body[SIZE];
    rc_config cfg = {0};
    rc_posix *p;
    struct rusage u;
    char port[8];
    double began, took, cpu;
    int listener = peer_listen(port);
    pid_t child = fork();
    if (child == 0) {
        peer_serve(listener, false);
        _exit(0);
    }
    close(listener);
    cfg.user = "alice";
    cfg.on_state = on_state;
    cfg.on_message = on_message;
    p = rc_posix_new(&cfg, "127.0.0.1", port, NULL);
    CHECK(p, "no client");
    while (!online && rc_posix_step(p, -1)) {
    }
    began = seconds();
    while (received < MESSAGES && online) {
        while (sent < MESSAGES && sent - received < WINDOW && rc_send(rc_posix_client(p), 1, NULL, body, SIZE) == RC_OK)
            sent++;
        rc_posix_step(p, -1);
    }
    took = seconds() - began;
    getrusage(RUSAGE_SELF, &u);
    cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    printf("%ld messages sent and as many received in %.2f s: %.0f a second both ways\n", received, took, (double)received / took);
    printf("the client's share of a core: %.2f s, which is %.0f a second both ways\n", cpu, (double)received / cpu);
    rc_close(rc_posix_client(p), rc_posix_now());
    while (rc_posix_step(p, -1)) {
    }
    rc_posix_free(p);
    kill(child, SIGTERM);
    return received < MESSAGES;
}
