/* The session table against a naive model: any runs, saved and restored in between; then a saved
 * table that is changed before it is loaded, and whatever comes after that: it may be refused, and
 * never ends anything. */
#include "tests/fuzz/target.h"
#include "tests/unit/session_table.h"

#include <map>
#include <set>
#include <string>

namespace
{

namespace rb = record_builder;
namespace st = session_table;

const uint32_t sessions_max = 4;
const uint64_t reply_bytes = TR_REPLY_BYTES_MIN;

/* What the log alone says about a session. */
struct Session {
    uint64_t applied = 0, acked = 0, touched = 0;
    std::string nonce;
    std::map<uint64_t, std::string> replies;
};

std::string nonce_of(uint32_t client)
{
    std::string nonce = "client " + std::to_string(client);
    nonce.resize(TR_NONCE_BYTES);
    return nonce;
}

std::string reply_of(uint64_t session, uint64_t sequence, uint32_t bytes)
{
    return std::string(bytes, static_cast<char>('a' + (session * 7 + sequence) % 26));
}

class World
{
  public:
    World()
    {
        renew();
    }
    void take(fuzz::Input *in)
    {
        switch (in->below(8)) {
        case 0:
            open(in->below(7));
            break;
        case 1:
            close(pick(in));
            break;
        case 2:
            restore();
            break;
        case 3:
            restore_changed(in);
            break;
        default:
            commands(in);
            break;
        }
    }

  private:
    void renew()
    {
        table_ = std::make_unique<st::table>(sessions_max, reply_bytes);
        /* The planted bug: a duplicate's last command is applied again. */
        if (fuzz::planted())
            table_->get()->canary = TR_CANARY_SESSION_SKIP_SHORT;
    }
    /* A number that is a session's, or nobody's. */
    uint64_t pick(fuzz::Input *in) const
    {
        uint32_t index = in->below(sessions_max + 1);
        for (const auto &entry : sessions_)
            if (index-- == 0)
                return entry.first;
        return 3;
    }
    tr_admission admit(const rb::run &run)
    {
        st::encoded e(run);
        fuzz::require(e.ok, "a run that is built is one");
        return table_->admit(e.view, ++slot_, 0);
    }

    void open(uint32_t client)
    {
        tr_admission a = admit(st::open_run(nonce_of(client)));
        if (lied_)
            return;
        fuzz::require(a.verdict == TR_VERDICT_DONE, "a register is carried out");
        now_++;
        for (auto &[number, s] : sessions_)
            if (s.nonce == nonce_of(client)) {
                fuzz::require(a.session == number && a.evicted == 0, "a session is opened once");
                s.touched = now_;
                return;
            }
        fuzz::require(a.evicted == oldest(), "who goes was touched longest ago");
        sessions_.erase(a.evicted);
        fuzz::require(numbers_.insert(a.session).second, "a number is given once");
        sessions_[a.session].nonce = nonce_of(client);
        sessions_[a.session].touched = now_;
        check();
    }
    uint64_t oldest() const
    {
        uint64_t number = 0, touched = UINT64_MAX;
        if (sessions_.size() < sessions_max)
            return 0;
        for (const auto &[n, s] : sessions_)
            if (s.touched < touched) {
                number = n;
                touched = s.touched;
            }
        return number;
    }
    void close(uint64_t number)
    {
        tr_admission a = admit(st::close_run(number));
        if (lied_)
            return;
        bool there = sessions_.erase(number) != 0;
        fuzz::require(a.verdict == (there ? TR_VERDICT_DONE : TR_VERDICT_UNKNOWN),
                      "a close is carried out once");
        check();
    }

