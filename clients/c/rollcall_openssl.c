/* rollcall_openssl.h describes what this does. */
#define _POSIX_C_SOURCE 200809L
#include "rollcall_openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>

struct rc_tls {
    rc_stream stream;
    SSL_CTX *ctx;
    BIO_METHOD *sockets;
    SSL *ssl;
    int fd;
};

/* OpenSSL's own BIO for sockets writes without MSG_NOSIGNAL, so that a connection that was reset would end the process with SIGPIPE. */

static int again(BIO *bio, ssize_t n, int flags)
{
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        BIO_set_flags(bio, flags | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int bio_write(BIO *bio, const char *buf, int n)
{
    rc_tls *t = BIO_get_data(bio);
    return again(bio, send(t->fd, buf, (size_t)n, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *buf, int n)
{
    rc_tls *t = BIO_get_data(bio);
    return again(bio, recv(t->fd, buf, (size_t)n, 0), BIO_FLAGS_READ);
}

static long bio_control(BIO *bio, int command, long number, void *p)
{
    (void)bio;
    (void)number;
    (void)p;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* Says what a call that returned n waits for. */
static int result(rc_tls *t, int n)
{
    int err = n > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, n);
    if (n <= 0)
        ERR_clear_error();
    switch (err) {
    case SSL_ERROR_NONE:
        return n;
    case SSL_ERROR_WANT_READ:
        return RC_IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return RC_IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return RC_IO_END;
    }
    return RC_IO_FAILED;
}

/* Makes the certificate's name, or its IP address, one that has to be host. */
static bool expect(SSL *ssl, const char *host)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1)
        return true;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static void tls_close(void *ctx)
{
    rc_tls *t = ctx;
    SSL_free(t->ssl);
    t->ssl = NULL;
}

static int tls_open(void *ctx, int fd, const char *host)
{
    rc_tls *t = ctx;
    BIO *bio = BIO_new(t->sockets);
    t->fd = fd;
    t->ssl = SSL_new(t->ctx);
    if (!bio || !t->ssl) {
        BIO_free(bio);
        tls_close(t);
        return RC_IO_FAILED;
    }
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_connect_state(t->ssl);
    if (!expect(t->ssl, host)) {
        tls_close(t);
        return RC_IO_FAILED;
    }
    return 0;
}

static int tls_handshake(void *ctx)
{
    rc_tls *t = ctx;
    ERR_clear_error(); /* here and below: SSL_get_error takes errors that other code has left for the stream's */
    int n = result(t, SSL_do_handshake(t->ssl));
    return n > 0 ? 0 : n == RC_IO_END ? RC_IO_FAILED : n;
}

static int tls_read(void *ctx, char *buf, size_t n)
{
    rc_tls *t = ctx;
    ERR_clear_error();
    return result(t, SSL_read(t->ssl, buf, (int)n));
}

static int tls_write(void *ctx, const char *buf, size_t n)
{
    rc_tls *t = ctx;
    ERR_clear_error();
    return result(t, SSL_write(t->ssl, buf, (int)n));
}

static void tls_shutdown(void *ctx)
{
    rc_tls *t = ctx;
    SSL_shutdown(t->ssl);
    ERR_clear_error();
    shutdown(t->fd, SHUT_WR);
}

rc_tls *rc_tls_new(const char *ca_file)
{
    rc_tls *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->stream = (rc_stream){t, tls_open, tls_handshake, tls_read, tls_write, tls_shutdown, tls_close};
    t->ctx = SSL_CTX_new(TLS_client_method());
    t->sockets = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "rollcall socket");
    if (!t->ctx || !t->sockets || !BIO_meth_set_write(t->sockets, bio_write) || !BIO_meth_set_read(t->sockets, bio_read) ||
        !BIO_meth_set_ctrl(t->sockets, bio_control) || !BIO_meth_set_create(t->sockets, bio_create) ||
        !SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) ||
        (ca_file ? SSL_CTX_load_verify_locations(t->ctx, ca_file, NULL) : SSL_CTX_set_default_verify_paths(t->ctx)) != 1) {
        ERR_clear_error();
        rc_tls_free(t);
        return NULL;
    }
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return t;
}

const rc_stream *rc_tls_stream(rc_tls *t) { return &t->stream; }

void rc_tls_free(rc_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    BIO_meth_free(t->sockets);
    free(t);
}
