/* Ballots are ordered, totally, by round, node and incarnation. */
#include "consensus/ballot.h"

#include <gtest/gtest.h>
#include <vector>

namespace
{

const std::vector<tr_ballot> ASCENDING = {
    {0, 0, 0, 0}, {1, 1, 1, 0},          {1, 2, 1, 0}, {1, UINT32_MAX, 1, 0},
    {1, 1, 2, 0}, {1, 1, UINT16_MAX, 0}, {2, 1, 1, 0}, {UINT64_MAX, 1, 1, 0}};

TEST(Ballot, Order_IsTotal)
{
    for (size_t i = 0; i < ASCENDING.size(); i++) {
        for (size_t j = 0; j < ASCENDING.size(); j++) {
            EXPECT_EQ(i < j, tr_ballot_less(ASCENDING[i], ASCENDING[j])) << i << " " << j;
            EXPECT_EQ(i == j, tr_ballot_equal(ASCENDING[i], ASCENDING[j])) << i << " " << j;
        }
    }
}

TEST(Ballot, OfTwoNodes_IsNeverTheSame)
{
    /* Lamport, "Paxos Made Simple", 2.2: different proposers choose from disjoint numbers. */
    EXPECT_FALSE(tr_ballot_equal({5, 1, 1, 0}, {5, 1, 2, 0}));
}

TEST(Ballot, OfTwoLivesOfANode_IsNeverTheSame)
{
    /* Rule 2: who forgot its rounds must not use one again. */
    EXPECT_FALSE(tr_ballot_equal({5, 1, 1, 0}, {5, 2, 1, 0}));
}

TEST(Ballot, OfRoundZero_IsNone)
{
    EXPECT_TRUE(tr_ballot_none({0, 0, 0, 0}));
    EXPECT_FALSE(tr_ballot_none({1, 0, 0, 0}));
}

} // namespace
