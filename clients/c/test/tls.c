/* The TLS stream of rollcall_openssl.h against a server in the same process. The argument is a file for the server's certificate. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include "rollcall_openssl.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *server_context;

/* Makes a certificate for test.example that is its own authority, and writes it to a file. */
static void make_certificate(const char *file)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    X509 *cert = X509_new();
    X509_EXTENSION *name = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:test.example");
    FILE *f = fopen(file, "w");
    CHECK(EVP_PKEY_keygen_init(maker) == 1 && EVP_PKEY_CTX_set_ec_paramgen_curve_nid(maker, NID_X9_62_prime256v1) == 1 && EVP_PKEY_keygen(maker, &key) == 1, "no key");
    CHECK(X509_set_version(cert, 2) && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) && X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
        X509_gmtime_adj(X509_getm_notAfter(cert), 86400) && X509_set_pubkey(cert, key), "no certificate");
    CHECK(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0) &&
        X509_set_issuer_name(cert, X509_get_subject_name(cert)) && X509_add_ext(cert, name, -1) && X509_sign(cert, key, EVP_sha256()), "not signed");
    CHECK(f && PEM_write_X509(f, cert) && fclose(f) == 0, "not written");
    server_context = SSL_CTX_new(TLS_server_method());
    CHECK(server_context && SSL_CTX_use_certificate(server_context, cert) && SSL_CTX_use_PrivateKey(server_context, key), "no server");
    X509_EXTENSION_free(name);
    X509_free(cert);
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(maker);
}

/* Begins both sides on a pair of sockets, and returns how the client's handshake ends. */
static int shake(const rc_stream *client, const char *host, SSL *server, int fd[2])
{
    int state = RC_IO_WANT_READ;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0 && fcntl(fd[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(fd[1], F_SETFL, O_NONBLOCK) == 0, "no sockets");
    SSL_set_fd(server, fd[1]);
    CHECK(client->open(client->ctx, fd[0], host) == 0, "not begun");
    for (int i = 0; i < 100 && state < 0 && state != RC_IO_FAILED; i++) {
        state = client->handshake(client->ctx);
        SSL_accept(server);
    }
    return state;
}

static void end(const rc_stream *client, SSL *server, int fd[2])
{
    client->close(client->ctx);
    SSL_free(server);
    close(fd[0]);
    close(fd[1]);
    ERR_clear_error();
}

/* An error that other code of the program left in OpenSSL's queue is not the stream's. */
static void errors_of_others_do_not_count(const rc_stream *client)
{
    SSL *server = SSL_new(server_context);
    char buf[8];
    int fd[2];
    CHECK(shake(client, "test.example", server, fd) == 0, "the right name is refused");
    ERR_put_error(ERR_LIB_USER, 0, 1, "", 0);
    CHECK(client->read(client->ctx, buf, sizeof buf) == RC_IO_WANT_READ, "a read that waits has failed");
    ERR_put_error(ERR_LIB_USER, 0, 1, "", 0);
    CHECK(client->write(client->ctx, "hello", 5) == 5 && SSL_read(server, buf, sizeof buf) == 5 && memcmp(buf, "hello", 5) == 0, "not written");
    CHECK(SSL_write(server, "world", 5) == 5 && client->read(client->ctx, buf, sizeof buf) == 5 && memcmp(buf, "world", 5) == 0, "not read");
    SSL_shutdown(server);
    CHECK(client->read(client->ctx, buf, sizeof buf) == RC_IO_END, "no end");
    end(client, server, fd);
}

static void another_name_is_refused(const rc_stream *client)
{
    const char *const names[] = {"other.example", "test.example.org", "127.0.0.1"};
    for (size_t i = 0; i < 3; i++) {
        SSL *server = SSL_new(server_context);
        int fd[2];
        CHECK(shake(client, names[i], server, fd) == RC_IO_FAILED, "%s is accepted", names[i]);
        end(client, server, fd);
    }
}

int main(int argc, char **argv)
{
    rc_tls *t;
    CHECK(argc == 2, "no file");
    make_certificate(argv[1]);
    CHECK(!rc_tls_new("/nowhere.pem"), "a file that is missing");
    t = rc_tls_new(argv[1]);
    CHECK(t, "no TLS");
    errors_of_others_do_not_count(rc_tls_stream(t));
    another_name_is_refused(rc_tls_stream(t));
    rc_tls_free(t);
    SSL_CTX_free(server_context);
    printf("%d checks\n", checks);
    return 0;
}
