#include "rest.h"

#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* Cycles of a busy node between two looks at the sockets: a look is a system call. */
#define CYCLES_PER_LOOK 16u
/* After its last work a thread that shares its CPU stays hot so long, since an answer is near, ...
 */
#define HOT_NS 4000u
/* ... then gives the CPU away between cycles so long, and then sleeps. */
#define YIELD_NS 60000u
/* How often to look whether others want the CPU, and how many involuntary switches mean that. */
#define ASSESS_NS      100000000u
#define PREEMPTED_MANY 10u

/* The bytes of an address before its port: a host. */
static size_t host_bytes(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon != NULL ? (size_t)(colon - address) : strlen(address);
}

uint32_t kv_rest_neighbours(const struct kv_peers *peers, uint16_t node)
{
    const char *own = "";
    uint32_t count = 0;
    for (uint32_t at = 0; at < peers->count; at++) {
        if (peers->list[at].node == node)
            own = peers->list[at].address;
    }
    for (uint32_t at = 0; at < peers->count; at++) {
        const char *other = peers->list[at].address;
        count += host_bytes(other) == host_bytes(own) &&
                 memcmp(other, own, host_bytes(own)) == 0; /* all of shm:NAME are "shm" */
    }
    return count;
}

static uint32_t cpu_count(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

static uint64_t preempted_count(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

void kv_rest_init(struct kv_rest *rest, enum tr_idle idle, uint32_t poller_count)
{
    *rest = (struct kv_rest){.idle = idle, .preempted_count = preempted_count()};
    rest->shared_for_good = poller_count > cpu_count();
    rest->shared = rest->shared_for_good;
    if (idle == TR_IDLE_AUTO || idle == TR_IDLE_SLEEP)
        prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
}

static void assess(struct kv_rest *rest, uint64_t now_ns)
{
    uint64_t preempted = preempted_count();
    if (preempted - rest->preempted_count >= PREEMPTED_MANY)
        rest->shared = 1;
    else if (!rest->shared_for_good)
        rest->shared = 0;
    rest->preempted_count = preempted;
    rest->assess_ns = now_ns + ASSESS_NS;
}

/* Hot, then yielding, then asleep. */
static enum kv_rest_step step_back(struct kv_rest *rest, uint64_t now_ns)
{
    uint64_t idle_ns = now_ns - rest->work_ns;
    if (idle_ns < HOT_NS)
        return KV_REST_LOOK;
    if (idle_ns >= YIELD_NS)
        return KV_REST_SLEEP;
    sched_yield();
    return KV_REST_LOOK;
}

static enum kv_rest_step rest_idle(struct kv_rest *rest, uint64_t now_ns)
{
    switch (rest->idle) {
    case TR_IDLE_AUTO:
        if (now_ns >= rest->assess_ns)
            assess(rest, now_ns);
        return rest->shared ? step_back(rest, now_ns) : KV_REST_LOOK;
    case TR_IDLE_SPIN:
    case TR_IDLE_PAUSE:
        return KV_REST_LOOK;
    case TR_IDLE_YIELD:
        sched_yield();
        return KV_REST_LOOK;
    case TR_IDLE_SLEEP:
        return now_ns - rest->work_ns < HOT_NS ? KV_REST_LOOK : KV_REST_SLEEP;
    }
    return KV_REST_LOOK;
}

enum kv_rest_step kv_rest_next(struct kv_rest *rest, uint32_t work, uint64_t now_ns)
{
    enum kv_rest_step step = KV_REST_CYCLE;
    rest->cycles++;
    if (work > 0)
        rest->work_ns = now_ns;
    else
        step = rest_idle(rest, now_ns);
    if (step == KV_REST_CYCLE && rest->cycles >= CYCLES_PER_LOOK)
        step = KV_REST_LOOK;
    if (step != KV_REST_CYCLE)
        rest->cycles = 0;
    return step;
}
