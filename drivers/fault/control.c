/* Rules: set by calls or by text, by any thread, read by the ports. */
#include "drivers/fault/inner.h"

#define REORDER_LOW_NS  1000
#define REORDER_HIGH_NS 50000

/* ---- the lock of writers: held for some stores, by people and tests, never by a port ---- */

static void lock(struct tr_fault_control *control)
{
    uint32_t expected = 0;
    while (!tr_cas_acquire(&control->lock, &expected, 1u)) { /* meets unlock */
        expected = 0;
        tr_cpu_pause();
    }
}

static void unlock(struct tr_fault_control *control)
{
    tr_store_release(&control->lock, 0u); /* meets lock */
}

/* ---- rules ---- */

void tr_fault_control_init(struct tr_fault_control *control)
{
    memset(control, 0, sizeof(*control));
}

static void store_rule(struct tr_fault_slot *slot, const struct tr_fault_rule *rule)
{
    tr_store_relaxed(&slot->blocked, (uint32_t)rule->blocked);
    tr_store_relaxed(&slot->drop_ppm, rule->drop_ppm);
    tr_store_relaxed(&slot->duplicate_ppm, rule->duplicate_ppm);
    tr_store_relaxed(&slot->corrupt_ppm, rule->corrupt_ppm);
    tr_store_relaxed(&slot->reorder_ppm, rule->reorder_ppm);
    tr_store_relaxed(&slot->write_refuse_ppm, rule->write_refuse_ppm);
    tr_store_relaxed(&slot->delay_low_ns, rule->delay_ns.low_ns);
    tr_store_relaxed(&slot->delay_high_ns, rule->delay_ns.high_ns);
    tr_store_relaxed(&slot->reorder_low_ns, rule->reorder_ns.low_ns);
    tr_store_relaxed(&slot->reorder_high_ns, rule->reorder_ns.high_ns);
    tr_store_relaxed(&slot->write_delay_low_ns, rule->write_delay_ns.low_ns);
    tr_store_relaxed(&slot->write_delay_high_ns, rule->write_delay_ns.high_ns);
}

static struct tr_fault_rule load_rule(const struct tr_fault_slot *slot)
{
    return (struct tr_fault_rule){
        .blocked = tr_load_relaxed(&slot->blocked) != 0,
        .drop_ppm = tr_load_relaxed(&slot->drop_ppm),
        .duplicate_ppm = tr_load_relaxed(&slot->duplicate_ppm),
        .corrupt_ppm = tr_load_relaxed(&slot->corrupt_ppm),
        .reorder_ppm = tr_load_relaxed(&slot->reorder_ppm),
        .write_refuse_ppm = tr_load_relaxed(&slot->write_refuse_ppm),
        .delay_ns = {tr_load_relaxed(&slot->delay_low_ns), tr_load_relaxed(&slot->delay_high_ns)},
        .reorder_ns = {tr_load_relaxed(&slot->reorder_low_ns),
                       tr_load_relaxed(&slot->reorder_high_ns)},
        .write_delay_ns = {tr_load_relaxed(&slot->write_delay_low_ns),
                           tr_load_relaxed(&slot->write_delay_high_ns)},
    };
}

static bool rule_is_empty(const struct tr_fault_slot *slot)
{
    struct tr_fault_rule r = load_rule(slot);
    return !r.blocked &&
           (r.drop_ppm | r.duplicate_ppm | r.corrupt_ppm | r.reorder_ppm | r.write_refuse_ppm) ==
               0 &&
           r.delay_ns.high_ns == 0 && r.write_delay_ns.high_ns == 0;
}

/* The index of a peer's own rules; NONE if it has none. */
static uint32_t own_rules(const struct tr_fault_control *control, tr_node_id peer)
{
    uint32_t count = tr_load_acquire(&control->peer_count); /* meets make_own_rules */
    for (uint32_t i = 0; i < count; i++) {
        if (tr_load_relaxed(&control->peer[i]) == peer)
            return i;
    }
    return NONE;
}

/* The same, made from everybody's when there are none. Under the lock. */
static uint32_t make_own_rules(struct tr_fault_control *control, tr_node_id peer)
{
    uint32_t at = own_rules(control, peer);
    if (at != NONE)
        return at;
    at = tr_load_relaxed(&control->peer_count);
    if (at == TR_FAULT_PEERS_MAX)
        return NONE;
    for (int way = 0; way < 2; way++) {
        struct tr_fault_rule rule = load_rule(&control->everybody[way]);
        store_rule(&control->of_peer[at][way], &rule);
    }
    tr_store_relaxed(&control->peer[at], (uint32_t)peer);
    tr_store_release(&control->peer_count, at + 1); /* meets own_rules */
    return at;
}

static void find_activity(struct tr_fault_control *control)
{
    uint32_t count = tr_load_relaxed(&control->peer_count);
    bool is_active = false;
    for (int way = 0; way < 2; way++) {
        is_active |= !rule_is_empty(&control->everybody[way]);
        for (uint32_t i = 0; i < count; i++)
            is_active |= !rule_is_empty(&control->of_peer[i][way]);
    }
    tr_store_relaxed(&control->is_active, (uint32_t)is_active);
}

