/* Memory of simulated nodes and worlds: it is kept for the next ones, zero again.
 *
 * A schedule starts dozens of nodes, and each maps what a real one maps once. That the kernel makes
 * these pages anew each time took a third of the simulator's time. Linked in the places of mmap,
 * munmap and madvise (--wrap), what is here takes them from a reservation; what is given back is
 * kept by size, and when it is taken again the pages that were ever there are cleared, so that it
 * cannot be told from fresh memory. Huge pages are refused. What is not private and anonymous is
 * the kernel's as before.
 *
 * An access to memory that was given back is no fault here; with pages_keep(false) it is. Thread:
 * one. */
#ifndef TR_TESTS_SIM_PAGES_H
#define TR_TESTS_SIM_PAGES_H

#include <cstdint>

namespace sim
{

/* Whether memory is kept (true at first). Not while any is taken. */
void pages_keep(bool keep);

/* What was kept and taken. */
struct PagesCount {
    uint64_t reserved, taken, kept; /* bytes: of the reservation so far, in use, to be used again */
    uint64_t reused;                /* regions that were taken again, */
    uint64_t cleared;               /* and the bytes of them that were cleared */
};
PagesCount pages_count();

} // namespace sim

#endif
