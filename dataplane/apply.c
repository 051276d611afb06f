/* The apply stage: chosen entries through the session table into the state machine. */
#include "dataplane/apply.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "trireme/error.h"

#include <string.h>

/* ---- memory */

static uint32_t chunk_of(const struct tr_apply_options *o)
{
    uint64_t each = tr_align_up_u64(o->reply_bytes_max, 8) + 8;
    uint64_t fit = tr_max_u64(TR_APPLY_REPLY_BYTES / each, 1);
    return (uint32_t)tr_min_u64(fit, tr_min_u64(o->batch_commands_max, TR_BATCH_COMMANDS_MAX));
}

static uint64_t replies_bytes(const struct tr_apply_options *o)
{
    return 2 * (uint64_t)chunk_of(o) * tr_align_up_u64(o->reply_bytes_max, 8) + 4096;
}

/* Sizes of the parts, in their order. */
struct layout {
    uint64_t stage, local, attended, remote, sessions, inbox, asked, results;
    uint64_t replies, reply, image;
};

static struct layout lay_out(const struct tr_apply_options *o)
{
    struct layout l = {
        .stage = sizeof(struct tr_apply),
        .local = (o->sessions_max + o->remote_max) * sizeof(struct tr_session *),
        .attended = (o->sessions_max + o->remote_max) * sizeof(struct tr_session *),
        .remote = o->remote_max * sizeof(uint64_t),
        .sessions = tr_sessions_memory_bytes(o->sessions_max, o->reply_cache_bytes),
        .inbox =
            o->pipelined ? tr_ring_spsc_bytes(TR_APPLY_INBOX, sizeof(struct tr_apply_message)) : 0,
        .asked = tr_ring_spsc_bytes(TR_APPLY_ASKED, sizeof(struct tr_apply_asked)),
        .results = tr_ring_spsc_bytes(16, sizeof(struct tr_apply_result)),
        .replies = tr_align_up_u64(replies_bytes(o), 4096),
        .reply = tr_align_up_u64((uint64_t)o->reply_bytes_max + 8, 4096),
        .image = tr_align_up_u64(o->snapshot_bytes_max, 4096),
    };
    uint64_t *part = &l.stage;
    for (int i = 0; i < 8; i++)
        part[i] = tr_align_up_u64(part[i], TR_CACHE_LINE);
    return l;
}

struct tr_apply_memory tr_apply_memory_bytes(const struct tr_apply_options *options)
{
    struct layout l = lay_out(options);
    return (struct tr_apply_memory){
        .bytes =
            l.stage + l.local + l.attended + l.remote + l.sessions + l.inbox + l.asked + l.results,
        .bytes_untouched = l.replies + l.reply + TR_IMAGES * l.image,
    };
}

static void *carve(uint8_t **next, uint64_t bytes)
{
    void *at = *next;
    *next += bytes;
    return at;
}

static struct tr_ring_spsc *carve_ring(uint8_t **next, uint64_t bytes, uint32_t capacity,
                                       uint32_t element_bytes)
{
    struct tr_ring_spsc *ring = (struct tr_ring_spsc *)carve(next, bytes);
    tr_ring_spsc_init(ring, capacity, element_bytes);
    return ring;
}

struct tr_apply *tr_apply_init(const struct tr_apply_options *options, void *memory,
                               void *untouched)
{
    struct layout l = lay_out(options);
    uint8_t *next = (uint8_t *)memory;
    uint8_t *lazy = (uint8_t *)untouched;
    struct tr_apply *a = (struct tr_apply *)carve(&next, l.stage);
    a->machine = options->machine;
    a->logger = options->logger;
    a->group = options->group;
    a->self = options->self;
    a->pipelined = options->pipelined;
    a->chunk = chunk_of(options);
    a->local_max = options->sessions_max + options->remote_max;
    a->remote_first = options->sessions_max;
    a->image_bytes = options->snapshot_bytes_max;
    a->local = (struct tr_session **)carve(&next, l.local);
    a->attended = (struct tr_session **)carve(&next, l.attended);
    a->remote_number = (uint64_t *)carve(&next, l.remote);
    a->sessions = tr_sessions_init(carve(&next, l.sessions), options->sessions_max,
                                   options->reply_cache_bytes);
    if (options->pipelined)
        a->inbox = carve_ring(&next, l.inbox, TR_APPLY_INBOX, sizeof(struct tr_apply_message));
    a->asked = carve_ring(&next, l.asked, TR_APPLY_ASKED, sizeof(struct tr_apply_asked));
    a->results = carve_ring(&next, l.results, 16, sizeof(struct tr_apply_result));
    a->replies.buffer = (uint8_t *)carve(&lazy, l.replies);
    a->replies.buffer_bytes = replies_bytes(options);
    a->replies.reply_bytes_max = options->reply_bytes_max;
    a->reply.buffer = (uint8_t *)carve(&lazy, l.reply);
    a->reply.reply_bytes_max = options->reply_bytes_max;
    for (int i = 0; i < TR_IMAGES; i++)
        a->image[i].data = (uint8_t *)carve(&lazy, l.image);
    return a;
}

