// The property of sessions: whatever is lost, repeated, delayed and restored, a command has at most
// one effect, all replicas stand alike, and a reply that is wanted is found.
#ifndef TR_TESTS_UNIT_SESSION_PROPERTY_H
#define TR_TESTS_UNIT_SESSION_PROPERTY_H

#include "base/prng.h"
#include "tests/unit/session_table.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace session_property
{

namespace rb = record_builder;
namespace st = session_table;

// What the log alone says about a session; written without looking at the table.
struct model_session {
    uint64_t applied = 0;
    uint64_t acked = 0;
    std::string nonce;
    uint64_t touched = 0;
    std::map<uint64_t, std::string> replies; // unacknowledged, and not too large to keep
    std::map<uint64_t, uint64_t> written_at; // units written to the cache before each of them
};

// What every replica must have said about one run, and have been like after it.
struct outcome {
    tr_admission admission;
    uint32_t evicted_count;
    uint64_t digest;
};

class world
{
  public:
    world(uint64_t seed, uint32_t canary) : canary_(canary)
    {
        tr_prng_seed(&prng_, seed);
        sessions_max_ = static_cast<uint32_t>(2 + below(7));
        reply_bytes_ = TR_REPLY_BYTES_MIN << below(4);
        reply_max_ = below(4) == 0 ? 600 : 60;
        clients_.resize(2 + below(sessions_max_ + 2));
        for (int i = 0; i < 3; i++)
            replicas_.push_back({make_table(), 0});
    }

    // Returns the first violation, or "".
    std::string run(int steps)
    {
        for (int i = 0; i < steps && violation_.empty(); i++) {
            send();
            deliver();
            for (replica &r : replicas_)
                if (below(3) != 0)
                    apply(r, below(6));
            if (below(25) == 0)
                restore();
        }
        for (replica &r : replicas_)
            apply(r, log_.size());
        return violation_;
    }

    uint64_t effects() const
    {
        return effects_.size();
    }
    uint64_t evictions() const
    {
        return evictions_;
    }
    uint64_t duplicates() const
    {
        return duplicates_;
    }
    uint64_t restores() const
    {
        return restores_;
    }
    // Runs of replies that moved on, and sessions that went for room in the cache, on one replica.
    uint64_t moves() const
    {
        return moves_ + replicas_[0].table->get()->moved_count;
    }
    uint64_t cache_evictions() const
    {
        return cache_evictions_;
    }

  private:
    struct client {
        uint64_t session = 0; // 0: not open
        uint64_t generation = 0;
        uint64_t sequence_sent = 0;
        uint64_t acked = 0;
    };
    struct replica {
        std::unique_ptr<st::table> table;
        size_t applied; // entries of the log
    };

    uint64_t below(uint64_t bound)
    {
        return tr_prng_below(&prng_, bound);
    }
    void fail(const std::string &what)
    {
        if (violation_.empty())
            violation_ = what;
    }
    std::unique_ptr<st::table> make_table()
    {
        auto t = std::make_unique<st::table>(sessions_max_, reply_bytes_,
                                             static_cast<uint8_t>(below(256)));
        t->get()->canary = canary_;
        return t;
    }
    std::string nonce(size_t i) const
    {
        return "client " + std::to_string(i) + "/" + std::to_string(clients_[i].generation);
    }

    // A client sends something; it may have been sent before.
    void send()
    {
        // Some clients send often, some hardly ever, so that their last replies wait for long.
        size_t i = below(1 + below(1 + below(clients_.size())));
        client &c = clients_[i];
        if (c.session == 0 || below(40) == 0) {
            if (c.session == 0)
                post(st::open_run(nonce(i)));
            return;
        }
        if (below(60) == 0) {
            post(st::close_run(c.session));
            return;
        }
        // Commands are made up once, and then always the same.
        uint64_t first = c.sequence_sent + 1;
        if (below(4) == 0)
            first = c.acked + 1 + below(c.sequence_sent - c.acked + 1);
        else if (c.sequence_sent - c.acked > 24)
            first = c.acked + 1;
        rb::run r = rb::commands(c.session, first, 0, 0);
        uint64_t count = 1 + below(below(10) == 0 ? 40 : 6);
        for (uint64_t k = 0; k < count; k++)
            r.commands.push_back(std::to_string(c.session) + ":" + std::to_string(first + k));
        r.acked = c.acked;
        c.sequence_sent = std::max(c.sequence_sent, first + count - 1);
        post(r);
        if (below(4) != 0)
            c.acked = std::max(c.acked, learn(c));
    }
    // How far a client has seen replies.
    uint64_t learn(const client &c)
    {
        auto found = sessions_.find(c.session);
        return found == sessions_.end()
                   ? c.acked
                   : found->second.applied -
                         below(2) *
                             below(std::min<uint64_t>(found->second.applied - c.acked, 4) + 1);
    }
    void post(const rb::run &r)
    {
        in_flight_.push_back(r);
        sent_.push_back(r);
        while (below(4) == 0)
            in_flight_.push_back(sent_[below(sent_.size())]);
    }
    // The network: an entry of the log is made of some of what is under way, in any order.
    void deliver()
    {
        std::vector<rb::run> entry;
        for (uint64_t n = below(5); n > 0 && !in_flight_.empty(); n--) {
            size_t i = below(5) == 0 ? below(in_flight_.size()) : 0;
            if (below(12) != 0)
                entry.push_back(in_flight_[i]);
            if (below(10) != 0)
                in_flight_.erase(in_flight_.begin() + static_cast<ptrdiff_t>(i));
        }
        if (!entry.empty()) {
            log_.push_back(entry);
            expected_.emplace_back();
        }
    }

    // ---- the model, which runs ahead of all replicas

    uint64_t units_of(const std::vector<std::string> &replies, size_t from) const
    {
        uint64_t bytes = (4 * (replies.size() - from) + 7) / 8 * 8;
        for (size_t i = from; i < replies.size(); i++)
            bytes += (replies[i].size() + 7) / 8 * 8;
        return 1 + (bytes + 31) / 32;
    }
    std::vector<std::string> replies_of(const rb::run &r) const
    {
        std::vector<std::string> out;
        for (const std::string &command : r.commands) {
            uint64_t h = 1469598103934665603u;
            for (char c : command)
                h = (h ^ static_cast<uint8_t>(c)) * 1099511628211u;
            out.push_back((command + "=" + std::string(600, '.')).substr(0, h % reply_max_));
        }
        return out;
    }
    uint64_t predict_evicted(const std::string &nonce) const
    {
        for (const auto &[number, s] : sessions_)
            if (s.nonce == nonce)
                return 0;
        if (sessions_.size() < sessions_max_)
            return 0;
        auto oldest =
            std::min_element(sessions_.begin(), sessions_.end(), [](const auto &a, const auto &b) {
                return a.second.touched < b.second.touched;
            });
        return oldest->first;
    }
    // The first replica to come here is held against the model, the others against the first.
    void judge(replica &r, size_t slot, size_t run_index, const rb::run &run, const outcome &o)
    {
        std::vector<outcome> &slots = expected_[slot];
        if (slots.size() > run_index) {
            const outcome &e = slots[run_index];
            if (o.admission.verdict != e.admission.verdict ||
                o.admission.skip != e.admission.skip ||
                o.admission.session != e.admission.session ||
                o.admission.evicted != e.admission.evicted || o.evicted_count != e.evicted_count)
                fail("replicas judge a run differently");
            if (o.digest != e.digest)
                fail("replicas differ after a run");
            return;
        }
        slots.push_back(o);
        now_++;
        if (run.kind == TR_RUN_REGISTER)
            judge_register(run, o);
        else if (run.kind == TR_RUN_CLOSE)
            judge_close(run, o);
        else
            judge_commands(r, run, o);
        if (tr_sessions_count(r.table->get()) != sessions_.size())
            fail("another number of sessions than expected");
    }
    void judge_register(const rb::run &run, const outcome &o)
    {
        uint64_t evicted = predict_evicted(run.commands[0]);
        if (o.admission.verdict != TR_VERDICT_DONE || o.admission.session == 0)
            return fail("a register was refused");
        if (o.admission.evicted != evicted)
            return fail("another session was evicted than the one touched longest ago");
        evictions_ += evicted != 0;
        sessions_.erase(evicted);
        for (auto &[number, s] : sessions_)
            if (s.nonce == run.commands[0]) {
                s.touched = now_;
                if (o.admission.session != number)
                    fail("a register again gave another number");
                return;
            }
        if (!numbers_.insert(o.admission.session).second)
            return fail("a session number was used again");
        model_session s;
        s.nonce = run.commands[0];
        s.touched = now_;
        sessions_[o.admission.session] = s;
        for (size_t i = 0; i < clients_.size(); i++)
            if (open_nonce(i) == s.nonce) {
                clients_[i].session = o.admission.session;
                clients_[i].sequence_sent = 0;
                clients_[i].acked = 0;
            }
    }
    std::string open_nonce(size_t i) const
    {
        std::string n = nonce(i);
        n.resize(TR_NONCE_BYTES);
        return n;
    }
    // A client hears that its session is over, and will open another.
    void over(uint64_t number)
    {
        for (client &c : clients_)
            if (c.session == number) {
                c.session = 0;
                c.generation++;
            }
    }
    void judge_close(const rb::run &run, const outcome &o)
    {
        bool alive = sessions_.erase(run.session) != 0;
        if ((o.admission.verdict == TR_VERDICT_DONE) != alive)
            fail("a close was judged wrongly");
        over(run.session);
    }
    void judge_commands(const replica &r, const rb::run &run, const outcome &o)
    {
        auto found = sessions_.find(run.session);
        if (found == sessions_.end()) {
            if (o.admission.verdict != TR_VERDICT_UNKNOWN)
                fail("a run of a session that is over was not refused");
            over(run.session);
            return;
        }
        model_session &s = found->second;
        s.touched = now_;
        s.acked = std::max(s.acked, std::min(run.acked, s.applied));
        if (run.sequence > s.applied + 1) {
            if (o.admission.verdict != TR_VERDICT_GAP)
                fail("a gap was not refused");
            return;
        }
        uint64_t skip = std::min<uint64_t>(s.applied + 1 - run.sequence, run.commands.size());
        if (o.admission.verdict != TR_VERDICT_APPLY || o.admission.skip != skip)
            return fail("what is a duplicate was judged wrongly");
        duplicates_ += skip;
        model_replies(&s, run, skip);
        judge_evictions(r, o.evicted_count);
    }
    void model_replies(model_session *s, const rb::run &run, uint64_t skip)
    {
        s->applied += run.commands.size() - skip;
        std::vector<std::string> replies = replies_of(run);
        uint64_t units = units_of(replies, skip);
        bool kept =
            skip < replies.size() && units <= reply_bytes_ / TR_REPLY_UNIT / TR_REPLY_RUN_SHARE;
        for (size_t i = skip; kept && i < replies.size(); i++) {
            s->replies[run.sequence + i] = replies[i];
            s->written_at[run.sequence + i] = units_written_;
        }
        units_written_ += kept ? units : 0;
    }
    // A session may only go for room when a reply of it has been waiting for about a lap.
    void judge_evictions(const replica &r, uint32_t count)
    {
        for (auto i = sessions_.begin(); i != sessions_.end();) {
            model_session &s = i->second;
            s.replies.erase(s.replies.begin(), s.replies.upper_bound(s.acked));
            s.written_at.erase(s.written_at.begin(), s.written_at.upper_bound(s.acked));
            if (count == 0 || tr_sessions_applied(r.table->get(), i->first) != UINT64_MAX) {
                ++i;
                continue;
            }
            cache_evictions_++;
            count--;
            uint64_t units = reply_bytes_ / TR_REPLY_UNIT;
            if (s.written_at.empty() || units_written_ - s.written_at.begin()->second < units / 2)
                fail("a session was evicted without need");
            i = sessions_.erase(i);
        }
        if (count != 0)
            fail("evictions were not counted right");
    }

    // ---- replicas

    void apply(replica &r, size_t entries)
    {
        for (; entries > 0 && r.applied < log_.size() && violation_.empty(); entries--) {
            size_t slot = r.applied++;
            bool first = expected_[slot].empty();
            for (size_t i = 0; i < log_[slot].size() && violation_.empty(); i++)
                apply_run(r, slot, i, log_[slot][i], first);
            if (first && violation_.empty())
                check_replies(*r.table);
        }
    }
    void apply_run(replica &r, size_t slot, size_t run_index, const rb::run &run, bool first)
    {
        st::encoded e(run);
        outcome o = {};
        o.admission = r.table->admit(e.view, slot + 1, static_cast<uint32_t>(run_index));
        bool alive = tr_sessions_applied(r.table->get(), run.session) != UINT64_MAX;
        if (o.admission.verdict == TR_VERDICT_APPLY) {
            for (size_t i = o.admission.skip; first && i < run.commands.size(); i++)
                effect(run, i);
            std::vector<std::string> replies = replies_of(run);
            if (alive && o.admission.skip < run.commands.size())
                o.evicted_count = r.table->complete(
                    e.view, o.admission.skip,
                    {replies.begin() + static_cast<ptrdiff_t>(o.admission.skip), replies.end()});
        }
        o.digest = tr_sessions_digest(r.table->get());
        judge(r, slot, run_index, run, o);
    }
    void effect(const rb::run &run, size_t i)
    {
        if (!effects_.insert(run.commands[i]).second)
            fail("a command had two effects: " + run.commands[i]);
    }
    void check_replies(const st::table &t)
    {
        for (const auto &[number, s] : sessions_) {
            if (tr_sessions_applied(t.get(), number) != s.applied)
                fail("a session has applied something else");
            for (const auto &[sequence, reply] : s.replies)
                if (sequence > s.acked && t.reply(number, sequence) != reply)
                    fail("a reply that is wanted was not found");
            if (s.acked > 0 && t.reply(number, s.acked))
                fail("a reply that was acknowledged is still given");
            if (t.reply(number, s.applied + 1))
                fail("there is a reply to a command that was not applied");
        }
    }
    // A replica starts from what another one saved.
    void restore()
    {
        replica &from = replicas_[below(replicas_.size())];
        replica &to = replicas_[below(replicas_.size())];
        std::string saved = from.table->save();
        if (below(2) == 0) {
            moves_ += &to == &replicas_[0] ? to.table->get()->moved_count : 0;
            to.table = make_table();
        }
        if (to.table->load(saved) != saved.size())
            return fail("a saved table was not loaded");
        to.applied = from.applied;
        restores_++;
        if (to.table->save() != saved)
            fail("a restored table is saved differently");
    }

    tr_prng prng_;
    uint32_t canary_;
    uint32_t sessions_max_;
    uint64_t reply_bytes_;
    uint64_t reply_max_;
    std::vector<client> clients_;
    std::vector<rb::run> in_flight_, sent_;
    std::vector<std::vector<rb::run>> log_;
    std::vector<std::vector<outcome>> expected_;
    std::vector<replica> replicas_;
    std::map<uint64_t, model_session> sessions_;
    std::set<uint64_t> numbers_;
    std::set<std::string> effects_;
    uint64_t now_ = 0;
    uint64_t units_written_ = 0;
    uint64_t evictions_ = 0;
    uint64_t cache_evictions_ = 0;
    uint64_t moves_ = 0;
    uint64_t duplicates_ = 0;
    uint64_t restores_ = 0;
    std::string violation_;
};

} // namespace session_property

#endif
