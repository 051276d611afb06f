/* Messages in datagrams. A datagram is a row of frames, each a header of 8 bytes and a payload
 * padded to 8, so that small messages to one peer share a datagram, and so that datagrams which the
 * kernel joined into one (UDP_GRO) are still a row of frames. A message that is larger than a
 * datagram is cut into pieces: frames of 24 bytes of header that say where in which message they
 * belong.
 *
 * The receiver puts messages together in buffers that belong to the sender's address alone, a few a
 * peer, the oldest given up when a new message needs one: a hostile or broken sender can spoil only
 * messages of its own. Nothing that a datagram says is believed before it was checked.
 *
 * Integrity is not this layer's: the message's own CRC32C tells when pieces of two senders under
 * one forged address were mixed.
 *
 * Source: RFC 815 for the idea; equal pieces and a bitmap of them make overlaps impossible
 * (RFC 5722 has what they did to IP). */
#ifndef TR_DRIVERS_FRAGMENT_H
#define TR_DRIVERS_FRAGMENT_H

#include "base/bytes.h"
#include "base/types.h"
#include "drivers/driver.h"

TR_BEGIN_C

/* Header of a whole message: mark (2), kind (1), zero (1), payload bytes (4). */
#define TR_FRAME_BYTES 8

/* Header of a piece: that of a frame, then message number (8), message bytes (4), bytes of a piece
 * but the last in units of 8 (2), index of this piece (2). */
#define TR_PIECE_BYTES 24

/* "Tr", and the version of this framing in the kind's high bits, so that it never reads as another.
 */
#define TR_FRAME_MARK  0x7254
#define TR_FRAME_WHOLE 0x11
#define TR_FRAME_PIECE 0x12

/* Pieces of a message: 8 MiB in Ethernet's datagrams; 1 KiB of bitmap for each message under way.
 */
#define TR_PIECES_MAX 8192

/* Bytes of a piece but the last: a multiple of 8 between these (the largest datagram that the
 * header can tell; the smallest that any link carries, RFC 8200, is 1,280). */
#define TR_PIECE_UNIT_MIN 64
#define TR_PIECE_UNIT_MAX (8 * 65535)

/* The largest message that can be cut. */
#define TR_FRAGMENT_MESSAGE_BYTES_MAX (8u << 20)

/* What tr_frame_next found. */
enum tr_frame_kind {
    TR_FRAME_IS_END = 0, /* the datagram ends here */
    TR_FRAME_IS_WHOLE,
    TR_FRAME_IS_PIECE,
    TR_FRAME_IS_BAD, /* not of this framing; the rest of the datagram is void */
};

/* A frame in a datagram. The fields after bytes are set for pieces only. */
struct tr_frame {
    const uint8_t *data; /* in the datagram, aligned to 8 if that is */
    uint32_t bytes;
    uint32_t message_bytes;
    uint64_t message; /* number that the sender gave it */
    uint32_t unit_bytes;
    uint32_t index;
};

/* Reads a piece's header at `at` of a datagram whose frame header was checked. Returns whether it
 * makes sense in itself. */
bool tr_piece_read(const uint8_t *at, struct tr_frame *frame);

/* Reads the frame at offset *at of a datagram and moves *at behind it. Hostile bytes of any length
 * are fine. Cost: about 10 instructions for a whole message. */
static inline enum tr_frame_kind tr_frame_next(const uint8_t *datagram, uint32_t bytes,
                                               uint32_t *at, struct tr_frame *frame)
{
    const uint8_t *header = datagram + *at;
    uint32_t left = bytes - *at;
    uint32_t payload;
    if (left == 0)
        return TR_FRAME_IS_END;
    if (tr_unlikely(left < TR_FRAME_BYTES))
        return TR_FRAME_IS_BAD;
    payload = tr_load_le32(header + 4);
    if (tr_likely(tr_load_le32(header) == (TR_FRAME_MARK | TR_FRAME_WHOLE << 16))) {
        if (tr_unlikely(payload > left - TR_FRAME_BYTES))
            return TR_FRAME_IS_BAD;
        frame->data = header + TR_FRAME_BYTES;
        frame->bytes = payload;
        /* The last frame's padding may be missing. */
        *at += tr_min_u32(tr_align_up_u32(TR_FRAME_BYTES + payload, 8), left);
        return TR_FRAME_IS_WHOLE;
    }
    if (tr_load_le32(header) != (TR_FRAME_MARK | TR_FRAME_PIECE << 16) || left < TR_PIECE_BYTES ||
        payload > left - TR_PIECE_BYTES)
        return TR_FRAME_IS_BAD;
    frame->bytes = payload;
    if (!tr_piece_read(header, frame))
        return TR_FRAME_IS_BAD;
    *at += tr_min_u32(tr_align_up_u32(TR_PIECE_BYTES + payload, 8), left);
    return TR_FRAME_IS_PIECE;
}

