/* Clients: sessions that submit, read, leave, are evicted, and remember what they were told. */
#include "tests/sim/cluster.h"

#include <cstring>

namespace sim
{

namespace
{

constexpr uint32_t FLIGHT_MAX = 16; /* commands and reads of a client under way */

uint64_t draw(Cluster &c, uint64_t bound)
{
    return tr_prng_below(&c.client_random, bound);
}

/* Small ones as a rule, some of any size, some about the largest datagram. */
uint32_t command_bytes(Cluster &c)
{
    uint64_t kind = draw(c, 16);
    uint32_t edge = c.datagram_bytes;
    if (kind < c.large_of_16)
        return 8 + static_cast<uint32_t>(draw(c, COMMAND_BYTES_MAX - 7));
    if (kind == 15 && edge > 400)
        return std::min(COMMAND_BYTES_MAX, edge - 200 + static_cast<uint32_t>(draw(c, 208)));
    return 8 + 8 * static_cast<uint32_t>(draw(c, 3));
}

} // namespace

void Client::open()
{
    Cluster &c = *seat->member->cluster;
    tr_session_options options = TR_SESSION_OPTIONS_INIT;
    options.window = 64;
    options.queue_bytes = 1u << 16;
    options.deadline_us = draw(c, 4) == 0 ? 2000 + draw(c, 30000) : 0;
    has_deadline = options.deadline_us != 0;
    floors.clear();
    next_ns = c.now_ns + draw(c, 2 * c.pace_ns);
    if (tr_session_open(seat->group, &options, &session) != 0)
        session = nullptr; /* those that were closed are not gone yet: later */
}

void Client::close()
{
    if (session != nullptr)
        tr_session_close(session);
    session = nullptr;
}

void Client::send()
{
    Cluster &c = *seat->member->cluster;
    const Journal &journal = c.families[seat->number].journal;
    if (draw(c, 8) < c.reads_of_8) {
        if (tr_read(session, "", 0, nullptr) == 0)
            floors.push_back(journal.acked);
        return;
    }
    uint8_t data[COMMAND_BYTES_MAX];
    uint64_t number = static_cast<uint64_t>(seat->member->id) << 48 | ++seat->next;
    uint32_t bytes = command_bytes(c);
    command_write(number, data, bytes);
    (void)tr_submit(session, data, bytes, reinterpret_cast<void *>(number));
}

void Client::ask()
{
    Cluster &c = *seat->member->cluster;
    next_ns = c.now_ns + draw(c, 2 * c.pace_ns * (c.weather == Weather::Calm ? 8 : 1));
    if (session == nullptr) {
        open();
        seat->member->wake();
        return;
    }
    for (uint64_t burst = draw(c, 8) == 0 ? 6 : 1; burst > 0; burst--) {
        if (tr_session_pending(session) < FLIGHT_MAX)
            send();
    }
    seat->member->wake();
}

void Client::take(const tr_completion &done)
{
    Cluster &c = *seat->member->cluster;
    Journal &journal = c.families[seat->number].journal;
    uint64_t number = reinterpret_cast<uint64_t>(done.user), place = 0, floor = 0;
    if (number == 0) {
        if (floors.empty()) {
            c.verdict.fail("client", "a read is answered that was not asked");
            return;
        }
        floor = floors.front();
        floors.pop_front();
    }
    if (done.status != 0) {
        c.totals.unknown++;
        if (done.status != TR_ESESSION && done.status != TR_EUNKNOWN && done.status != TR_ETIMEOUT)
            c.verdict.fail("client", "completed with %s", tr_strerror(done.status));
        /* Replies here are small: they are kept until they have been taken, or the session goes. */
        if (done.status == TR_EUNKNOWN && !has_deadline)
            c.verdict.fail("lost reply", "command %llx of node %u was applied, and has no reply",
                           (unsigned long long)number, seat->member->id);
        return;
    }
    memcpy(&place, done.reply, std::min<size_t>(done.reply_bytes, sizeof(place)));
    if (number == 0) {
        c.totals.reads++;
        if (place < floor && c.setup.profile->lease == Lease::Beyond)
            c.totals.stale_allowed++;
        else if (place < floor)
            c.verdict.fail("stale read", "node %u of group %u saw %llu commands, %llu were told",
                           seat->member->id, seat->number, (unsigned long long)place,
                           (unsigned long long)floor);
        return;
    }
    c.totals.commands++;
    if (place - 1 >= journal.commands.size() || journal.commands[place - 1] != number)
        c.verdict.fail("reply", "command %llx got the reply of another place, %llu",
                       (unsigned long long)number, (unsigned long long)place);
    journal.acked = std::max(journal.acked, place);
}

void Client::collect()
{
    tr_completion done[32];
    bool evicted = false;
    if (session == nullptr)
        return;
    uint32_t count = tr_session_poll(session, done, 32);
    for (uint32_t i = 0; i < count; i++) {
        evicted = evicted || done[i].status == TR_ESESSION;
        take(done[i]);
    }
    if (evicted && tr_session_pending(session) == 0) {
        seat->member->cluster->totals.evictions++;
        close();
    }
}

} // namespace sim
