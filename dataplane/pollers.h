/*
 * Who polls on this machine: a small table in shared memory, one entry a polling thread, so that an
 * idle poller can tell whether there is a CPU for each of them.
 *
 * The table is advice: a wrong entry costs time, never correctness. It belongs to one user (mode
 * 0600); entries of dead processes are taken over.
 */
#ifndef TR_DATAPLANE_POLLERS_H
#define TR_DATAPLANE_POLLERS_H

#include "base/types.h"

TR_BEGIN_C

/* Polling threads of one user on one machine; those above it are not counted. */
#define TR_POLLERS_MAX 256

struct tr_pollers;

/* Maps the table, making it when it is not there. Returns NULL where there is no shared memory:
 * then only this process's word counts. Thread: any. */
struct tr_pollers *tr_pollers_open(void);
void tr_pollers_close(struct tr_pollers *table);

/* Enters the calling thread, which runs on `cpu` only (negative: anywhere). Entering twice counts
 * once. Returns the entry, or -1 when the table is full. */
int tr_pollers_enter(struct tr_pollers *table, int cpu);
void tr_pollers_leave(struct tr_pollers *table, int entry);

/* Enters the calling thread with the first of these CPUs that no other poller runs on only. Returns
 * that CPU, which the caller pins the thread to, or -1: each has one (the thread is entered without
 * a CPU), or there is no table. Threads and processes that settle at a time get different ones.
 * Cost: system calls; waits for others that settle, 100 ms at most. */
int tr_pollers_settle(struct tr_pollers *table, const int *cpus, uint32_t cpu_count);

/* Whether the poller of this entry has to share its CPU with others. `cpus_usable`: those that the
 * thread may run on. Entries of dead processes are removed when they would matter. Cost: a scan. */
bool tr_pollers_crowded(struct tr_pollers *table, int entry, uint32_t cpus_usable);

/* Entries of living processes. Cost: a scan and a system call an entry. */
uint32_t tr_pollers_count(struct tr_pollers *table);

TR_END_C

#endif