/* ---- commands */

/* Where command `index` of a run begins. */
static const uint8_t *command_at(const struct tr_run_view *view, uint32_t index)
{
    if (tr_likely(view->lengths == NULL))
        return view->data + (size_t)index * tr_align_up_u32(view->run->bytes_each, 8);
    const uint8_t *at = view->data;
    for (uint32_t i = 0; i < index; i++)
        at += tr_align_up_u32(view->lengths[i], 8);
    return at;
}

/* Describes commands [first, first + count) of a run. Returns where the command after them begins.
 */
static void describe(struct tr_apply *a, const struct tr_run_view *view, uint32_t first,
                     uint32_t count, uint32_t origin)
{
    const struct tr_run *run = view->run;
    const uint8_t *at = command_at(view, first);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = view->lengths == NULL ? run->bytes_each : view->lengths[first + i];
        a->command[i] = (struct tr_command){.data = at,
                                            .bytes = bytes,
                                            .origin = origin,
                                            .session = run->session,
                                            .sequence = run->sequence + first + i};
        at += tr_align_up_u32(bytes, 8);
    }
}

/* A part of a run that is a run of its own, so that the table takes its commands on one after the
 * other whatever fits one apply call. */
struct part {
    struct tr_run run;
    struct tr_run_view view;
};

static const struct tr_run_view *take_part(struct part *part, const struct tr_run_view *view,
                                           uint32_t first, uint32_t count)
{
    if (tr_likely(first == 0 && count == view->run->count))
        return view;
    part->run = *view->run;
    part->run.sequence += first;
    part->run.count = (uint16_t)count;
    part->view.run = &part->run;
    part->view.lengths = view->lengths == NULL ? NULL : view->lengths + first;
    part->view.data = command_at(view, first);
    return &part->view;
}

/* Runs admitted commands through the state machine, tells the table, completes them here if they
 * are this node's. */
static void run_commands(struct tr_apply *a, uint64_t slot, const struct tr_run_view *view,
                         uint32_t skip)
{
    uint32_t count = view->run->count - skip;
    struct tr_session *owner = tr_apply_owner(a, view->run->session);
    uint32_t origin = tr_load_le16(a->sessions->entry[a->sessions->last].nonce);
    tr_replies_begin(&a->replies, count);
    describe(a, view, skip, count, origin);
    a->machine.apply(a->machine.context, slot, a->command, count, &a->replies);
    const uint8_t *bytes = a->replies.buffer;
    if (owner != NULL || a->replies.used != 0)
        bytes = tr_replies_finish(&a->replies);
    /* Replies that are all empty need no lengths in the cache. */
    const uint32_t *lengths = a->replies.used != 0 ? a->replies.length : NULL;
    uint32_t evicted =
        tr_sessions_complete(a->sessions, view, skip, lengths, bytes, a->replies.used);
    if (owner != NULL)
        tr_complete_commands(a, owner, view->run->sequence + skip, slot, &a->replies);
    if (tr_unlikely(evicted != 0))
        tr_complete_evicted(a);
    tr_counter_add(a->stats.commands, count);
}

/* ---- runs that are refused, or are about sessions themselves */

/* A local session whose commands the log refused: the agent proposes them again, or it is lost. */
static void refused(struct tr_apply *a, uint64_t number, enum tr_verdict verdict)
{
    if (verdict == TR_VERDICT_UNKNOWN) {
        tr_counter_add(a->stats.unknown, 1);
        return; /* an eviction is found out when it happens; this is a late copy */
    }
    tr_counter_add(a->stats.gaps, 1);
    struct tr_session *s = tr_apply_owner(a, number);
    if (s != NULL)
        tr_store_release(&s->gaps, s->gaps + 1); /* meets the agent */
}

/* The log has registered, or found, the session of a remote client: is it attached here? One that
 * registers says what it has the replies of: that must have been applied before. An attachment that
 * says something else is another one, of before: a replica that catches up applies it late. */
