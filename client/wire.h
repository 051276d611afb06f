/*
 * What a remote client and a node say to each other, and the checks on it. Pure: bytes in, views
 * out.
 *
 * A message is a header, a fixed body by its type, and a tail of variable length. All integers are
 * little-endian; every part is padded to 8 bytes with zeros. The CRC covers everything behind it.
 * Nothing in a message is believed before tr_wire_open has checked it; what depends on state
 * (tokens, sequences) is the reader's to check. docs/client.md says what the messages mean.
 */
#ifndef TR_CLIENT_WIRE_H
#define TR_CLIENT_WIRE_H

#include "base/bytes.h"
#include "base/types.h"

TR_BEGIN_C

/* "Cl", and the version of this protocol: a message of a peer (consensus/message.h) never reads as
 * one of these, nor the other way round. */
#define TR_WIRE_MARK    0x6c43
#define TR_WIRE_VERSION 1

/* Commands of one SUBMIT, completions of one REPLY. */
#define TR_WIRE_COMMANDS_MAX 256u
/* Bytes of a nonce, which names a session from its registration on; the first two are zero, where a
 * node's own sessions have the node. */
#define TR_WIRE_NONCE_BYTES 16
/* Stands in bytes_each where the commands of a SUBMIT differ in length. */
#define TR_WIRE_BYTES_VARY UINT32_MAX
/* Sequences and numbers of reads end here: nothing overflows when a count is added. */
#define TR_WIRE_SEQUENCE_MAX ((uint64_t)INT64_MAX)

enum tr_wire_type {
    /* From a client. */
    TR_WIRE_HELLO = 1, /* attach my session */
    TR_WIRE_SUBMIT = 2,
    TR_WIRE_READ = 3,
    TR_WIRE_PING = 4, /* how far are you? */
    TR_WIRE_BYE = 5,  /* close my session in the log */
    /* From a node. */
    TR_WIRE_CHALLENGE = 65, /* say HELLO again with this token */
    TR_WIRE_WELCOME = 66,
    TR_WIRE_REPLY = 67,
    TR_WIRE_READ_REPLY = 68,
    TR_WIRE_STATE = 69,
    TR_WIRE_REFUSED = 70,
};

struct tr_wire_header {
    uint32_t crc; /* CRC32C of all that follows */
    uint16_t mark;
    uint8_t version;
    uint8_t type; /* enum tr_wire_type */
    uint32_t group;
    uint16_t leader; /* from a node: who leads as far as it knows, 0: nobody. From a client: 0 */
    uint16_t reserved;
    uint64_t cluster; /* tr_wire_cluster of the cluster's name */
    uint64_t token;   /* of the attachment; 0: none yet */
    uint64_t round;   /* from a node: the ballot round of `leader`. From a client: 0 */
};

struct tr_wire_hello {
    uint8_t nonce[TR_WIRE_NONCE_BYTES];
    uint64_t number;     /* of the session; 0: never told */
    uint64_t acked;      /* the client has the replies up to here */
    uint64_t read_acked; /* the same of reads */
};

struct tr_wire_challenge {
    uint8_t nonce[TR_WIRE_NONCE_BYTES]; /* of the HELLO that this answers */
};

struct tr_wire_welcome {
    uint64_t number;
    uint64_t next; /* the first sequence that the node has not taken on */
    uint32_t window;
    uint32_t command_bytes_max, reply_bytes_max;
    uint32_t reserved;
};

/* Tail: the lengths, where they vary; the commands. */
struct tr_wire_submit {
    uint64_t first;
    uint64_t acked;
    uint32_t count;
    uint32_t bytes_each; /* or TR_WIRE_BYTES_VARY */
};

enum tr_wire_read_flag {
    TR_WIRE_READ_LOCAL = 1, /* from the node's state as it is */
};

/* Tail: the query. */
struct tr_wire_read {
    uint64_t id;
    uint64_t after; /* the last command submitted before it */
    uint64_t acked;
    uint32_t bytes;
    uint32_t flags; /* of enum tr_wire_read_flag */
};

struct tr_wire_ping {
    uint64_t acked;
    uint64_t sent; /* the last command sent */
};

/* The completion of one command; its reply is in the tail. */
struct tr_wire_done {
    int32_t status;
    uint32_t bytes;
    uint64_t slot;
};

