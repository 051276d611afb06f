/* Messages, effects and replicas in words, as the trace scripts expect them. Nodes are named by
 * their ids (1, 2, ...); a ballot is round/node, with i and the incarnation when it is not the
 * first; numbers that differ from run to run (stamps, boots, hashes) are left out. */
#ifndef TR_TESTS_TRACE_TRACE_PRINT_H
#define TR_TESTS_TRACE_TRACE_PRINT_H

#include "tests/unit/replica_world.h"

#include <string>

namespace trace
{

std::string words_of(tr_ballot ballot);
/* The value of a record: "noop", or its first command in quotes. */
std::string words_of(const tr_record *record);
/* Type and body of a message, and the records in its tail. */
std::string words_of(replica_world::Sent &sent);
/* An effect, without the node that has it. Who replicates into rings is asked of the leader. */
std::string words_of(const tr_replica *r, const tr_effect &effect);
/* Role, promise, leader and slots of a replica. */
std::string status_of(const tr_replica *r);
/* One slot of a replica's log. */
std::string slot_of(const tr_replica *r, uint64_t slot);
/* The members of a set, by id: "2,3". */
std::string members_of(uint16_t set);

} // namespace trace

#endif
