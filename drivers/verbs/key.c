/* The key of the cluster, the keys of a connection, and its sealed frames. */
#include "drivers/verbs/key.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "drivers/extra.h"
#include "trireme/error.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

tr_static_assert(sizeof(struct tr_verbs_hello) == TR_VERBS_HELLO_BYTES, "no implicit padding");
tr_static_assert(crypto_aead_chacha20poly1305_ietf_ABYTES == TR_VERBS_SEAL_BYTES, "one seal");
tr_static_assert(crypto_scalarmult_BYTES == 32, "X25519");

static int read_file(const char *path, char *text, size_t text_bytes, char *error,
                     size_t error_bytes)
{
    struct stat file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = -1;
    if (fd < 0 || fstat(fd, &file) != 0) {
        tr_explain(error, error_bytes,
                   "verbs: key file \"%s\": %s; make one, the same on all nodes: "
                   "openssl rand -hex 32 > FILE; chmod 600 FILE",
                   path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return TR_ENOENT;
    }
    bool is_open_to_others = (file.st_mode & (S_IROTH | S_IWOTH | S_IWGRP)) != 0;
    if (!is_open_to_others)
        bytes = read(fd, text, text_bytes - 1);
    close(fd);
    if (is_open_to_others) {
        tr_explain(error, error_bytes,
                   "verbs: key file \"%s\" is open to others (mode %03o): chmod 600 it", path,
                   (unsigned)file.st_mode & 0777u);
        return TR_EPERM;
    }
    text[bytes > 0 ? bytes : 0] = '\0';
    return TR_OK;
}

int tr_verbs_key_read(const char *path, uint8_t key[TR_VERBS_KEY_BYTES], char *error,
                      size_t error_bytes)
{
    char text[256];
    size_t bytes = 0;
    const char *end = NULL;
    int result = read_file(path, text, sizeof(text), error, error_bytes);
    if (result != TR_OK)
        return result;
    if (sodium_init() < 0 ||
        sodium_hex2bin(key, TR_VERBS_KEY_BYTES, text, strcspn(text, " \r\n"), NULL, &bytes, &end) !=
            0 ||
        bytes != TR_VERBS_KEY_BYTES) {
        tr_explain(error, error_bytes, "verbs: key file \"%s\" does not hold 64 hexadecimal digits",
                   path);
        result = TR_EINVAL;
    }
    sodium_memzero(text, sizeof(text));
    return result;
}

bool tr_verbs_hello_make(struct tr_verbs_hello *hello, uint8_t secret[32])
{
    randombytes_buf(secret, 32);
    return crypto_scalarmult_base(hello->point, secret) == 0;
}

bool tr_verbs_session_derive(struct tr_verbs_session *session,
                             const uint8_t key[TR_VERBS_KEY_BYTES], const uint8_t secret[32],
                             const struct tr_verbs_hello *client,
                             const struct tr_verbs_hello *server, bool is_client)
{
    crypto_generichash_state state;
    uint8_t shared[32], keys[64];
    const uint8_t *other = is_client ? server->point : client->point;
    if (crypto_scalarmult(shared, secret, other) != 0)
        return false;
    crypto_generichash_init(&state, key, TR_VERBS_KEY_BYTES, sizeof(keys));
    crypto_generichash_update(&state, shared, sizeof(shared));
    crypto_generichash_update(&state, (const uint8_t *)client, sizeof(*client));
    crypto_generichash_update(&state, (const uint8_t *)server, sizeof(*server));
    crypto_generichash_final(&state, keys, sizeof(keys));
    memcpy(session->key_out, keys + (is_client ? 0 : 32), 32);
    memcpy(session->key_in, keys + (is_client ? 32 : 0), 32);
    session->count_out = 0;
    session->count_in = 0;
    sodium_memzero(shared, sizeof(shared));
    sodium_memzero(keys, sizeof(keys));
    return true;
}

static void nonce_of(uint64_t count, uint8_t nonce[12])
{
    memset(nonce, 0, 12);
    tr_store_le64(nonce, count);
}

void tr_verbs_frame_seal(struct tr_verbs_session *session, const void *frame, uint8_t *out)
{
    uint8_t nonce[12];
    nonce_of(session->count_out++, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, frame, TR_VERBS_FRAME_BYTES, NULL, 0, NULL,
                                              nonce, session->key_out);
}

bool tr_verbs_frame_open(struct tr_verbs_session *session, const uint8_t *sealed, void *frame)
{
    uint8_t nonce[12];
    nonce_of(session->count_in, nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(frame, NULL, NULL, sealed,
                                                  TR_VERBS_FRAME_BYTES + TR_VERBS_SEAL_BYTES, NULL,
                                                  0, nonce, session->key_in) != 0)
        return false;
    session->count_in++;
    return true;
}
