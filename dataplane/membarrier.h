/*
 * A full fence in every thread of this process, issued by one of them: the seldom side pays for the
 * frequent one.
 *
 * Who is about to sleep announces it first, by a word that wakers look at; after tr_membarrier
 * every waker either published its work before, so that the sleeper sees it, or sees the word.
 */
#ifndef TR_DATAPLANE_MEMBARRIER_H
#define TR_DATAPLANE_MEMBARRIER_H

#include "base/types.h"

TR_BEGIN_C

/* Lets this process use it. Thread: setup. Cost: some milliseconds, once a process. */
void tr_membarrier_open(void);
/* The fence. Returns false where the system has none, or tr_membarrier_open was not called: then
 * nothing is known. Thread: any. Cost: a system call, an interrupt of each CPU that runs a thread
 * of this process. */
bool tr_membarrier(void);

TR_END_C

#endif