/* Both slots of a peer, or of everybody; NULL when there are too many. Under the lock. */
static struct tr_fault_slot *slots_to_set(struct tr_fault_control *control, tr_node_id peer)
{
    uint32_t at = peer != 0 ? make_own_rules(control, peer) : NONE;
    if (peer == 0)
        return control->everybody;
    return at != NONE ? control->of_peer[at] : NULL;
}

const struct tr_fault_slot *tr_fault_slot_of(const struct tr_fault_control *control,
                                             tr_node_id peer, enum tr_fault_direction direction)
{
    uint32_t at = peer != 0 ? own_rules(control, peer) : NONE;
    int way = direction == TR_FAULT_OUT ? 0 : 1;
    return at != NONE ? &control->of_peer[at][way] : &control->everybody[way];
}

struct tr_fault_rule tr_fault_get(const struct tr_fault_control *control, tr_node_id peer,
                                  enum tr_fault_direction direction)
{
    return load_rule(tr_fault_slot_of(control, peer, direction));
}

int tr_fault_set(struct tr_fault_control *control, tr_node_id peer,
                 enum tr_fault_direction direction, const struct tr_fault_rule *rule)
{
    struct tr_fault_slot *slots;
    lock(control);
    slots = slots_to_set(control, peer);
    for (int way = 0; slots != NULL && way < 2; way++) {
        if ((direction & (way == 0 ? TR_FAULT_OUT : TR_FAULT_IN)) != 0)
            store_rule(&slots[way], rule);
    }
    find_activity(control);
    unlock(control);
    return slots != NULL ? TR_OK : TR_EFULL;
}

int tr_fault_block(struct tr_fault_control *control, tr_node_id peer,
                   enum tr_fault_direction direction, bool blocked)
{
    struct tr_fault_slot *slots;
    lock(control);
    slots = slots_to_set(control, peer);
    for (int way = 0; slots != NULL && way < 2; way++) {
        if ((direction & (way == 0 ? TR_FAULT_OUT : TR_FAULT_IN)) != 0)
            tr_store_relaxed(&slots[way].blocked, (uint32_t)blocked);
    }
    find_activity(control);
    unlock(control);
    return slots != NULL ? TR_OK : TR_EFULL;
}

void tr_fault_clear(struct tr_fault_control *control)
{
    static const struct tr_fault_rule none;
    lock(control);
    for (int way = 0; way < 2; way++) {
        store_rule(&control->everybody[way], &none);
        for (uint32_t i = 0; i < TR_FAULT_PEERS_MAX; i++)
            store_rule(&control->of_peer[i][way], &none);
    }
    tr_store_release(&control->peer_count, 0u);
    find_activity(control);
    unlock(control);
}

/* ---- text ---- */

#define FIELD(name) offsetof(struct tr_fault_text, name)
#define ABSENT                                                                        \
    UINT32_MAX /* a key that the text does not have; of a span: low_ns is the largest \
                */
#define MINUTE_NS UINT64_C(60000000000)

static const struct tr_extra_key keys[] = {
    {"driver", TR_EXTRA_WORD, FIELD(driver), 0, 0, "the driver below"},
    {"seed", TR_EXTRA_COUNT, FIELD(seed), 1, UINT64_MAX, "of the faults; default: the port's"},
    {"clear", TR_EXTRA_FLAG, FIELD(clear), 0, 0, "first end all faults"},
    {"peers", TR_EXTRA_NODES, FIELD(peers), 0, 0, "whose rates these are; default: everybody's"},
    {"direction", TR_EXTRA_WORD, FIELD(direction), 0, 0, "out, in or both; default: both"},
    {"drop", TR_EXTRA_PPM, FIELD(drop_ppm), 0, 0, "messages lost"},
    {"duplicate", TR_EXTRA_PPM, FIELD(duplicate_ppm), 0, 0, "messages sent twice"},
    {"dup", TR_EXTRA_PPM, FIELD(duplicate_ppm), 0, 0, "the same"},
    {"corrupt", TR_EXTRA_PPM, FIELD(corrupt_ppm), 0, 0, "messages damaged"},
    {"reorder", TR_EXTRA_PPM, FIELD(reorder_ppm), 0, 0, "messages held back"},
    {"reorder_delay", TR_EXTRA_TIME, FIELD(reorder_ns), 1, MINUTE_NS,
     "how long those are held back; default 1us-50us"},
    {"delay", TR_EXTRA_TIME, FIELD(delay_ns), 0, MINUTE_NS, "of every message"},
    {"write_refuse", TR_EXTRA_PPM, FIELD(write_refuse_ppm), 0, 0, "one-sided writes refused"},
    {"write_delay", TR_EXTRA_TIME, FIELD(write_delay_ns), 0, MINUTE_NS, "of every one-sided write"},
    {"block", TR_EXTRA_NODES, FIELD(block), 0, 0, "peers cut off both ways"},
    {"block_out", TR_EXTRA_NODES, FIELD(block_out), 0, 0, "peers that hear nothing"},
    {"block_in", TR_EXTRA_NODES, FIELD(block_in), 0, 0, "peers that are not heard"},
    {"below.", TR_EXTRA_WORD, FIELD(below), 0, 0, "options of the driver below"},
};