    void commands(fuzz::Input *in)
    {
        uint64_t number = pick(in);
        uint64_t applied = tr_sessions_applied(table_->get(), number);
        uint64_t base = applied == UINT64_MAX ? 0 : applied;
        uint64_t back = in->below(8); /* 0: the next but one, a gap; 1: the next */
        uint64_t sequence = base + 2 > back ? base + 2 - back : 1;
        uint32_t count = 1 + in->below(5);
        uint32_t bytes = in->u8();
        rb::run run = rb::commands(number, sequence, count, 8);
        run.acked = base > in->below(4) ? base - in->below(4) : 0;
        st::encoded e(run);
        if (!e.ok)
            return;
        tr_admission a = table_->admit(e.view, ++slot_, 0);
        if (!lied_)
            judge(run, a);
        if (a.verdict != TR_VERDICT_APPLY || a.skip == count)
            return;
        std::vector<std::string> replies;
        for (uint32_t i = a.skip; i < count; i++)
            replies.push_back(reply_of(number, sequence + i, bytes + i));
        uint32_t evicted = table_->complete(e.view, a.skip, replies);
        if (lied_)
            return;
        keep(run, a.skip, replies);
        forget_evicted(evicted);
        check();
    }
    void judge(const rb::run &run, const tr_admission &a)
    {
        auto found = sessions_.find(run.session);
        if (found == sessions_.end()) {
            fuzz::require(a.verdict == TR_VERDICT_UNKNOWN, "who is not registered is refused");
            return;
        }
        Session &s = found->second;
        s.touched = ++now_;
        s.acked = std::max(s.acked, std::min(run.acked, s.applied));
        if (run.sequence > s.applied + 1) {
            fuzz::require(a.verdict == TR_VERDICT_GAP, "a gap is refused");
            return;
        }
        uint64_t skip = std::min<uint64_t>(s.applied + 1 - run.sequence, run.commands.size());
        fuzz::require(a.verdict == TR_VERDICT_APPLY && a.skip == skip,
                      "what was applied is not applied again");
    }
    void keep(const rb::run &run, uint32_t skip, const std::vector<std::string> &replies)
    {
        Session &s = sessions_[run.session];
        uint64_t bytes = padded(4 * replies.size());
        for (const std::string &reply : replies)
            bytes += padded(reply.size());
        uint64_t units = 1 + (bytes + TR_REPLY_UNIT - 1) / TR_REPLY_UNIT;
        s.applied += replies.size();
        for (size_t i = 0; i < replies.size(); i++)
            if (units <= reply_bytes / TR_REPLY_UNIT / TR_REPLY_RUN_SHARE)
                s.replies[run.sequence + skip + i] = replies[i];
    }
    static uint64_t padded(uint64_t bytes)
    {
        return (bytes + 7) / 8 * 8;
    }
    /* Who had to go for room in the cache, left replies unacknowledged. */
    void forget_evicted(uint32_t count)
    {
        for (auto it = sessions_.begin(); it != sessions_.end();) {
            if (tr_sessions_applied(table_->get(), it->first) != UINT64_MAX) {
                ++it;
                continue;
            }
            fuzz::require(count-- > 0, "evictions are counted");
            fuzz::require(it->second.acked < it->second.applied,
                          "who has acknowledged everything is not evicted for room");
            it = sessions_.erase(it);
        }
        fuzz::require(count == 0, "no more evictions are counted than there were");
    }

    void check() const
    {
        fuzz::require(tr_sessions_count(table_->get()) == sessions_.size(),
                      "there are as many sessions as expected");
        for (const auto &[number, s] : sessions_) {
            fuzz::require(tr_sessions_applied(table_->get(), number) == s.applied,
                          "a session stands where the log says");
            for (const auto &[sequence, reply] : s.replies)
                fuzz::require(sequence <= s.acked || table_->reply(number, sequence) == reply,
                              "a reply that is wanted is found");
            fuzz::require(!table_->reply(number, s.applied + 1), "no reply comes early");
            fuzz::require(s.acked == 0 || !table_->reply(number, s.acked),
                          "what was acknowledged is not given");
        }
    }

    /* A new table from what this one saves. */
    void restore()
    {
        std::string saved = table_->save();
        renew();
        fuzz::require(table_->load(saved) == saved.size(), "what was saved can be loaded");
        fuzz::require(table_->save() == saved, "what was loaded is saved the same");
        if (!lied_)
            check();
    }
    /* From now on the table is one that somebody made up. */
    void restore_changed(fuzz::Input *in)
    {
        std::string saved = table_->save();
        for (uint32_t changes = in->below(4); changes > 0; changes--)
            saved[in->u16() % saved.size()] ^= static_cast<char>(in->u8());
        if (in->below(8) == 0)
            saved.resize(in->u16() % saved.size());
        if (in->below(8) == 0) {
            fuzz::Exact made_up = in->take(in->u8());
            saved.replace(0, std::min(saved.size(), made_up.size()),
                          reinterpret_cast<const char *>(made_up.data()), made_up.size());
        }
        lied_ = true;
        sessions_.clear();
        renew();
        uint64_t taken = table_->load(saved);
        fuzz::require(taken <= saved.size(), "no more is read than there is");
        if (taken == 0) {
            fuzz::require(tr_sessions_count(table_->get()) == 0, "a table refused is empty");
            return;
        }
        saved.resize(taken);
        fuzz::require(table_->save() == saved, "what is accepted is as it would be saved");
        for (uint32_t i = 0; i < sessions_max; i++) {
            uint64_t number = table_->get()->entry[i].number;
            if (number != 0)
                sessions_[number]; /* for pick */
        }
    }

    std::unique_ptr<st::table> table_;
    std::map<uint64_t, Session> sessions_;
    std::set<uint64_t> numbers_;
    uint64_t slot_ = 0, now_ = 0;
    bool lied_ = false;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz::Input in(data, bytes);
    World world;
    while (!in.ended())
        world.take(&in);
    return 0;
}
