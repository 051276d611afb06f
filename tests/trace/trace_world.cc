#include "tests/trace/trace_world.h"

#include "tests/trace/trace_print.h"

#include <algorithm>
#include <map>
#include <sstream>

namespace trace
{

namespace rw = replica_world;

namespace
{

constexpr int ROUNDS_MAX = 10000; /* a network that never falls quiet is a finding */

/* Words of a line; what is in quotes is one word, without them. */
std::vector<std::string> words_in(const std::string &line)
{
    std::vector<std::string> words;
    for (size_t at = 0; at < line.size();) {
        if (line[at] == ' ') {
            at++;
            continue;
        }
        bool quoted = line[at] == '"';
        size_t begin = quoted ? at + 1 : at;
        size_t end = std::min(line.find(quoted ? '"' : ' ', begin), line.size());
        words.push_back(line.substr(begin, end - begin));
        at = quoted ? end + 1 : end;
    }
    return words;
}

bool number_of(const std::string &word, uint64_t *out)
{
    char *end = nullptr;
    *out = strtoull(word.c_str(), &end, 10);
    return !word.empty() && *end == '\0';
}

bool span_of(const std::string &word, uint64_t *out_ns)
{
    char *end = nullptr;
    uint64_t n = strtoull(word.c_str(), &end, 10);
    std::string unit = end;
    *out_ns = unit == "us" ? n * 1000 : n * 1000000;
    return end != word.c_str() && (unit == "us" || unit == "ms");
}

/* "5" or "5..7". */
bool range_of(const std::string &word, uint64_t *first, uint64_t *last)
{
    size_t dots = word.find("..");
    return number_of(word.substr(0, dots), first) &&
           number_of(dots == std::string::npos ? word : word.substr(dots + 2), last);
}

} // namespace

TraceWorld::Command TraceWorld::command_of(const std::string &name)
{
    static const std::map<std::string, Command> commands = {
        {"cluster", &TraceWorld::cluster},
        {"elect", &TraceWorld::elect},
        {"deliver", &TraceWorld::deliver},
        {"settle", &TraceWorld::settle},
        {"drop", &TraceWorld::drop},
        {"copy", &TraceWorld::copy},
        {"wire", &TraceWorld::wire},
        {"cut", &TraceWorld::cut},
        {"heal", &TraceWorld::heal},
        {"tick", &TraceWorld::tick},
        {"run", &TraceWorld::run_for},
        {"progress", &TraceWorld::progress},
        {"propose", &TraceWorld::propose},
        {"fill", &TraceWorld::fill},
        {"read", &TraceWorld::read},
        {"campaign", &TraceWorld::campaign},
        {"land", &TraceWorld::land},
        {"written", &TraceWorld::written},
        {"fence-done", &TraceWorld::fence_done},
        {"durable", &TraceWorld::durable},
        {"applied", &TraceWorld::applied},
        {"snapshot-made", &TraceWorld::snapshot_made},
        {"snapshot-installed", &TraceWorld::snapshot_installed},
        {"dead", &TraceWorld::dead},
        {"crash", &TraceWorld::crash},
        {"restart", &TraceWorld::restart},
        {"status", &TraceWorld::status},
        {"log", &TraceWorld::log},
    };
    auto found = commands.find(name);
    return found != commands.end() ? found->second : nullptr;
}

std::string TraceWorld::run(const std::string &line)
{
    Words words = words_in(line);
    quiet_ = !words.empty() && words[0] == "quiet";
    if (quiet_)
        words.erase(words.begin());
    Command command = words.empty() ? nullptr : command_of(words[0]);
    out_.clear();
    bool needs_world = command != nullptr && command != &TraceWorld::cluster;
    if (command == nullptr || (needs_world && world_ == nullptr) || !(this->*command)(words)) {
        quiet_ = false;
        say("not understood: " + line);
        return out_;
    }
    if (world_ != nullptr)
        end_cycles();
    quiet_ = false;
    if (!violation().empty())
        say("BROKEN: " + violation());
    return out_;
}

/* ---- what is told */

void TraceWorld::say(const std::string &line)
{
    if (!quiet_)
        out_ += line + "\n";
}

void TraceWorld::saw(uint8_t i, const tr_effect &effect)
{
    agreement_->effect(i, effect);
    std::string held = world_->node(i).barred ? " (behind the barrier)" : "";
    say("  " + std::to_string(i + 1) + " " + words_of(world_->at(i), effect) + held);
}

/* ---- arguments */

bool TraceWorld::node_of(const std::string &word, uint8_t *node)
{
    uint64_t n = 0;
    bool is = number_of(word, &n) && n >= 1 && n <= count();
    *node = is ? static_cast<uint8_t>(n - 1) : 0;
    return is;
}

bool TraceWorld::Selection::matches(Sent &sent) const
{
    return (from < 0 || sent.from == from) && (to < 0 || sent.to == to) &&
           (types.empty() ||
            types.find("," + std::string(tr_message_name(sent.type())) + ",") != std::string::npos);
}

/* "1->2", "->2", "1->", types of messages ("PREPARE,PROMISE"), or both. */
bool TraceWorld::select(const Words &w, Selection *selection)
{
    for (size_t k = 1; k < w.size(); k++) {
        size_t arrow = w[k].find("->");
        if (arrow == std::string::npos) {
            selection->types = "," + w[k] + ",";
            continue;
        }
        uint8_t node;
        if (arrow > 0 && !node_of(w[k].substr(0, arrow), &node))
            return false;
        selection->from = arrow > 0 ? node : -1;
        bool to_one = arrow + 2 < w[k].size();
        if (to_one && !node_of(w[k].substr(arrow + 2), &node))
            return false;
        selection->to = to_one ? node : -1;
    }
    return true;
}

/* ---- the cluster */

bool TraceWorld::option(const std::string &word, rw::Options *o, bool by_hand[4])
{
    static const char *const parts[4] = {"fences=hand", "images=hand", "applies=hand",
                                         "persists=hand"};
    for (int k = 0; k < 4; k++) {
        if (word == parts[k]) {
            by_hand[k] = true;
            return true;
        }
    }
    size_t equal = word.find('=');
    std::string key = word.substr(0, equal);
    std::string value = equal == std::string::npos ? "" : word.substr(equal + 1);
    uint64_t n = 0;
    if (key == "lease")
        return span_of(value, &o->lease_ns);
    if (word == "one_sided=yes" || word == "level=disk") {
        o->one_sided |= word == "one_sided=yes";
        o->level = word == "level=disk" ? TR_LEVEL_DISK : o->level;
        return true;
    }
    if (!number_of(value, &n))
        return false;
    std::map<std::string, uint32_t *> numbers = {{"voters", &o->voters},
                                                 {"q1", &o->quorum_p1},
                                                 {"q2", &o->quorum_p2},
                                                 {"slots", &o->log_slots}};
    if (numbers.count(key) == 0)
        return false;
    *numbers[key] = static_cast<uint32_t>(n);
    return true;
}

bool TraceWorld::cluster(const Words &w)
{
    rw::Options options;
    bool by_hand[4] = {false, false, false, false};
    options.canary = canary_;
    for (size_t k = 1; k < w.size(); k++)
        if (!option(w[k], &options, by_hand))
            return false;
    world_ = std::make_unique<rw::World>(options);
    world_->more = true; /* a cycle ends with its command (end_cycles) */
    agreement_ = std::make_unique<rw::Agreement>(*world_);
    world_->on_event = [this](uint8_t i, const tr_event &e) { agreement_->event(i, e); };
    world_->on_effect = [this](uint8_t i, const tr_effect &e) { saw(i, e); };
    for (uint8_t i = 0; i < count(); i++) {
        world_->node(i).fences_by_hand = by_hand[0];
        world_->node(i).images_by_hand = by_hand[1];
        world_->node(i).applies_by_hand = by_hand[2];
        world_->node(i).persists_by_hand = by_hand[3];
    }
    return true;
}

/* Founds the group and lets this node lead, without a word. */
bool TraceWorld::elect(const Words &w)
{
    uint8_t node;
    if (w.size() != 2 || !node_of(w[1], &node))
        return false;
    quiet_ = true;
    std::vector<std::pair<bool, bool>> by_hand;
    for (uint8_t i = 0; i < count(); i++) {
        rw::World::Node &n = world_->node(i);
        by_hand.push_back({n.fences_by_hand, n.persists_by_hand});
        n.fences_by_hand = n.persists_by_hand = false;
    }
    world_->writes_by_hand = false;
    world_->elect(node);
    end_cycles();
    world_->writes_by_hand = true;
    world_->forget_wire();
    for (uint8_t i = 0; i < count(); i++) {
        world_->node(i).fences_by_hand = by_hand[i].first;
        world_->node(i).persists_by_hand = by_hand[i].second;
    }
    return true;
}

bool TraceWorld::crash(const Words &w)
{
    uint8_t node;
    if (w.size() != 2 || !node_of(w[1], &node))
        return false;
    world_->crash(node);
    return true;
}

bool TraceWorld::restart(const Words &w)
{
    uint8_t node;
    if (w.size() != 2 || !node_of(w[1], &node))
        return false;
    agreement_->boot(node);
    world_->boot(node);
    return true;
}

/* ---- the network */

void TraceWorld::hand(Sent &sent)
{
    std::string line =
        std::to_string(sent.from + 1) + "->" + std::to_string(sent.to + 1) + " " + words_of(sent);
    if (world_->cut[sent.from][sent.to] || !world_->node(sent.to).up) {
        say(line + " (lost)");
        return;
    }
    say(line);
    world_->hand(sent);
}

/* Delivers what is under way now. Returns how many. */
int TraceWorld::deliver_round(const Selection &selection)
{
    std::deque<Sent> now;
    now.swap(world_->wire);
    int handed = 0;
    for (Sent &sent : now) {
        if (selection.matches(sent)) {
            hand(sent);
            handed++;
        } else {
            world_->wire.push_back(std::move(sent));
        }
    }
    return handed;
}

bool TraceWorld::deliver(const Words &w)
{
    Selection selection;
    if (!select(w, &selection))
        return false;
    deliver_round(selection);
    return true;
}

/* Delivers until nothing is under way, without a moment passing. */
bool TraceWorld::settle(const Words &w)
{
    Selection selection;
    if (!select(w, &selection))
        return false;
    int rounds = 0;
    do {
        end_cycles();
    } while (deliver_round(selection) != 0 && ++rounds < ROUNDS_MAX);
    if (rounds == ROUNDS_MAX)
        say("never quiet");
    return true;
}

bool TraceWorld::drop(const Words &w)
{
    Selection selection;
    if (!select(w, &selection))
        return false;
    std::deque<Sent> now;
    now.swap(world_->wire);
    for (Sent &sent : now) {
        if (selection.matches(sent))
            say(std::to_string(sent.from + 1) + "->" + std::to_string(sent.to + 1) + " " +
                words_of(sent) + " (lost)");
        else
            world_->wire.push_back(std::move(sent));
    }
    return true;
}

/* What is under way is under way twice. */
bool TraceWorld::copy(const Words &w)
{
    Selection selection;
    if (!select(w, &selection))
        return false;
    std::deque<Sent> now = world_->wire;
    for (Sent &sent : now)
        if (selection.matches(sent))
            world_->wire.push_back(sent);
    return true;
}

bool TraceWorld::wire(const Words &)
{
    for (Sent &sent : world_->wire)
        say(std::to_string(sent.from + 1) + "->" + std::to_string(sent.to + 1) + " " +
            words_of(sent));
    return true;
}

/* "cut 1": from and to everybody; "cut 1 2": both ways; "cut 1->2": one way. */
bool TraceWorld::cut(const Words &w)
{
    Selection one_way;
    uint8_t a = 0, b = 0;
    if (w.size() == 2 && w[1].find("->") != std::string::npos) {
        if (!select(w, &one_way) || one_way.from < 0 || one_way.to < 0)
            return false;
        world_->cut[one_way.from][one_way.to] = true;
        return true;
    }
    if (w.size() < 2 || w.size() > 3 || !node_of(w[1], &a) || (w.size() == 3 && !node_of(w[2], &b)))
        return false;
    for (uint8_t i = 0; i < count(); i++)
        if (w.size() == 2 || i == b)
            world_->cut[a][i] = world_->cut[i][a] = true;
    return true;
}

bool TraceWorld::heal(const Words &)
{
    memset(world_->cut, 0, sizeof(world_->cut));
    return true;
}

/* ---- time */

void TraceWorld::end_cycles()
{
    for (uint8_t i = 0; i < count(); i++)
        for (int k = 0; k < 64 && world_->node(i).up && world_->at(i)->role != TR_REPLICA_STOPPED &&
                        tr_replica_deadline_ns(world_->at(i)) <= world_->now_ns;
             k++)
            world_->timeout(i);
}

void TraceWorld::pass(uint64_t span_ns, bool deliver)
{
    uint64_t end_ns = world_->now_ns + span_ns;
    for (int k = 0; k < ROUNDS_MAX; k++) {
        uint64_t next_ns = end_ns;
        end_cycles();
        if (deliver && deliver_round(Selection()) != 0)
            continue;
        if (world_->now_ns == end_ns)
            return;
        for (uint8_t i = 0; i < count(); i++)
            if (world_->node(i).up && world_->at(i)->role != TR_REPLICA_STOPPED)
                next_ns = std::min(next_ns,
                                   std::max(tr_replica_deadline_ns(world_->at(i)), world_->now_ns));
        world_->now_ns = next_ns;
    }
    say("never quiet");
}

/* Time passes; what is sent waits. */
bool TraceWorld::tick(const Words &w)
{
    uint64_t span_ns;
    if (w.size() != 2 || !span_of(w[1], &span_ns))
        return false;
    pass(span_ns, false);
    return true;
}

/* Time passes on a network without delay. */
bool TraceWorld::run_for(const Words &w)
{
    uint64_t span_ns;
    if (w.size() != 2 || !span_of(w[1], &span_ns))
        return false;
    pass(span_ns, true);
    return true;
}

/* "progress 3ms": within that time somebody must commit something new. */
bool TraceWorld::progress(const Words &w)
{
    uint64_t span_ns;
    uint64_t before = commit_max();
    if (w.size() != 2 || !span_of(w[1], &span_ns))
        return false;
    bool quiet = quiet_;
    quiet_ = true;
    pass(span_ns, true);
    quiet_ = quiet;
    if (commit_max() == before)
        standstill_ = "nothing was committed in " + w[1];
    return true;
}

uint64_t TraceWorld::commit_max()
{
    uint64_t slot = 0;
    for (uint8_t i = 0; i < count(); i++)
        slot = std::max(slot, world_->node(i).up ? world_->at(i)->slot_commit : 0);
    return slot;
}

/* ---- clients */

bool TraceWorld::propose(const Words &w)
{
    uint8_t node;
    if (w.size() < 3 || !node_of(w[1], &node))
        return false;
    for (size_t k = 2; k < w.size(); k++)
        world_->propose_bytes(node, ++sequence_, w[k].data(), static_cast<uint32_t>(w[k].size()));
    return true;
}

/* "fill 1 20 [4000]": so many commands (of so many bytes), each settled before the next, without a
 * word. */
bool TraceWorld::fill(const Words &w)
{
    uint8_t node;
    uint64_t commands, bytes = 4;
    if (w.size() < 3 || !node_of(w[1], &node) || !number_of(w[2], &commands) ||
        (w.size() == 4 && (!number_of(w[3], &bytes) || bytes < 4 || bytes > 4000)))
        return false;
    quiet_ = true;
    std::string command = "fill" + std::string(bytes - 4, '.');
    for (uint64_t k = 0; k < commands; k++) {
        world_->propose_bytes(node, ++sequence_, command.data(), static_cast<uint32_t>(bytes));
        pass(10000, true);
    }
    return true;
}

bool TraceWorld::read(const Words &w)
{
    uint8_t node;
    if (w.size() != 2 || !node_of(w[1], &node))
        return false;
    world_->read(node, ++reads_);
    return true;
}

/* ---- what the shell tells */

bool TraceWorld::campaign(const Words &w)
{
    uint8_t node;
    if (w.size() != 2 || !node_of(w[1], &node))
        return false;
    world_->campaign(node);
    return true;
}

/* "land 1 2 5..6": records that the leader wrote are found in a follower's ring. */
bool TraceWorld::land(const Words &w)
{
    uint8_t leader, peer;
    uint64_t first, last;
    if (w.size() != 4 || !node_of(w[1], &leader) || !node_of(w[2], &peer) ||
        !range_of(w[3], &first, &last))
        return false;
    for (uint64_t slot = first; slot <= last; slot++) {
        uint64_t before = world_->at(peer)->count.entries_seen;
        tr_record header;
        tr_piece payload;
        if (!tr_replica_ring_record(world_->at(leader), peer, slot, 0, &header, &payload)) {
            say("  " + w[1] + " has no ring at " + w[2] + ", or no slot " + std::to_string(slot));
            continue;
        }
        world_->ring_record(leader, peer, slot);
        bool drained = world_->at(peer)->count.entries_seen > before;
        say("  " + w[2] + (drained ? " drains " : " discards ") + std::to_string(slot) + "@" +
            words_of(header.ballot));
    }
    return true;
}

bool TraceWorld::written(const Words &w)
{
    uint8_t leader, peer;
    uint64_t first, last;
    if (w.size() < 4 || !node_of(w[1], &leader) || !node_of(w[2], &peer) ||
        !range_of(w[3], &first, &last))
        return false;
    tr_written_status status = TR_WRITTEN_OK;
    if (w.size() == 5)
        status = w[4] == "refused" ? TR_WRITTEN_REFUSED : TR_WRITTEN_BROKEN;
    world_->written(leader, peer, first, last, status);
    return true;
}

/* "fence-done 2", or "fence-done 2 3/1" for a fence that another followed. */
bool TraceWorld::fence_done(const Words &w)
{
    uint8_t node;
    unsigned round = 0, owner = 0;
    if (w.size() < 2 || !node_of(w[1], &node))
        return false;
    if (w.size() == 2)
        world_->fenced(node);
    else if (sscanf(w[2].c_str(), "%u/%u", &round, &owner) == 2)
        world_->fenced(node, {round, 1, static_cast<tr_node_id>(owner), 0});
    return w.size() == 2 || round != 0;
}

bool TraceWorld::durable(const Words &w)
{
    uint8_t node;
    if (w.size() != 2 || !node_of(w[1], &node))
        return false;
    world_->durable(node);
    return true;
}

bool TraceWorld::applied(const Words &w)
{
    uint8_t node;
    uint64_t slot;
    if (w.size() != 3 || !node_of(w[1], &node) || !number_of(w[2], &slot))
        return false;
    world_->applied(node, slot);
    return true;
}

bool TraceWorld::snapshot_made(const Words &w)
{
    uint8_t node;
    uint64_t slot;
    if (w.size() != 3 || !node_of(w[1], &node) || !number_of(w[2], &slot))
        return false;
    world_->image_made(node, slot);
    return true;
}

bool TraceWorld::snapshot_installed(const Words &w)
{
    uint8_t node;
    if (w.size() != 2 || !node_of(w[1], &node) || !world_->node(node).install_asked)
        return false;
    world_->image_installed(node);
    return true;
}

/* "dead 2 1": node 2 is told that node 1 is dead. */
bool TraceWorld::dead(const Words &w)
{
    uint8_t node, member;
    if (w.size() != 3 || !node_of(w[1], &node) || !node_of(w[2], &member))
        return false;
    world_->hint_dead(node, member);
    return true;
}

/* ---- looking */

bool TraceWorld::status(const Words &w)
{
    for (uint8_t i = 0; i < count(); i++) {
        std::string id = std::to_string(i + 1);
        if (w.size() == 1 || std::find(w.begin() + 1, w.end(), id) != w.end())
            say(id + " " + (world_->node(i).up ? status_of(world_->at(i)) : "down"));
    }
    return true;
}

bool TraceWorld::log(const Words &w)
{
    uint8_t node;
    uint64_t first, last;
    if (w.size() != 3 || !node_of(w[1], &node) || !range_of(w[2], &first, &last))
        return false;
    for (uint64_t slot = first; slot <= last; slot++)
        say(slot_of(world_->at(node), slot));
    return true;
}

} // namespace trace
