/* TLS for rollcall_posix.h, by OpenSSL 1.1.1 or later. */
#ifndef ROLLCALL_OPENSSL_H
#define ROLLCALL_OPENSSL_H

#include "rollcall_posix.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rc_tls rc_tls;

/* Makes the TLS of one client, 1.2 or 1.3, which verifies the server's chain and its name. ca_file has the PEM certificates to trust, and no others are;
 * NULL: those of the system. Returns NULL if the file cannot be read, or without memory. */
rc_tls *rc_tls_new(const char *ca_file);

/* Returns what rc_posix_new takes. Valid until rc_tls_free. */
const rc_stream *rc_tls_stream(rc_tls *t);

/* Frees it, after the client. NULL is fine. */
void rc_tls_free(rc_tls *t);

#ifdef __cplusplus
}
#endif

#endif
