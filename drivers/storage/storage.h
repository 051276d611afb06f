/*
 * The storage interface: where a group keeps what it must not forget. Its promise (a few bytes that
 * replace each other), its entries (a log that is appended to and cut off at the front), its
 * snapshot (one, replaced as a whole).
 *
 * A storage driver is one constant table (struct tr_storage_driver). Opening it gives a storage,
 * owned by one polling thread, for one group on one node. Drivers know nothing of Paxos: metadata
 * and entries are bytes, a slot is a number.
 *
 * Rules that every driver keeps (tests/unit/drivers_storage_test.cc holds them):
 *  - No call blocks. A write is taken or refused (TR_AGAIN); when it is durable, `poll` says so:
 * the mark is the sequence of the last write that is durable together with all before it. Writes
 *    that are there at a poll may share one flush of the device (group commit).
 *  - Sequences belong to one opening. Each opening has a generation of its own, which never
 *    repeats, and the mark names both: a late answer to a former opening counts for nothing.
 *  - A flush that failed is never tried again as if nothing had happened: the system may have
 *    dropped the bytes. The storage has failed from there on; the mark stands still, whatever is
 *    asked returns TR_EIO. What is on the device is found out by opening it anew.
 *  - What was durable and cannot be read is reported as *unknown*, never as not there: whoever
 *    recovers from it must not vote as if it had never accepted those slots.
 *  - Memory is taken at open only.
 *
 * Source: the mark follows the group commit of DeWitt et al. (SIGMOD 1984); failed flushes:
 * Rebello et al., "Can Applications Recover from fsync Failures?" (USENIX ATC 2020).
 */
#ifndef TR_DRIVERS_STORAGE_STORAGE_H
#define TR_DRIVERS_STORAGE_STORAGE_H

#include "base/types.h"
#include "drivers/driver.h"

TR_BEGIN_C

enum tr_storage_capability {
    TR_STORAGE_PERSISTENT = 1u << 0, /* what is durable outlives the process */
    TR_STORAGE_DELAYED = 1u << 1,    /* a write may need more than one poll to be durable */
    TR_STORAGE_SYSCALLS = 1u << 2,   /* poll enters the kernel when there is something to do */
};

/* Bytes of metadata: a promise and who made it. */
#define TR_STORAGE_METADATA_MAX 256
/* Pieces of one entry: a header and a payload. */
#define TR_STORAGE_SEGMENTS_MAX 2
/* Bytes of a snapshot that one call writes or reads. */
#define TR_STORAGE_CHUNK_BYTES (64u << 10)

struct tr_storage_options {
    size_t struct_bytes;
    const char *place;           /* a directory; mem: not looked at */
    uint32_t group;              /* what lies there must be this group's */
    uint32_t entry_bytes_max;    /* largest entry, all segments together */
    uint64_t log_bytes;          /* room for entries that are not truncated; a power of two */
    uint64_t snapshot_bytes_max; /* largest snapshot */
    struct tr_memory memory;     /* never freed one by one */
    void *medium;                /* mem: struct tr_storage_medium, what outlives the storage */
    const char *extra;           /* "key=value,..." of the driver; unknown keys are TR_EINVAL */
    char *error; /* where a message for a person goes when open fails; may be NULL */
    size_t error_bytes;
};

struct tr_storage_limits {
    uint32_t entry_bytes_max;
    uint64_t log_bytes;
    uint64_t snapshot_bytes_max;
};

/* One entry to append: its segments are concatenated. */
struct tr_storage_entry {
    uint64_t slot;
    uint32_t segment_count; /* 1 .. TR_STORAGE_SEGMENTS_MAX */
    struct tr_segment segment[TR_STORAGE_SEGMENTS_MAX];
};

/* How far everything is durable. */
struct tr_storage_mark {
    uint64_t generation; /* of the opening that the sequence belongs to; never 0 */
    uint64_t sequence;   /* of the last write that is durable together with all before; 0: none */
};

/* The snapshot that is durable. */
struct tr_storage_snapshot {
    uint64_t slot, bytes;
    uint32_t crc; /* as it was given */
};

enum tr_storage_item_kind {
    TR_STORAGE_METADATA = 1, /* the newest */
    TR_STORAGE_ENTRY = 2,
    TR_STORAGE_UNKNOWN = 3, /* was durable and cannot be read: slots slot_first .. slot_last; the
                               metadata when both are 0 */
};

/* One thing found by a scan. */
struct tr_storage_item {
    enum tr_storage_item_kind kind;
    uint32_t bytes;
    uint64_t slot_first, slot_last; /* ENTRY: both its slot */
    const void *data;               /* aligned to 8 bytes; valid until the next call of scan */
};

/* Where a scan is. Zeroed: at the beginning. */
struct tr_storage_cursor {
    uint64_t position;
    uint32_t stage;
    uint32_t reserved;
};

