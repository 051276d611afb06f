/* The cryptography of the exchange: the key of the cluster, and what both ends of a connection
 * derive from it.
 *
 * Each end sends a hello with a fresh X25519 public key. The keys of the two directions are a
 * BLAKE2b hash, keyed with the cluster's key, of the shared secret and both hellos: who has not the
 * cluster's key can neither make nor read a frame, and old connections stay secret when it leaks.
 * Frames are ChaCha20-Poly1305 under a counter, so that none can be repeated, left out or moved. */
#ifndef TR_DRIVERS_VERBS_KEY_H
#define TR_DRIVERS_VERBS_KEY_H

#include "base/types.h"

TR_BEGIN_C

#define TR_VERBS_KEY_BYTES   32
#define TR_VERBS_HELLO_BYTES 64
#define TR_VERBS_FRAME_BYTES 96
#define TR_VERBS_SEAL_BYTES  16

/* The first thing that an end says, in the clear. */
struct tr_verbs_hello {
    uint64_t magic;
    uint32_t version;
    uint32_t queue;
    uint16_t from, to; /* nodes */
    uint32_t zero[3];
    uint8_t point[32]; /* X25519 public key */
};

/* The keys of one connection, as one end uses them. */
struct tr_verbs_session {
    uint8_t key_out[TR_VERBS_KEY_BYTES], key_in[TR_VERBS_KEY_BYTES];
    uint64_t count_out, count_in; /* frames so far, the nonces */
};

/* Reads a key file: 64 hexadecimal digits, readable by its owner (and group) alone. Returns: TR_OK,
 * TR_ENOENT, TR_EPERM, TR_EINVAL, with a sentence in `error`. */
int tr_verbs_key_read(const char *path, uint8_t key[TR_VERBS_KEY_BYTES], char *error,
                      size_t error_bytes);

/* Makes a secret and puts its public point into a hello. Returns: false when libsodium fails. */
bool tr_verbs_hello_make(struct tr_verbs_hello *hello, uint8_t secret[32]);

/* Derives the keys from both hellos. `is_client`: this end connected. Returns: false when the other
 * end's point is one that no honest end makes. */
bool tr_verbs_session_derive(struct tr_verbs_session *session,
                             const uint8_t key[TR_VERBS_KEY_BYTES], const uint8_t secret[32],
                             const struct tr_verbs_hello *client,
                             const struct tr_verbs_hello *server, bool is_client);

/* Seals TR_VERBS_FRAME_BYTES into so many and TR_VERBS_SEAL_BYTES more. */
void tr_verbs_frame_seal(struct tr_verbs_session *session, const void *frame, uint8_t *out);

/* Opens what the other end sealed next. Returns: false when it is not that. */
bool tr_verbs_frame_open(struct tr_verbs_session *session, const uint8_t *sealed, void *frame);

TR_END_C

#endif
