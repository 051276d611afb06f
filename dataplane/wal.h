/*
 * The write-ahead log of a group: PERSIST effects into a storage (drivers/storage), the mark back
 * as DURABLE, and the latest snapshot beside it, behind which the log is cut off.
 *
 * PERSIST is never lost. What the storage does not take at once is remembered as one ask: the
 * newest promise, and the range of slots from the lowest to the highest; it is written from the
 * group's log when there is room. So it may write an entry twice, or a newer value of it, never
 * less.
 *
 * A storage that failed stays failed: the mark stands still, so that at level disk nothing is
 * promised or acknowledged any more, and the log says why.
 */
#ifndef TR_DATAPLANE_WAL_H
#define TR_DATAPLANE_WAL_H

#include "consensus/replica.h"
#include "dataplane/log.h"
#include "drivers/storage/storage.h"

TR_BEGIN_C

#define TR_WAL_METADATA_MAGIC   UINT64_C(0x31454d4f52505254) /* "TRPROME1" */
#define TR_WAL_METADATA_VERSION 1u

/* The metadata of a group. Little-endian. */
struct tr_wal_metadata {
    uint64_t magic;
    uint32_t version;
    uint32_t group;
    uint64_t cluster;        /* hash of the cluster's name */
    struct tr_ballot ballot; /* promised */
    uint32_t incarnation;    /* of this replica */
    uint32_t reserved;       /* zero */
};

/* What a group is opened on, at the levels that have a disk. */
struct tr_wal_options {
    const struct tr_storage_driver *driver;
    const char *place;
    const char *extra;
    void *medium; /* mem */
    uint64_t log_bytes;
    struct tr_memory memory;
};

struct tr_wal_stats {
    uint64_t writes;    /* calls that the storage took */
    uint64_t delayed;   /* PERSISTs that it did not take at once */
    uint64_t snapshots; /* durable */
    uint64_t failed;    /* 1: the storage failed */
};

/* What is to be written and not taken yet. */
struct tr_wal_ask {
    bool promise;
    struct tr_ballot ballot;
    uint64_t slot_first, slot_last; /* none when first > last */
    uint64_t sequence;              /* of the last PERSIST in it; 0: nothing is asked */
};

struct tr_wal {
    const struct tr_storage_driver *driver;
    struct tr_storage *storage; /* NULL: closed */
    const struct tr_replica *replica;
    const struct tr_replica_config *config;
    const struct tr_logger *logger;
    struct tr_wal_ask ask;
    struct tr_storage_mark mark;
    struct tr_wal_stats stats;

    /* The snapshot on its way. */
    const uint8_t *image; /* NULL: none */
    uint64_t image_slot, image_bytes, image_at;
    uint32_t image_crc;
    bool image_begun, image_committed;
};

/* Opens the storage of a group. replica and config are looked at as long as it is open. Returns as
 * tr_storage_driver.open, the reason in `error`. Thread: setup. */
int tr_wal_open(struct tr_wal *w, const struct tr_wal_options *options,
                const struct tr_replica_config *config, uint64_t snapshot_bytes_max,
                const struct tr_logger *logger, char *error, size_t error_bytes);
/* The replica whose log is written; once, before the first PERSIST. */
void tr_wal_bind(struct tr_wal *w, const struct tr_replica *replica);
/* Closes it. What was not durable may be lost. */
void tr_wal_close(struct tr_wal *w);

/* Carries a PERSIST out. context: the WAL. Thread: the group's. */
void tr_wal_persist(void *context, const struct tr_effect *e);
/* Carries everything on. Returns the sequence up to which all PERSISTs are durable. */
uint64_t tr_wal_durable(void *context);
/* A snapshot is to be kept, instead of one that is on its way; `data` stays as it is until the next
 * call. */
void tr_wal_snapshot(struct tr_wal *w, uint64_t slot, const void *data, uint64_t bytes,
                     uint32_t crc);

TR_END_C

#endif