/* Bytes that a whole message takes in a datagram. */
static inline uint32_t tr_frame_bytes(uint32_t message_bytes)
{
    return tr_align_up_u32(TR_FRAME_BYTES + message_bytes, 8);
}

/* Writes the header of a whole message. */
static inline void tr_frame_write(uint8_t *at, uint32_t message_bytes)
{
    tr_store_le32(at, TR_FRAME_MARK | TR_FRAME_WHOLE << 16);
    tr_store_le32(at + 4, message_bytes);
}

/* How a message is cut. */
struct tr_cut {
    uint64_t message;
    uint32_t message_bytes;
    uint32_t unit_bytes; /* of each piece but the last */
    uint32_t count;
};

/* Cuts a message into pieces that fit datagrams of the given payload (at least TR_PIECE_BYTES +
 * TR_PIECE_UNIT_MIN, and such that TR_PIECES_MAX suffice). */
struct tr_cut tr_cut_plan(uint64_t message, uint32_t message_bytes, uint32_t datagram_bytes);

/* Bytes of piece number `index`, header not counted. */
static inline uint32_t tr_cut_bytes(const struct tr_cut *cut, uint32_t index)
{
    return index + 1 < cut->count ? cut->unit_bytes
                                  : cut->message_bytes - (cut->count - 1) * cut->unit_bytes;
}

/* Writes the header of piece number `index`, TR_PIECE_BYTES of it. */
void tr_cut_header(const struct tr_cut *cut, uint32_t index, uint8_t *at);

/* Reads through the segments of a message, front to back. */
struct tr_gather_cursor {
    const struct tr_segment *segment;
    uint32_t offset; /* in the first of them */
};

/* Copies the next bytes, of which there are enough. Owns: nothing. */
static inline void tr_gather_next(struct tr_gather_cursor *g, uint8_t *to, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t part = tr_min_u32(g->segment->bytes - g->offset, bytes);
        if (part > 0)
            memcpy(to, (const uint8_t *)g->segment->data + g->offset, part);
        to += part;
        bytes -= part;
        g->offset += part;
        if (g->offset == g->segment->bytes && bytes > 0) {
            g->segment++;
            g->offset = 0;
        }
    }
}

/* Passes over the next bytes, of which there are enough. */
static inline void tr_gather_skip(struct tr_gather_cursor *g, uint32_t bytes)
{
    g->offset += bytes;
    while (g->offset > g->segment->bytes) {
        g->offset -= g->segment->bytes;
        g->segment++;
    }
}

/* Numbers of messages that were completed lately: a late copy of a piece does not begin them again.
 */
#define TR_REASSEMBLY_DONE 16

struct tr_reassembly_entry;

/* The messages of one sender's address (or of all unknown ones) that are being put together. */
struct tr_reassembly {
    struct tr_reassembly_entry *entries;
    uint32_t entry_count;
    uint32_t held_count; /* entries whose message was handed up and not released */
    uint32_t message_bytes_max;
    uint32_t done_next; /* of the ring below, and how much of it is filled */
    uint32_t done_count;
    uint64_t births; /* orders the entries by age */
    struct {
        uint64_t source, message;
    } done[TR_REASSEMBLY_DONE];
};

/* What tr_reassembly_add did with a piece. */
enum tr_reassembly_result {
    TR_PIECE_TAKEN = 1, /* more are missing */
    TR_PIECE_COMPLETES, /* the message is in *out */
    TR_PIECE_DUPLICATE, /* was there already, or belongs to a message that was completed */
    TR_PIECE_REFUSED,   /* contradicts its message, or that is above the limit */
    TR_PIECE_WAITS,     /* every buffer holds a message handed up: release, then add it again */
};

/* Takes memory for so many messages at once. Returns: TR_OK or TR_ENOMEM. Thread: the port's owner.
 */
int tr_reassembly_init(struct tr_reassembly *r, const struct tr_memory *memory,
                       uint32_t entry_count, uint32_t message_bytes_max);

/* Forgets everything, for the memory's next peer. */
void tr_reassembly_reset(struct tr_reassembly *r);

/* Adds a piece that came from `source` (any number that tells senders apart). *evicted is increased
 * when an unfinished message was given up for it. On COMPLETES, *out is the message: valid until
 * tr_reassembly_release. Cost: a copy of the piece. */
enum tr_reassembly_result tr_reassembly_add(struct tr_reassembly *r, uint64_t source,
                                            const struct tr_frame *piece, struct tr_span *out,
                                            uint64_t *evicted);

/* Takes the messages handed up back. */
void tr_reassembly_release(struct tr_reassembly *r);

TR_END_C

#endif
