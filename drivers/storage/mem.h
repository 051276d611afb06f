/*
 * Storage in memory: for tests, and to run the levels with a disk where there is none.
 *
 * What a disk would keep is a *medium*, which outlives the storages that are opened on it, as a
 * disk outlives processes: open, write, crash, open again. The test says when writes become
 * durable, when a flush fails, what a crash leaves, what cannot be read any more. Without a medium
 * a storage has one of its own, which goes with it.
 *
 * Thread: that of the storage, or whoever owns it while no storage is in use.
 */
#ifndef TR_DRIVERS_STORAGE_MEM_H
#define TR_DRIVERS_STORAGE_MEM_H

#include "drivers/storage/storage.h"

TR_BEGIN_C

struct tr_storage_medium;

struct tr_storage_medium_options {
    size_t struct_bytes;
    uint64_t log_bytes; /* a power of two */
    uint64_t snapshot_bytes_max;
    struct tr_memory memory; /* outlives the medium's storages */
};

/* What cannot be read any more. */
enum tr_storage_damage {
    TR_STORAGE_DAMAGE_PAYLOAD = 1, /* an entry's bytes */
    TR_STORAGE_DAMAGE_HEADER = 2,  /* and where the next one begins */
};

/* An empty medium. Returns TR_OK, TR_EINVAL (log_bytes), TR_ENOMEM. */
tr_nodiscard int tr_storage_medium_create(const struct tr_storage_medium_options *options,
                                          struct tr_storage_medium **out);
/* Writes stay in the cache from now on, until released; or no more. */
void tr_storage_medium_hold(struct tr_storage_medium *m, bool held);
/* While held: the next poll makes so many more writes durable. */
void tr_storage_medium_release(struct tr_storage_medium *m, uint64_t writes);
/* The next flush fails. */
void tr_storage_medium_fail(struct tr_storage_medium *m);
/* The process dies with the machine's cache: of the writes that are not durable the first
 * `writes_kept` reached the medium, and when `torn` a part of the next one. The storage that was
 * open on it is dead: all it can do is to be closed. */
void tr_storage_medium_crash(struct tr_storage_medium *m, uint64_t writes_kept, bool torn);
/* The write of a slot's newest entry landed where that of another lies, which has as many bytes;
 * what lies in its own place is no entry. Returns TR_OK, TR_ENOENT, TR_EINVAL (not as many). */
int tr_storage_medium_misdirect(struct tr_storage_medium *m, uint64_t slot, uint64_t onto);
/* The newest entry of a slot cannot be read any more. Returns TR_OK, TR_ENOENT. */
int tr_storage_medium_spoil(struct tr_storage_medium *m, uint64_t slot,
                            enum tr_storage_damage damage);
/* Neither can the metadata. */
void tr_storage_medium_spoil_metadata(struct tr_storage_medium *m);

extern const struct tr_storage_driver tr_storage_mem;

TR_END_C

#endif