struct tr_storage_stats {
    uint64_t writes, bytes;    /* taken: appends and metadata */
    uint64_t refused;          /* for want of room */
    uint64_t flushes;          /* of the device */
    uint64_t flushes_failed;   /* 1 at most */
    uint64_t entries, unknown; /* found by scans */
    uint64_t snapshots, truncations;
    uint64_t log_bytes_used;
};

struct tr_storage; /* a driver's own; its first member is `const struct tr_storage_driver *driver`
                    */

/* The table of one storage driver. Every operation must be there. Thread: the storage's owner. */
struct tr_storage_driver {
    const char *name;
    uint32_t abi_bytes; /* sizeof(struct tr_storage_driver) that it was built with */
    uint32_t capabilities;
    const char *summary; /* a line for --help */

    /* Opens what lies at a place, or makes it. What an unfinished write left behind the last
     * durable one is cut off, unless it is whole. Returns TR_OK, TR_EINVAL, TR_ENOMEM, TR_EBUSY
     * (open already), TR_EPERM, TR_EVERSION, TR_ECORRUPT (another group's, or beyond reading),
     * TR_EIO; *out only on success. */
    int (*open)(const struct tr_storage_options *options, struct tr_storage **out);
    /* Closes it. What was not durable may be lost. */
    void (*close)(struct tr_storage *s);
    void (*limits)(const struct tr_storage *s, struct tr_storage_limits *out);

    /* Appends entries, all or none, in order. A slot may be appended again: the newest counts.
     * sequence: rises with every write, or 0: more of the same write follows. count 0: nothing but
     * the sequence, durable when all before it is. The segments may be reused on return. Returns
     * TR_OK, TR_AGAIN (no room: truncate), TR_ETOOBIG, TR_EIO. */
    int (*append)(struct tr_storage *s, uint64_t sequence, const struct tr_storage_entry *entry,
                  uint32_t count);
    /* Replaces the metadata, in the order of the appends. Returns TR_OK, TR_AGAIN, TR_ETOOBIG,
     * TR_EIO. */
    int (*metadata)(struct tr_storage *s, uint64_t sequence, const void *data, uint32_t bytes);
    /* Carries writes on, and tells how far they are durable. Returns TR_OK, or TR_EIO: a flush
     * failed, the mark stands still for ever; *durable is written in either case. */
    int (*poll)(struct tr_storage *s, struct tr_storage_mark *durable);

    /* Begins a snapshot as of a slot; one that was begun and not committed is given up. Returns
     * TR_OK, TR_ETOOBIG, TR_EIO. */
    int (*snapshot_begin)(struct tr_storage *s, uint64_t slot, uint64_t bytes, uint32_t crc);
    /* Its next bytes, TR_STORAGE_CHUNK_BYTES at most. Returns TR_OK, TR_AGAIN, TR_EINVAL (more than
     * was said, or none was begun), TR_EIO. */
    int (*snapshot_write)(struct tr_storage *s, const void *data, uint32_t bytes);
    /* All is written: it takes the place of the one before once it is durable, which `snapshot`
     * tells; until then the old one counts. Returns TR_OK, TR_EINVAL (less than was said), TR_EIO.
     */
    int (*snapshot_commit)(struct tr_storage *s);
    /* The snapshot that is durable. Returns TR_OK, TR_ENOENT (none). */
    int (*snapshot)(const struct tr_storage *s, struct tr_storage_snapshot *out);
    /* Reads of it. Returns TR_OK, TR_ENOENT, TR_ERANGE, TR_EIO. Its bytes are for the reader to
     * check. */
    int (*snapshot_read)(struct tr_storage *s, uint64_t offset, void *data, uint32_t bytes);
    /* Entries up to a slot are not needed any more. Returns TR_OK, TR_EINVAL (the durable snapshot
     * does not reach so far), TR_EIO. */
    int (*truncate)(struct tr_storage *s, uint64_t slot);

    /* The next thing that is durable: the metadata, then entries in the order of their appends.
     * Only before the first write of an opening. Returns TR_OK, TR_ENOENT (past the last),
     * TR_EINVAL (something was written). */
    int (*scan)(struct tr_storage *s, struct tr_storage_cursor *cursor,
                struct tr_storage_item *out);
    void (*stats)(const struct tr_storage *s, struct tr_storage_stats *out);
};

/* Head of every storage. */
struct tr_storage_head {
    const struct tr_storage_driver *driver;
};

/* Finds a storage driver by name; NULL: there is none. Thread: any. */
const struct tr_storage_driver *tr_storage_find(const char *name);

/* Whether a table is whole. Returns TR_OK, TR_EVERSION (abi_bytes), TR_EINVAL (no name, or an
 * operation is missing); `why` gets a sentence. Thread: any. */
int tr_storage_check(const struct tr_storage_driver *driver, char *why, size_t why_bytes);

TR_END_C

#endif
