/* Which storage drivers there are, and whether a table keeps its word. */
#include "drivers/storage/storage.h"

#include "drivers/storage/mem.h"
#include "trireme/error.h"

#include <stdio.h>
#include <string.h>

static const struct tr_storage_driver *const known[] = {&tr_storage_mem};

const struct tr_storage_driver *tr_storage_find(const char *name)
{
    for (size_t i = 0; i < TR_ARRAY_COUNT(known); i++)
        if (strcmp(known[i]->name, name) == 0)
            return known[i];
    return NULL;
}

int tr_storage_check(const struct tr_storage_driver *d, char *why, size_t why_bytes)
{
    if (d->abi_bytes != sizeof(*d)) {
        snprintf(why, why_bytes,
                 "a storage driver of another version: its table has %u bytes, not "
                 "%zu",
                 d->abi_bytes, sizeof(*d));
        return TR_EVERSION;
    }
    bool named = d->name != NULL && d->name[0] != '\0' && d->summary != NULL;
    bool whole = d->open != NULL && d->close != NULL && d->limits != NULL && d->append != NULL &&
                 d->metadata != NULL && d->poll != NULL && d->snapshot_begin != NULL &&
                 d->snapshot_write != NULL && d->snapshot_commit != NULL && d->snapshot != NULL &&
                 d->snapshot_read != NULL && d->truncate != NULL && d->scan != NULL &&
                 d->stats != NULL;
    if (named && whole)
        return TR_OK;
    snprintf(why, why_bytes, "storage driver %s: %s", named ? d->name : "without a name",
             whole ? "it needs a name and a summary" : "an operation is missing");
    return TR_EINVAL;
}
