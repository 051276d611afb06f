// Makes histories: clients of an atomic object whose operations take effect at random moments
// between their beginnings and their ends. The object is written anew here, by the standard
// library: it shares nothing with the models of the checker.
#ifndef TR_LIN_GENERATOR_H
#define TR_LIN_GENERATOR_H

#include "base/prng.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lin
{

// One operation, in the words of the format.
struct operation {
    uint32_t client = 0;
    std::string kind;
    std::string key;
    std::string argument;
    std::string argument2;
    std::string result = "-";
    int64_t invoke = 0;
    int64_t end = -1; // -1: did not return
};

// One key.
struct object {
    bool is_there = false;
    std::string text;
    std::vector<std::string> list;
    int64_t number = 0;
};

// Whether incr takes a text; no longer than what certainly fits.
inline bool is_number(const std::string &text)
{
    return !text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == text.npos &&
           (text[0] != '0' || text.size() == 1);
}

// Applies an operation to an object; returns its result in the words of the format.
inline std::string apply(const std::string &model, object &o, const operation &op)
{
    if (model == "counter") {
        if (op.kind == "incr")
            o.number += std::stoll(op.argument);
        return std::to_string(o.number);
    }
    if (model == "list") {
        if (op.kind == "append") {
            o.list.push_back(op.argument);
            return "ok";
        }
        std::string all = "[";
        for (const std::string &element : o.list)
            all += (all.size() > 1 ? " " : "") + element;
        return all + "]";
    }
    bool was_there = o.is_there;
    if (op.kind == "get")
        return o.is_there ? o.text : "nil";
    if (op.kind == "del") {
        o = object();
        return was_there ? "true" : "false";
    }
    if (op.kind == "cas") {
        bool is_met = o.is_there && o.text == op.argument;
        if (is_met)
            o.text = op.argument2;
        return is_met ? "true" : "false";
    }
    if (op.kind == "incr" && was_there && !is_number(o.text))
        return "fail";
    o.is_there = true;
    if (op.kind == "set")
        o.text = op.argument;
    else if (op.kind == "append")
        o.text += op.argument;
    else
        o.text = std::to_string(std::stoll(was_there ? o.text : "0") + std::stoll(op.argument));
    return op.kind == "set" ? "ok" : op.kind == "incr" ? o.text : std::to_string(o.text.size());
}

struct plan {
    std::string model = "kv";
    std::vector<std::string> kinds = {"get", "set"};
    uint32_t operations = 100;
    uint32_t clients = 5;
    uint32_t keys = 1;
    uint32_t lost_ppm = 0; // the client hears nothing of the operation, which happened or did not
    uint32_t values = 0;   // different ones that are written; 0: each is another one
    uint32_t nothing_ppm = 0; // of the answers say no more than that it was done
    uint32_t stale_ppm = 0;   // a bug: a read shows what was there some writes ago
    uint32_t torn_ppm = 0;    // a bug: a change is made to what was there when it was asked
};

class generator
{
  public:
    generator(const plan &what, uint64_t seed) : p(what)
    {
        tr_prng_seed(&random, seed);
    }

    std::vector<operation> run()
    {
        std::vector<client> clients(p.clients);
        for (client &one : clients)
            one.number = next_client++;
        uint32_t begun = 0;
        while (begun < p.operations || busy > 0) {
            client &one = clients[below(p.clients)];
            if (one.stage == IDLE && begun == p.operations)
                continue;
            now += 1 + static_cast<int64_t>(below(3));
            if (one.stage == IDLE) {
                begun++;
                begin(one);
            } else if (one.stage == ASKED) {
                effect(one);
            } else {
                finish(one);
            }
        }
        return done;
    }

  private:
    enum stage_t { IDLE, ASKED, ANSWERED };
    struct client {
        uint32_t number = 0;
        stage_t stage = IDLE;
        operation op;
        object seen; // when it was asked
    };

    uint64_t below(uint64_t bound)
    {
        return tr_prng_below(&random, bound);
    }

    std::string new_value()
    {
        return "v" + std::to_string(p.values == 0 ? next_value++ : below(p.values));
    }

    void begin(client &one)
    {
        operation &op = one.op;
        op = operation();
        op.client = one.number;
        op.kind = p.kinds[below(p.kinds.size())];
        op.key = "k" + std::to_string(below(p.keys));
        op.invoke = now;
        bool is_numeric = p.model == "kv" && has_kind("incr") && has_kind("set");
        if (op.kind == "incr")
            op.argument = std::to_string(1 + below(2));
        else if ((op.kind == "set" || op.kind == "append") && is_numeric)
            op.argument = std::to_string(below(50));
        else if (op.kind == "set" || op.kind == "append")
            op.argument = new_value();
        if (op.kind == "cas") {
            object &o = objects[op.key];
            bool is_likely = o.is_there && below(2) == 0;
            op.argument = is_likely ? o.text : "v" + std::to_string(below(next_value + 1));
            op.argument2 = new_value();
        }
        one.seen = objects[op.key];
        one.stage = ASKED;
        busy++;
    }

    bool has_kind(const char *kind) const
    {
        for (const std::string &one : p.kinds) {
            if (one == kind)
                return true;
        }
        return false;
    }

    void effect(client &one)
    {
        operation &op = one.op;
        object &o = objects[op.key];
        bool is_lost = tr_prng_chance(&random, p.lost_ppm);
        if (is_lost && below(2) == 0) { // it never happens
            lose(one);
            return;
        }
        std::vector<object> &old = before[op.key];
        if (op.kind == "get" && tr_prng_chance(&random, p.stale_ppm) && old.size() > 8) {
            op.result = apply(p.model, old[old.size() - 8], op);
        } else {
            if (op.kind != "get" && tr_prng_chance(&random, p.torn_ppm))
                o = one.seen;
            if (p.stale_ppm > 0 && op.kind != "get")
                old.push_back(o);
            op.result = apply(p.model, o, op);
        }
        if (is_lost)
            lose(one);
        else
            one.stage = ANSWERED;
    }

    void lose(client &one)
    {
        one.op.result = "-";
        done.push_back(one.op);
        one.number = next_client++;
        one.stage = IDLE;
        busy--;
    }

    void finish(client &one)
    {
        one.op.end = now;
        if (tr_prng_chance(&random, p.nothing_ppm) && one.op.result != "fail")
            one.op.result = "ok";
        done.push_back(one.op);
        one.stage = IDLE;
        busy--;
    }

    const plan p;
    tr_prng random;
    std::map<std::string, object> objects;
    std::map<std::string, std::vector<object>> before; // each change
    std::vector<operation> done;
    int64_t now = 0;
    uint32_t busy = 0;
    uint32_t next_client = 0;
    uint64_t next_value = 0;
};

// The history in the format.
inline std::string text_of(const std::string &model, const std::vector<operation> &operations)
{
    std::string text = "model " + model + "\n";
    for (const operation &op : operations) {
        text += std::to_string(op.client) + " " + op.kind + " " + op.key + " ";
        if (op.kind != "get" && op.kind != "del")
            text += op.argument + " ";
        if (op.kind == "cas")
            text += op.argument2 + " ";
        text += op.result + " " + std::to_string(op.invoke) + " ";
        text += (op.end < 0 ? "-" : std::to_string(op.end)) + "\n";
    }
    return text;
}

} // namespace lin

#endif
