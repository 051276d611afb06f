/* A group's rings alone: dataplane/fence.c and ring_write.c between a driver and a core that the
 * test plays. Linked in place of what they call; nothing else of the dataplane is there. */
#ifndef TR_TESTS_UNIT_GROUP_STAGE_H
#define TR_TESTS_UNIT_GROUP_STAGE_H

#include "consensus/ring.h"
#include "dataplane/group.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

namespace group_stage
{

/* What the core was told. */
struct Told {
    tr_event_type type;
    uint64_t generation = 0;
    tr_ballot ballot{};
    tr_grant grant{};
    std::vector<uint64_t> slots; /* of records, copied; of WRITTEN first and last */
    tr_written_status status{};
};

/* What the driver was asked to write. */
struct Write {
    uint32_t remote;
    uint32_t offset;
    std::vector<uint8_t> bytes;
};

constexpr uint32_t RING_BYTES = 4096;
constexpr uint32_t ENTRY_BYTES_MAX = 2048;

/* The one that the stand-ins answer for. */
class Stage
{
  public:
    Stage();
    ~Stage();
    Stage(const Stage &) = delete;
    Stage &operator=(const Stage &) = delete;

    static Stage *current;

    tr_group *g;
    tr_lcore *lcore;
    tr_outlet *o; /* the way to member 2 */
    tr_driver driver{};

    /* The driver's part. */
    alignas(64) uint8_t ring[RING_BYTES];
    int start_says = 0, poll_says = 0, grant_status = 0, open_status = 0;
    uint32_t fences = 0;
    std::vector<uint64_t> granted;  /* generations */
    std::vector<uint64_t> consumed; /* what the writer was told */
    std::vector<uint64_t> opened;   /* generations */
    uint32_t closed = 0;
    std::vector<Write> writes;
    uint32_t writes_max = 1000;
    uint64_t remote_consumed = 0;

    /* The core's part. */
    std::vector<Told> told;
    uint32_t admits = UINT32_MAX; /* records of the next events, together */
    uint32_t admitted = 0;
    struct tr_replica_status status; /* incarnation 1, else zeros */
    tr_replica_counts counts;
    tr_grant grant{};                      /* that this leader holds; generation 0: none */
    std::map<uint64_t, std::string> entry; /* slots to payloads */
    uint64_t pin = 0;

    /* A record as a writer would put it at a position of the granted ring. */
    std::vector<uint8_t> record(uint64_t position, uint64_t slot, uint32_t payload_bytes);
    /* Puts bytes into the ring at a position. */
    void land(uint64_t position, const std::vector<uint8_t> &bytes, size_t from = 0);
    /* Lands a whole record; returns the position after it. */
    uint64_t land_record(uint64_t position, uint64_t slot, uint32_t payload_bytes = 8);
    /* Fences, and grants the ring of member 2. */
    void grant_ring();
    std::vector<uint64_t> slots_told() const;
};

} // namespace group_stage

#endif
