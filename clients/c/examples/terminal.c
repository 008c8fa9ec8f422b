/* A terminal: logs on, shows what comes, and sends lines such as "bob hello" to users. ROLLCALL_TOKEN may have a token.
 *
 *     terminal HOST PORT USER              TCP
 *     terminal HOST PORT USER tls          TLS, with the certificates that the system trusts
 *     terminal HOST PORT USER ca.pem       TLS, with those of a file */
#define _POSIX_C_SOURCE 200809L
#include "rollcall_openssl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHAT = 1 };

static bool token(void *ctx, rc_slice *token)
{
    (void)ctx;
    *token = rc_text(getenv("ROLLCALL_TOKEN"));
    return true;
}

static void state(void *ctx, const rc_status *s)
{
    static const char *const names[] = {"reconnecting", "online", "closed"};
    (void)ctx;
    printf("* %s", names[s->state]);
    if (s->state != RC_STATE_ONLINE)
        printf(": %d %.*s", s->why.code, (int)s->why.text.len, s->why.text.data);
    putchar('\n');
}

static int message(void *ctx, const rc_message *m)
{
    (void)ctx;
    if (m->type != CHAT)
        return RC_NO_HANDLER;
    printf("<%.*s> %.*s\n", (int)m->from.len, m->from.data, (int)m->body.len, m->body.data);
    return RC_OK;
}

static int push(void *ctx, const rc_push *p)
{
    (void)ctx;
    printf("! %.*s\n", (int)p->content.len, p->content.data);
    return RC_OK;
}

/* Sends a line to the user that it begins with. */
static void send_line(rc_client *c, char *line)
{
    char *text = strchr(line, ' ');
    line[strcspn(line, "\n")] = 0;
    if (!text) {
        puts("? USER TEXT");
        return;
    }
    *text++ = 0;
    if (rc_send(c, CHAT, line, text, strlen(text)) != RC_OK)
        puts("? not sent");
}

int main(int argc, char **argv)
{
    rc_config cfg = {0};
    rc_tls *tls = NULL;
    rc_posix *p;
    struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, 0, 0}};
    char line[4096];
    if (argc < 4)
        return fprintf(stderr, "usage: %s HOST PORT USER [tls|CA_FILE]\n", argv[0]), 2;
    setvbuf(stdin, NULL, _IONBF, 0); /* so that poll sees each line */
    setvbuf(stdout, NULL, _IOLBF, 0);
    cfg.user = argv[3];
    cfg.token = getenv("ROLLCALL_TOKEN") ? token : NULL;
    cfg.on_state = state;
    cfg.on_message = message;
    cfg.on_push = push;
    if (argc > 4)
        tls = rc_tls_new(strcmp(argv[4], "tls") == 0 ? NULL : argv[4]);
    p = argc > 4 && !tls ? NULL : rc_posix_new(&cfg, argv[1], argv[2], tls ? rc_tls_stream(tls) : NULL);
    if (!p)
        return fputs("these settings cannot be used\n", stderr), 1;
    do {
        poll(fds, 2, rc_posix_prepare(p, &fds[1]));
        if (fds[0].revents && fgets(line, sizeof line, stdin)) {
            send_line(rc_posix_client(p), line);
        } else if (fds[0].revents) {
            fds[0].fd = -1;
            rc_close(rc_posix_client(p), rc_posix_now());
        }
    } while (rc_posix_handle(p, &fds[1]));
    rc_posix_free(p);
    rc_tls_free(tls);
    return 0;
}