static const struct tr_extra_table table = {"fault", keys, TR_ARRAY_COUNT(keys)};

int tr_fault_text_read(struct tr_fault_text *text, const char *from, char *error,
                       size_t error_bytes)
{
    int result;
    *text = (struct tr_fault_text){.direction = "both",
                                   .drop_ppm = ABSENT,
                                   .duplicate_ppm = ABSENT,
                                   .corrupt_ppm = ABSENT,
                                   .reorder_ppm = ABSENT,
                                   .write_refuse_ppm = ABSENT,
                                   .delay_ns = {UINT64_MAX, 0},
                                   .reorder_ns = {UINT64_MAX, 0},
                                   .write_delay_ns = {UINT64_MAX, 0}};
    result = tr_extra_parse(&table, from, text, error, error_bytes);
    if (result != TR_OK)
        return result;
    if (strcmp(text->direction, "out") != 0 && strcmp(text->direction, "in") != 0 &&
        strcmp(text->direction, "both") != 0) {
        tr_explain(error, error_bytes, "fault: direction=%s is not out, in or both",
                   text->direction);
        return TR_EINVAL;
    }
    return TR_OK;
}

static int block_all(struct tr_fault_control *control, const struct tr_extra_nodes *nodes,
                     enum tr_fault_direction direction)
{
    int result = TR_OK;
    for (uint32_t i = 0; i < nodes->count && result == TR_OK; i++)
        result = tr_fault_block(control, nodes->node[i], direction, true);
    return result;
}

static void merge_ppm(uint32_t *ppm, uint32_t text)
{
    *ppm = text != ABSENT ? text : *ppm;
}

static void merge_span(struct tr_extra_span *span, const struct tr_extra_span *text)
{
    *span = text->low_ns != UINT64_MAX ? *text : *span;
}

/* Sets what the text says of a peer's rule in one direction, and leaves the rest. */
static int merge_rule(const struct tr_fault_text *text, struct tr_fault_control *control,
                      tr_node_id peer, enum tr_fault_direction direction)
{
    struct tr_fault_rule rule = tr_fault_get(control, peer, direction);
    merge_ppm(&rule.drop_ppm, text->drop_ppm);
    merge_ppm(&rule.duplicate_ppm, text->duplicate_ppm);
    merge_ppm(&rule.corrupt_ppm, text->corrupt_ppm);
    merge_ppm(&rule.reorder_ppm, text->reorder_ppm);
    merge_ppm(&rule.write_refuse_ppm, text->write_refuse_ppm);
    merge_span(&rule.delay_ns, &text->delay_ns);
    merge_span(&rule.reorder_ns, &text->reorder_ns);
    merge_span(&rule.write_delay_ns, &text->write_delay_ns);
    if (rule.reorder_ppm != 0 && rule.reorder_ns.high_ns == 0)
        rule.reorder_ns = (struct tr_extra_span){REORDER_LOW_NS, REORDER_HIGH_NS};
    return tr_fault_set(control, peer, direction, &rule);
}

static int merge_rules(const struct tr_fault_text *text, struct tr_fault_control *control,
                       tr_node_id peer)
{
    int result = TR_OK;
    if (strcmp(text->direction, "in") != 0)
        result = merge_rule(text, control, peer, TR_FAULT_OUT);
    if (result == TR_OK && strcmp(text->direction, "out") != 0)
        result = merge_rule(text, control, peer, TR_FAULT_IN);
    return result;
}

int tr_fault_text_apply(const struct tr_fault_text *text, struct tr_fault_control *control)
{
    int result = TR_OK;
    if (text->clear)
        tr_fault_clear(control);
    if (text->peers.count == 0)
        result = merge_rules(text, control, 0);
    for (uint32_t i = 0; i < text->peers.count && result == TR_OK; i++)
        result = merge_rules(text, control, text->peers.node[i]);
    if (result == TR_OK)
        result = block_all(control, &text->block, TR_FAULT_BOTH);
    if (result == TR_OK)
        result = block_all(control, &text->block_out, TR_FAULT_OUT);
    if (result == TR_OK)
        result = block_all(control, &text->block_in, TR_FAULT_IN);
    return result;
}

int tr_fault_configure(struct tr_fault_control *control, const char *text, char *error,
                       size_t error_bytes)
{
    struct tr_fault_text read;
    int result = tr_fault_text_read(&read, text, error, error_bytes);
    if (result != TR_OK)
        return result;
    if (read.driver[0] != '\0' || read.below[0] != '\0' || read.seed != 0) {
        tr_explain(error, error_bytes,
                   "fault: driver, below and seed are fixed when the port is opened");
        return TR_EINVAL;
    }
    result = tr_fault_text_apply(&read, control);
    if (result != TR_OK)
        tr_explain(error, error_bytes,
                   "fault: more than %d peers with rules of their own: clear=on",
                   TR_FAULT_PEERS_MAX);
    return result;
}