/* Tail: struct tr_wire_done of each, then the replies. */
struct tr_wire_reply {
    uint64_t first;
    uint32_t count;
    uint32_t reserved;
};

/* Tail: the reply. */
struct tr_wire_read_reply {
    uint64_t id;
    uint64_t slot;
    int32_t status;
    uint32_t bytes;
};

enum tr_wire_state_flag {
    TR_WIRE_STATE_GAP = 1,    /* a command came whose predecessor did not */
    TR_WIRE_STATE_BUSY = 2,   /* no room for more commands now */
    TR_WIRE_STATE_ANSWER = 4, /* to a PING */
};

struct tr_wire_state {
    uint64_t next;      /* the first sequence that was not taken on */
    uint64_t read_next; /* the same of reads */
    uint64_t read_done; /* the last read that was answered */
    uint32_t flags;     /* of enum tr_wire_state_flag */
    uint32_t reserved;
};

struct tr_wire_refused {
    uint8_t nonce[TR_WIRE_NONCE_BYTES]; /* of the HELLO refused; else zero */
    int32_t reason;                     /* enum tr_error */
    uint32_t reserved;
};

/* The longest fixed part of a message. */
#define TR_WIRE_HEADER_BYTES_MAX 80u

/* Bytes of a message beside the payload of one command, query or reply. */
#define TR_WIRE_OVERHEAD_BYTES 128u

/* A message that was checked. Views into it. */
struct tr_wire_message {
    const struct tr_wire_header *header;
    const void *body;    /* by header->type */
    const uint8_t *tail; /* aligned to 8 if the message is */
    uint32_t tail_bytes;
};

/* Who may have sent it. */
enum tr_wire_side {
    TR_WIRE_FROM_CLIENT = 1,
    TR_WIRE_FROM_NODE = 2,
};

enum tr_wire_verdict {
    TR_WIRE_GOOD = 0,
    TR_WIRE_MALFORMED = 1,
    TR_WIRE_OTHER_VERSION = 2, /* whole, and of a version that this one does not know */
};

/* The number of a cluster for clients, from its name. Cost: a pass over the name. */
uint64_t tr_wire_cluster(const char *name);

/* Checks a message of any bytes at an address aligned to 8: marks, CRC, type and side, lengths,
 * counts, reserved bytes, ranges. *out is written unless MALFORMED; for OTHER_VERSION its header
 * only. Cost: the CRC, and a pass over the lengths. */
enum tr_wire_verdict tr_wire_open(const void *data, uint32_t bytes, enum tr_wire_side side,
                                  struct tr_wire_message *out);

/* Begins a message of this type in a buffer: header and zeroed body. Returns where the body is; the
 * tail goes to tr_wire_tail. */
void *tr_wire_begin(void *buffer, enum tr_wire_type type, uint64_t cluster, uint32_t group,
                    uint64_t token);

/* Where the tail of the message begun in this buffer goes. */
uint8_t *tr_wire_tail(void *buffer);

/* Ends a message with so many bytes of tail: pads it, sets the CRC. Returns its bytes. */
uint32_t tr_wire_end(void *buffer, uint32_t tail_bytes);

/* Bytes that `bytes` take in a tail. */
static inline uint32_t tr_wire_padded(uint32_t bytes)
{
    return tr_align_up_u32(bytes, 8);
}

/* Bytes of the lengths of so many commands. */
static inline uint32_t tr_wire_lengths_bytes(uint32_t count)
{
    return tr_wire_padded(count * (uint32_t)sizeof(uint32_t));
}

/* The next command of a SUBMIT, the next reply of a REPLY. */
struct tr_wire_cursor {
    const uint8_t *sizes; /* NULL: all are bytes_each */
    const uint8_t *data;
    uint32_t size_stride;
    uint32_t bytes_each;
};

/* At the first command of a SUBMIT that was checked. */
struct tr_wire_cursor tr_wire_commands(const struct tr_wire_message *m);
/* At the first reply of a REPLY that was checked. */
struct tr_wire_cursor tr_wire_replies(const struct tr_wire_message *m);
/* Moves on. Returns the bytes of the one passed, which lies at *data. */
uint32_t tr_wire_next(struct tr_wire_cursor *cursor, const uint8_t **data);
/* The completion `index` of a REPLY. */
struct tr_wire_done tr_wire_done_at(const struct tr_wire_message *m, uint32_t index);

TR_END_C

#endif