static void registered_remote(struct tr_apply *a, const struct tr_run_view *view, uint64_t number)
{
    for (uint32_t i = a->remote_first; i < a->local_max && a->remote_count != 0; i++) {
        struct tr_session *s = a->local[i];
        if (s == NULL || memcmp(s->nonce, view->data, TR_NONCE_BYTES) != 0)
            continue;
        if (view->run->sequence_acked != s->base)
            return;
        if (tr_sessions_applied(a->sessions, number) < s->base)
            tr_store_release(&s->state, (uint32_t)TR_SESSION_EVICTED); /* meets the door */
        a->remote_number[i - a->remote_first] = number;
        tr_store_release(&s->number, number); /* (N) */
        return;
    }
}

/* The log has registered a session: is it one that was opened here? */
static void registered(struct tr_apply *a, const struct tr_run_view *view, uint64_t number)
{
    const uint8_t *nonce = view->data;
    uint32_t index = tr_load_le32(nonce + 4);
    if (tr_load_le16(nonce) == 0)
        registered_remote(a, view, number);
    if (tr_load_le16(nonce) != a->self || index >= a->local_max || a->local[index] == NULL)
        return;
    struct tr_session *s = a->local[index];
    if (memcmp(s->nonce, nonce, TR_NONCE_BYTES) == 0)
        tr_store_release(&s->number, number); /* (N) */
}

/* A CLOSE was carried out: the agent need not propose it again. */
static void closed(struct tr_apply *a, uint64_t number)
{
    for (uint32_t i = 0; i < a->local_max; i++) {
        struct tr_session *s = a->local[i];
        if (s != NULL && tr_load_relaxed(&s->number) == number)
            tr_store_release(&s->number, UINT64_MAX); /* (N) */
    }
}

static void done(struct tr_apply *a, const struct tr_run_view *view, const struct tr_admission *ad)
{
    if (view->run->kind == TR_RUN_REGISTER)
        registered(a, view, ad->session);
    else
        closed(a, ad->session);
    if (ad->evicted != 0)
        tr_complete_evicted(a);
}

static void apply_part(struct tr_apply *a, uint64_t slot, uint32_t run_index,
                       const struct tr_run_view *view)
{
    struct tr_admission ad;
    tr_sessions_admit(a->sessions, slot, run_index, view, &ad);
    switch (ad.verdict) {
    case TR_VERDICT_APPLY:
        if (tr_unlikely(ad.skip != 0)) {
            tr_counter_add(a->stats.duplicates, ad.skip);
            tr_complete_skipped(a, view->run->session, view->run->sequence + ad.skip - 1);
        }
        if (tr_likely(ad.skip < view->run->count))
            run_commands(a, slot, view, ad.skip);
        else
            tr_sessions_complete(a->sessions, view, ad.skip, NULL, NULL, 0);
        return;
    case TR_VERDICT_GAP:
    case TR_VERDICT_UNKNOWN:
        refused(a, view->run->session, ad.verdict);
        return;
    case TR_VERDICT_DONE:
        done(a, view, &ad);
        return;
    }
    tr_unreachable();
}

static void apply_run(struct tr_apply *a, uint64_t slot, uint32_t run_index,
                      const struct tr_run_view *view)
{
    uint32_t count = view->run->count;
    struct part part;
    if (tr_likely(count <= a->chunk)) {
        apply_part(a, slot, run_index, view);
        return;
    }
    for (uint32_t first = 0; first < count; first += a->chunk)
        apply_part(a, slot, run_index,
                   take_part(&part, view, first, tr_min_u32(a->chunk, count - first)));
}

static void apply_entry(struct tr_apply *a, uint64_t slot, const struct tr_record *record)
{
    tr_assert(slot == a->slot_applied + 1);
    if (tr_likely(record->kind == TR_RECORD_COMMANDS)) {
        struct tr_run_view view;
        uint32_t cursor = 0, run_index = 0;
        while (cursor < record->payload_bytes &&
               tr_run_next(record + 1, record->payload_bytes, &cursor, &view))
            apply_run(a, slot, run_index++, &view);
        if (tr_unlikely(cursor != record->payload_bytes))
            tr_counter_add(a->stats.malformed,
                           1); /* the same on every replica: the rest is skipped */
    }
    tr_store_release(&a->slot_applied, slot); /* (P) */
}

/* ---- the agent's messages */

static void add_session(struct tr_apply *a, struct tr_session *s)
{
    a->local[s->index] = s;
    a->local_count++;
    a->remote_count += s->remote;
}

