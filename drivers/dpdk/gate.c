/* Keeping EAL's thread and the ports apart. */
#include "drivers/dpdk/gate.h"

#include "base/bytes.h"
#include "drivers/dpdk/eal.h"
#include "trireme/error.h"

#include <rte_alarm.h>
#include <sched.h>
#include <time.h>

/* How long the gate is shut at least: EAL's thread comes back by an alarm of so many microseconds,
 * and does in between what waits. */
#define SHUT_US 20

/* How long EAL's thread waits at most, and if what it waits for cannot be watched. */
#define WAIT_NS_MAX   UINT64_C(1000000000)
#define WAIT_NS_BLIND UINT64_C(5000000)

/* EAL's thread is one a process, and so is what keeps it. */
static struct {
    TR_ALIGNED(TR_CACHE_LINE) uint32_t is_shut;
    TR_ALIGNED(TR_CACHE_LINE) struct tr_gate_slot *first;
    struct tr_gate_chore *chores;
    bool runs;
} gate = {.is_shut = 0};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Shuts the gate, and waits until nobody is inside. */
static void shut(void)
{
    tr_store_relaxed(&gate.is_shut, 1);
    tr_fence_full(); /* meets the fence of tr_gate_enter */
    for (const struct tr_gate_slot *slot = gate.first; slot != NULL; slot = slot->next) {
        /* A burst takes microseconds; only a thread that lost its CPU in one takes longer. Meets
         * the release of tr_gate_leave. */
        while (tr_load_acquire(&slot->is_inside) != 0)
            sched_yield();
    }
}

/* Opens it; meets the acquire of tr_gate_enter. */
static void open(void)
{
    tr_store_release(&gate.is_shut, 0);
}

/* Runs what is due. Returns: how long until the next is. */
static uint64_t do_chores(void)
{
    uint64_t wait_ns = WAIT_NS_MAX;
    for (struct tr_gate_chore *chore = gate.chores; chore != NULL; chore = chore->next) {
        uint64_t now_ns = now();
        if (now_ns >= chore->due_ns)
            chore->due_ns = chore->run(chore, now_ns);
        wait_ns = tr_min_u64(wait_ns, chore->due_ns > now_ns ? chore->due_ns - now_ns : 0);
    }
    return wait_ns;
}

/* EAL's thread: stays here while the gate is open. */
static void hold(void *unused)
{
    uint64_t wait_ns = do_chores();
    (void)unused;
    open();
    if (gate.first == NULL) {
        gate.runs = false;
        return;
    }
    if (!tr_eal_wait(wait_ns))
        tr_eal_sleep(tr_min_u64(wait_ns, WAIT_NS_BLIND));
    shut();
    if (rte_eal_alarm_set(SHUT_US, hold, NULL) != 0)
        open(); /* without a timer no alarm ever comes: there are no handlers either */
}

static int add_there(void *argument)
{
    struct tr_gate_slot *slot = argument;
    slot->next = gate.first;
    slot->is_shut = &gate.is_shut;
    gate.first = slot;
    if (!gate.runs && rte_eal_alarm_set(1, hold, NULL) != 0) {
        gate.first = slot->next;
        return TR_ESYS;
    }
    gate.runs = true;
    return TR_OK;
}

static int remove_there(void *argument)
{
    const struct tr_gate_slot *slot = argument;
    struct tr_gate_slot **at = &gate.first;
    while (*at != NULL && *at != slot)
        at = &(*at)->next;
    if (*at != NULL)
        *at = slot->next;
    return TR_OK;
}

int tr_gate_add(struct tr_gate_slot *slot)
{
    return tr_eal_call(add_there, slot);
}

void tr_gate_remove(struct tr_gate_slot *slot)
{
    tr_eal_call(remove_there, slot);
}

void tr_gate_chore_add(struct tr_gate_chore *chore)
{
    chore->begun_ns = chore->due_ns = now();
    chore->next = gate.chores;
    gate.chores = chore;
}

void tr_gate_chore_remove(struct tr_gate_chore *chore)
{
    struct tr_gate_chore **at = &gate.chores;
    while (*at != NULL && *at != chore)
        at = &(*at)->next;
    if (*at != NULL)
        *at = chore->next;
}
