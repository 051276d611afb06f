/* The state machine: applies replicated commands to a store and answers queries from it. What it
 * does depends on nothing but the commands and the store. */
#ifndef TR_APPS_KV_MACHINE_H
#define TR_APPS_KV_MACHINE_H

#include "store.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Gives room for a reply of so many bytes; called once a command. NULL when that is above the
 * limit of replies. */
typedef void *(*kv_room_fn)(void *context, uint32_t bytes);

/* A store and what other threads may know of it. */
struct kv_machine {
    struct kv_store store;
    uint64_t invalid_count; /* commands that were no commands: bytes of another program */
    /* Copies for other threads, written after each change; read by kv_machine_figures. */
    uint64_t shown_entry_count;
    uint64_t shown_charged_bytes;
};

/* Figures of a machine, for INFO. */
struct kv_machine_figures {
    uint64_t entry_count;
    uint64_t charged_bytes;
};

/* Makes an empty machine. */
void kv_machine_init(struct kv_machine *machine);

/* Frees the store. */
void kv_machine_release(struct kv_machine *machine);

/* Applies one command of the log and writes its reply, in the protocol of the client. Bytes that
 * are no command change nothing, are counted, and are answered by an error. Thread: one at a time.
 */
void kv_machine_apply(struct kv_machine *machine, const void *data, uint32_t bytes, kv_room_fn room,
                      void *context);

/* Answers one query. Changes nothing.
 * Thread: as kv_machine_apply. */
void kv_machine_read(struct kv_machine *machine, const void *data, uint32_t bytes, kv_room_fn room,
                     void *context);

/* Shows the figures to other threads: after a batch of commands and after a restore.
 * Thread: as kv_machine_apply. */
void kv_machine_show(struct kv_machine *machine);

/* The figures as last shown. Thread: any. */
struct kv_machine_figures kv_machine_figures(const struct kv_machine *machine);

#ifdef __cplusplus
}
#endif
#endif