static void put_result(struct tr_apply *a, const struct tr_apply_result *result)
{
    uint32_t taken = tr_ring_spsc_enqueue(a->results, result, 1);
    tr_assert(taken == 1); /* the agent has one MAKE and one INSTALL under way at most */
}

static void handle(struct tr_apply *a, const struct tr_apply_message *m)
{
    struct tr_apply_result result = {0};
    switch ((enum tr_apply_what)m->what) {
    case TR_APPLY_ENTRY:
        if (tr_likely(!a->stopped))
            apply_entry(a, m->slot, (const struct tr_record *)m->at);
        return;
    case TR_APPLY_ADD:
        add_session(a, (struct tr_session *)(uintptr_t)m->at);
        return;
    case TR_APPLY_QUIET:
        /* tr_session_deliver looks at `closing` before each callback, and this is not inside one.
         */
        tr_store_release(&((struct tr_session *)(uintptr_t)m->at)->quiet, 1u);
        return;
    case TR_APPLY_DROP:
        tr_complete_drop(a, (struct tr_session *)(uintptr_t)m->at);
        return;
    case TR_APPLY_LOCAL:
        tr_complete_reads(a, (struct tr_session *)(uintptr_t)m->at);
        return;
    case TR_APPLY_MAKE:
        tr_snapshot_make(a, m->image, &result);
        put_result(a, &result);
        return;
    case TR_APPLY_INSTALL:
        tr_snapshot_install(a, m, &result);
        put_result(a, &result);
        return;
    }
    tr_unreachable();
}

bool tr_apply_can_post(struct tr_apply *a, uint32_t count)
{
    return !a->pipelined || tr_ring_spsc_room(a->inbox, count) >= count;
}

void tr_apply_post(struct tr_apply *a, const struct tr_apply_message *message)
{
    if (tr_likely(!a->pipelined)) {
        handle(a, message);
        return;
    }
    uint32_t taken = tr_ring_spsc_enqueue(a->inbox, message, 1);
    tr_assert(taken == 1); /* the agent asked tr_apply_can_post */
}

void tr_apply_reads_ready(struct tr_apply *a, uint64_t id)
{
    tr_store_release(&a->read_ready, id); /* (Y) */
}

/* ---- a turn */

static uint32_t drain_inbox(struct tr_apply *a)
{
    uint32_t count = tr_min_u32(tr_ring_spsc_ready(a->inbox, 1), TR_APPLY_BURST);
    for (uint32_t i = 0; i < count; i++) {
        handle(a, (const struct tr_apply_message *)tr_ring_spsc_slot(a->inbox, a->inbox->head));
        tr_ring_spsc_release(a->inbox, 1);
    }
    return count;
}

/* Computes the digest that somebody asked for, once for each slot. */
static void digest(struct tr_apply *a)
{
    uint64_t slot = tr_load_relaxed(&a->slot_applied);
    tr_store_relaxed(&a->digest_wanted, UINT64_C(0));
    if (a->machine.digest == NULL || tr_load_relaxed(&a->digest_slot) == slot + 1)
        return;
    tr_store_relaxed(&a->digest, a->machine.digest(a->machine.context));
    tr_store_release(&a->digest_slot, slot + 1); /* meets tr_group_status; 0: none yet */
}

uint32_t tr_apply_poll(struct tr_apply *a, uint64_t now_ns)
{
    uint32_t work = 0;
    a->now_ns = now_ns;
    if (a->inbox != NULL)
        work += drain_inbox(a);
    a->read_ready_seen = tr_load_acquire(&a->read_ready); /* (Y) */
    if (tr_unlikely(tr_ring_spsc_ready(a->asked, 1) > 0))
        work += tr_complete_asked(a);
    if (tr_unlikely(a->attended_count != 0))
        work += tr_complete_attended(a);
    if (tr_unlikely(now_ns >= a->deadline_ns))
        work += tr_complete_expired(a);
    if (tr_unlikely(work == 0 && tr_load_relaxed(&a->digest_wanted) != 0))
        digest(a);
    return work;
}

void tr_apply_abandon(struct tr_apply *a, struct tr_session *s)
{
    tr_store_release(&s->state, (uint32_t)TR_SESSION_CLOSED); /* read by tr_submit */
    if (s->on_complete != NULL)
        tr_complete_all(a, s, TR_ECLOSED);
    tr_store_release(&s->quiet, 1u); /* (Q) */
    tr_session_unwait(s);
}
