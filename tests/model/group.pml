/*
 * One group: phase 1 with fences, phase 2 by messages and by one-sided writes, leaders that change,
 * replicas that crash, forget and recover. README.md maps each step to the function that takes it
 * in the sources, and says what is left out.
 *
 * Sizes: REPLICAS, BALLOTS, SLOTS, CRASHES (in all), Q1, Q2; CRASHER if only one replica may crash;
 * RINGS is the set of those that have one, MESSAGES says that Accepts are sent; ESTABLISHED starts
 * with a leader that all have promised and granted. BREAK_... breaks one rule on purpose.
 *
 * What the owner of a ballot sends (Prepare, Accept, stores) is on its way for ever once it could
 * have been sent: it arrives late, often, or never. Promises wait in a set until they are taken, in
 * any order, or never; so does an acknowledgement that its leader cannot count. A value is named
 * by the ballot whose leader proposed it first, an entry of a log by the ballot it was accepted at.
 */
#ifndef Q1
#define Q1 (REPLICAS / 2 + 1)
#endif
#ifndef Q2
#define Q2 (REPLICAS / 2 + 1)
#endif
#define QMIN     (Q1 < Q2 -> Q1 : Q2)
#define QRECOVER (REPLICAS - QMIN + 1)

/* Quorums as they are counted. */
#ifdef BREAK_QUORUM_P1
#define PROMISES_WANTED (Q1 - 1)
#else
#define PROMISES_WANTED Q1
#endif
#ifdef BREAK_QUORUM_P2
#define HOLDERS_WANTED (Q2 - 1)
#else
#define HOLDERS_WANTED Q2
#endif
#ifdef BREAK_RECOVERY_QUORUM
#define RECOVERY_WANTED (QRECOVER - 1)
#else
#define RECOVERY_WANTED QRECOVER
#endif

/* A vector of incarnations is the set of crashes that it knows of; a later one of a replica
 * includes the earlier. */
#if CRASHES == 0
#define VECTORS 1
#elif CRASHES == 1
#define VECTORS 2
#else
#define VECTORS 4
#endif

/* Life of a replica, stage of its fence, and state of a ballot. */
#define UP      0
#define DEAD    1
#define JOINING 2
#define PAGING  3

#define QUIET   0
#define FENCING 1 /* FENCE: the fence word is still open */
#define CLOSED  2 /* nothing counts from now on */
#define DRAINED 3 /* what landed is in the log */

#define UNUSED    0
#define CANDIDATE 1
#define LEADER    2
#define OVER      3

/* A replica. The word of its granted ring is open until the fence is CLOSED; a generation is the
 * ballot and the vector that it was granted with, never the same twice. */
byte life[REPLICAS];
byte promised[REPLICAS];
byte fence[REPLICAS];
byte vector[REPLICAS];
byte grant[REPLICAS];  /* generation; 0: none */
byte landed[REPLICAS]; /* slots whose record of that generation lies in the ring */
byte accepted[REPLICAS * SLOTS];

/* A ballot, at its owner. */
byte state[BALLOTS + 1];
byte owner[BALLOTS + 1];
byte owner_vector[BALLOTS + 1]; /* crashes of the owner before it took the ballot */
byte promises[BALLOTS + 1];     /* set of peers */
byte value[(BALLOTS + 1) * SLOTS];
byte holders[(BALLOTS + 1) * SLOTS];      /* set of peers counted */
byte granted[(BALLOTS + 1) * REPLICAS]; /* generation that the peer granted; 0: none */

/* Messages on their way: the page of a promise is the entries of its slots, as one number. */
byte promise[(BALLOTS + 1) * REPLICAS * VECTORS]; /* 0: none; else 1 + page */
byte accepts[(BALLOTS + 1) * SLOTS * VECTORS];    /* ACCEPTED: set of senders */

/* Crashes, in order, and the recovery under way of the latest. */
byte crashes;
byte who[CRASHES + 1];
byte joined[CRASHES + 1], paged[CRASHES + 1]; /* sets of those that answered */

/* Ghost: the value chosen in each slot, and the lowest ballot at which it was. */
byte chosen[SLOTS], chosen_at[SLOTS];

hidden byte k, e, s, x, y, n;
hidden short z;

#define one(i)       (1 << (i))
#define has(set, i)  (((set) >> (i)) & 1)
#define size(set)    (has(set, 0) + has(set, 1) + has(set, 2) + has(set, 3) + has(set, 4))
#define at(i, s)     ((i) * SLOTS + (s))
#define peer(b, i)   ((b) * REPLICAS + (i))
#define note(b, i, v) (((b) * REPLICAS + (i)) * VECTORS + (v))
#define ack(b, s, v) (((b) * SLOTS + (s)) * VECTORS + (v))

#define generation(b, v) ((b) * VECTORS + (v))
#define ballot_of(g)     ((g) / VECTORS)
#define vector_of(g)     ((g) % VECTORS)

#define has_ring(i) has(RINGS, i)

#define is_active(b) (state[b] == CANDIDATE || state[b] == LEADER)

/* ---- what must hold */

/* Whether a replica holds the chosen value of a slot: in its log, or in its ring, not drained. */
#define holds(i, s)                                                                      \
    (accepted[at(i, s)] != 0 && value[at(accepted[at(i, s)], s)] == chosen[s] ||         \
     has(landed[i], s) && value[at(ballot_of(grant[i]), s)] == chosen[s])

/* No quorum of phase 1 can be found that has not the chosen value. */
inline never_lost()
{
    for (s : 0 .. SLOTS - 1) {
        n = 0;
        for (k : 0 .. REPLICAS - 1) {
            n = n + (chosen[s] != 0 && life[k] == UP && !(holds(k, s)));
        }
        assert(n < Q1);
    }
    skip
}

/* A leader counts: a Q2 holds the slot at its ballot, itself included. */
inline count(b, slot)
{
    if
    :: state[b] == LEADER && value[at(b, slot)] != 0 &&
            1 + size(holders[at(b, slot)]) >= HOLDERS_WANTED ->
        assert(chosen[slot] == 0 || chosen[slot] == value[at(b, slot)]);
        chosen[slot] = value[at(b, slot)];
        chosen_at[slot] = (chosen_at[slot] == 0 || b < chosen_at[slot] -> b : chosen_at[slot]);
        for (k : b + 1 .. BALLOTS) {
            assert(value[at(k, slot)] == 0 || value[at(k, slot)] == chosen[slot]);
        }
        never_lost();
    :: else
    fi
}

/* Nothing is accepted above the promise: else phase 1 below it would report what it cannot take. */
inline nothing_above_promise(i)
{
#ifndef BREAK_FORGET_PROMISE
    for (k : 0 .. SLOTS - 1) {
        assert(accepted[at(i, k)] <= promised[i]);
    }
#endif
    skip
}

/* ---- parts of steps */

/* The ballots of a replica below the one that it promises now end. */
inline step_down(i, above)
{
    for (k : 1 .. BALLOTS) {
        if
        :: k != above && is_active(k) && owner[k] == i ->
            state[k] = OVER;
            promises[k] = 0;
            for (x : 0 .. SLOTS - 1) {
                holders[at(k, x)] = 0;
                for (y : 0 .. VECTORS - 1) {
                    accepts[ack(k, x, y)] = 0;
                }
                skip
            }
            for (x : 0 .. REPLICAS * VECTORS - 1) {
                promise[note(k, 0, 0) + x] = 0;
            }
            skip
        :: else
        fi
    }
    skip
}

/* The page of a promise: what is accepted now. */
inline make_page(i)
{
    n = 0;
    for (k : 0 .. SLOTS - 1) {
        n = n * (BALLOTS + 1) + accepted[at(i, SLOTS - 1 - k)];
    }
}

/* With PROMISES_AT_ONCE a promise is not on its way: prepare_again gives it and takes it. */
inline send_promise(i, b)
{
    if
    :: !PROMISES_AT_ONCE && is_active(b) && owner[b] != i ->
        make_page(i);
        promise[note(b, i, vector[i])] = 1 + n;
    :: else
    fi
}

/* FENCED: a grant to the owner of the ballot promised, whose promise leaves now. */
inline grant_and_promise(i)
{
    fence[i] = QUIET;
    landed[i] = 0;
    grant[i] = (has_ring(i) && owner[promised[i]] != i -> generation(promised[i], vector[i]) : 0);
    send_promise(i, promised[i]);
}

/* Where there are no rings a fence ends as soon as it begins. */
inline end_fence(i)
{
    if
    :: RINGS == 0 && fence[i] == DRAINED -> grant_and_promise(i)
    :: else
    fi
}

/* A fence begins, or the one under way serves this ballot as well. */
inline begin_fence(i)
{
    if
    :: fence[i] == QUIET -> fence[i] = (grant[i] == 0 -> DRAINED : FENCING)
    :: else
    fi
    end_fence(i);
}

inline begin_promise(i, b)
{
    promised[i] = b;
    step_down(i, b);
    begin_fence(i);
}

/* A replica learns of a crash: what the forgotten incarnation promised, acknowledged or granted
 * counts no more, and completions of its own grant know too little. */
inline learn_crash(i, crash)
{
    vector[i] = vector[i] | one(crash);
    for (k : 0 .. CRASHES - 1) {
        if
        :: k < crash && who[k] == who[crash] -> vector[i] = vector[i] | one(k)
        :: else
        fi
    }
    for (k : 1 .. BALLOTS) {
        if
        :: is_active(k) && owner[k] == i ->
            promises[k] = promises[k] & ~one(who[crash]);
            granted[peer(k, who[crash])] = 0;
            for (x : 0 .. SLOTS - 1) {
                holders[at(k, x)] = holders[at(k, x)] & ~one(who[crash]);
            }
            skip
        :: else
        fi
    }
    if
    :: life[i] == UP && grant[i] != 0 -> begin_fence(i)
    :: else
    fi
}

/* Takes in what another vector knows more. */
inline learn_vector(i, v)
{
    for (e : 0 .. CRASHES - 1) {
        if
        :: has(v, e) && !has(vector[i], e) -> learn_crash(i, e)
        :: else
        fi
    }
    skip
}

/* Whether a message of a ballot's owner comes from an incarnation known to be dead. */
#if CRASHES > 0
#define later_crash(i, b, c) \
    (has(vector[i], c) && who[c] == owner[b] && !has(owner_vector[b], c))
#if CRASHES > 1
#define is_stale(i, b) (later_crash(i, b, 0) || later_crash(i, b, 1))
#else
#define is_stale(i, b) later_crash(i, b, 0)
#endif
#else
#define is_stale(i, b) false
#endif

/* ---- steps of phase 1 */

#ifdef ESTABLISHED
#define may_stand(i, b) ((i) == REPLICAS - 1)
#else
/* By symmetry the first ballot is of replica 0, the second of 0 or 1, and so on. */
#define may_stand(i, b) ((i) < (b))
#endif

inline campaign(i, b)
{
    d_step {
        state[b] == UNUSED && life[i] == UP && promised[i] < b && may_stand(i, b) ->
        owner[b] = i;
        owner_vector[b] = vector[i];
        state[b] = CANDIDATE;
        begin_promise(i, b);
    }
}

inline receive_prepare(i, b)
{
    d_step {
        state[b] != UNUSED && owner[b] != i && life[i] == UP && promised[i] < b &&
            !is_stale(i, b) ->
        begin_promise(i, b);
#ifdef BREAK_PROMISE_BEFORE_FENCED
        send_promise(i, b);
#endif
    }
}

#ifdef BREAK_ADOPT_LOWER
#define adopts(new, old) ((new) != 0 && ((old) == 0 || (new) < (old)))
#else
#define adopts(new, old) ((new) > (old))
#endif

/* The owner of a ballot takes a promise with page z. */
inline take_promise(asker, ballot, giver, known)
{
    learn_vector(asker, known);
    if
    :: known == vector[asker] ->
        granted[peer(ballot, giver)] =
            (has_ring(giver) -> generation(ballot, known) : 0);
        if
        :: state[ballot] == CANDIDATE ->
            promises[ballot] = promises[ballot] | one(giver);
            for (k : 0 .. SLOTS - 1) {
                x = z % (BALLOTS + 1);
                z = z / (BALLOTS + 1);
                if
                :: adopts(x, accepted[at(asker, k)]) -> accepted[at(asker, k)] = x
                :: else
                fi
            }
            skip
        :: else
        fi
    :: else
    fi
}

inline receive_promise(i, b, from, v)
{
    d_step {
        promise[note(b, from, v)] != 0 && is_active(b) && owner[b] == i ->
        z = promise[note(b, from, v)] - 1;
        promise[note(b, from, v)] = 0;
        take_promise(i, b, from, v);
    }
}

#define lacks_promise(i, b) (state[b] == CANDIDATE && !has(promises[b], i))
#define lacks_grant(i, b)                                                        \
    (PROMISES_AT_ONCE && state[b] == LEADER && grant[i] != 0 && granted[peer(b, i)] != grant[i])

/* A repeated Prepare returns the same promise, with what is known by now. */
inline prepare_again(i, b)
{
    d_step {
        owner[b] != i && life[i] == UP && promised[i] == b && fence[i] == QUIET &&
            (lacks_promise(i, b) || lacks_grant(i, b)) &&
            promise[note(b, i, vector[i])] == 0 && !is_stale(i, b) ->
        if
        :: PROMISES_AT_ONCE ->
            make_page(i);
            z = n;
            take_promise(owner[b], b, i, vector[i]);
        :: else -> send_promise(i, b)
        fi
    }
}

inline close_word(i)
{
    d_step {
        fence[i] == FENCING && life[i] == UP -> fence[i] = CLOSED;
    }
}

/* Takes what has landed into the log: records lie in the order of slots, so a gap ends it. */
inline take_landed(i)
{
    for (k : 0 .. SLOTS - 1) {
        if
        :: !has(landed[i], k) -> break
        :: has(landed[i], k) && accepted[at(i, k)] < ballot_of(grant[i]) ->
            accepted[at(i, k)] = ballot_of(grant[i])
        :: else
        fi
    }
    skip
}

#define undrained(i, slot) \
    (has(landed[i], slot) && accepted[at(i, slot)] < ballot_of(grant[i]))

/* The poll of an open ring. */
inline drain(i)
{
    d_step {
        life[i] == UP && landed[i] != 0 && fence[i] <= FENCING &&
            (undrained(i, 0) || has(landed[i], 0) && undrained(i, SLOTS - 1)) ->
        take_landed(i);
    }
}

inline drain_closed(i)
{
    d_step {
        fence[i] == CLOSED && life[i] == UP ->
#ifndef BREAK_GRANT_BEFORE_DRAIN
        take_landed(i);
#endif
        fence[i] = DRAINED;
    }
}

inline fenced(i)
{
    d_step {
        fence[i] == DRAINED && life[i] == UP ->
        grant_and_promise(i);
        never_lost();
    }
}

inline lead(i, b)
{
    d_step {
        state[b] == CANDIDATE && owner[b] == i && promised[i] == b && fence[i] == QUIET &&
            1 + size(promises[b]) >= PROMISES_WANTED ->
        state[b] = LEADER;
        promises[b] = 0;
    }
}

/* ---- steps of phase 2 */

inline propose(i, b, slot)
{
    d_step {
        state[b] == LEADER && owner[b] == i && value[at(b, slot)] == 0 &&
            (slot == 0 || value[at(b, slot - 1)] != 0) ->
#ifdef BREAK_OWN_VALUE
        value[at(b, slot)] = b;
#else
        value[at(b, slot)] =
            (accepted[at(i, slot)] != 0 -> value[at(accepted[at(i, slot)], slot)] : b);
#endif
        accepted[at(i, slot)] = b;
        assert(chosen_at[slot] == 0 || b < chosen_at[slot] || chosen[slot] == value[at(b, slot)]);
        count(b, slot);
        never_lost();
#ifdef WITNESS /* that this can be violated is what is asked */
        assert(b != BALLOTS || chosen_at[slot] != BALLOTS - 1 || crashes < CRASHES ||
               life[who[0]] != UP);
#endif
    }
}

#ifdef BREAK_ACCEPT_BELOW_PROMISE
#define follows(i, b) (promised[i] >= b && fence[i] == QUIET)
#else
#define follows(i, b) (promised[i] == b && fence[i] == QUIET)
#endif
#ifdef BREAK_ACK_ANY_BALLOT
#define acknowledges(i, b, slot) (accepted[at(i, slot)] != 0)
#else
#define acknowledges(i, b, slot) (accepted[at(i, slot)] >= b)
#endif

#ifdef MESSAGES
#define arrives(i, b, slot) (accepted[at(i, slot)] < b)
#else
#define arrives(i, b, slot) false
#endif

/* Where the last ballot ends with its proposals: they must be of the values chosen before. */
#ifdef LAST_PROPOSES
#define is_followed(b) (b < BALLOTS)
#else
#define is_followed(b) true
#endif

#ifdef BREAK_VECTOR_IGNORED
#define agrees(a, b) true
#else
#define agrees(a, b) ((a) == (b))
#endif

/* An Accept is stored and acknowledged, or a heartbeat asks for what was drained before. Where leader
 * and follower know the same the acknowledgement is counted at once: later it would count no more
 * than now. */
inline accept_value(i, b, slot)
{
    d_step {
        value[at(b, slot)] != 0 && owner[b] != i && life[i] == UP && follows(i, b) &&
            !is_stale(i, b) && is_followed(b) &&
            (arrives(i, b, slot) ||
             acknowledges(i, b, slot) && state[b] == LEADER && !has(holders[at(b, slot)], i) &&
                 !has(accepts[ack(b, slot, vector[i])], i)) ->
        if
        :: !acknowledges(i, b, slot) -> accepted[at(i, slot)] = b
        :: else
        fi
        if
        :: state[b] == LEADER && agrees(vector[i], vector[owner[b]]) ->
            holders[at(b, slot)] = holders[at(b, slot)] | one(i);
            count(b, slot);
        :: state[b] == LEADER && !agrees(vector[i], vector[owner[b]]) ->
            accepts[ack(b, slot, vector[i])] = accepts[ack(b, slot, vector[i])] | one(i)
        :: else
        fi
        never_lost();
    }
}

inline receive_accepted(i, b, from, slot, v)
{
    d_step {
        state[b] == LEADER && owner[b] == i && has(accepts[ack(b, slot, v)], from) &&
            agrees(v, vector[i]) ->
        accepts[ack(b, slot, v)] = accepts[ack(b, slot, v)] & ~one(from);
        holders[at(b, slot)] = holders[at(b, slot)] | one(from);
        count(b, slot);
    }
}

/* A store of the owner of b arrives in the ring. Later than the drain it changes nothing, and is no
 * step; the owner may long have stopped to lead. */
inline land(i, b, slot)
{
    d_step {
        granted[peer(b, i)] != 0 && value[at(b, slot)] != 0 && grant[i] == granted[peer(b, i)] &&
            fence[i] < DRAINED && !has(landed[i], slot) ->
        landed[i] = landed[i] | one(slot);
    }
}

/* The writer looks at the fence word after its store; completions come in the order of posting, and
 * WRITTEN counts as a prefix. */
#define up_to(slot) (one((slot) + 1) - 1)
#ifdef BREAK_OLD_GENERATION /* wherever the store arrived, it counts */
#define word_counts(i, b, slot) \
    (grant[i] != granted[peer(b, i)] || fence[i] == DRAINED || has(landed[i], slot))
#else
#define word_counts(i, b, slot) \
    (grant[i] == granted[peer(b, i)] && fence[i] < CLOSED &&       \
     (landed[i] & up_to(slot)) == up_to(slot))
#endif

inline written(i, b, to, slot)
{
    d_step {
        state[b] == LEADER && owner[b] == i && value[at(b, slot)] != 0 &&
            granted[peer(b, to)] != 0 && !has(holders[at(b, slot)], to) &&
            (slot == 0 || has(holders[at(b, slot - 1)], to)) && word_counts(to, b, slot) &&
            vector_of(granted[peer(b, to)]) == vector[i] ->
        holders[at(b, slot)] = holders[at(b, slot)] | one(to);
        count(b, slot);
    }
}

/* ---- crash and recovery */

#ifdef CRASHER
#define may_crash(i) ((i) == CRASHER)
#else
#define may_crash(i) true
#endif

/* Memory is lost; the ring can be written to until a successor makes it unwritable. */
inline crash(i)
{
    d_step {
        crashes < CRASHES && life[i] == UP && may_crash(i) ->
        who[crashes] = i;
        crashes++;
        life[i] = DEAD;
        promised[i] = 0;
        vector[i] = 0;
        step_down(i, 0);
        for (k : 0 .. SLOTS - 1) {
            accepted[at(i, k)] = 0;
        }
        skip
    }
}

/* The new process fences the rings of the dead one, and takes the next incarnation. */
inline restart(i)
{
    d_step {
        life[i] == DEAD ->
        life[i] = JOINING;
#ifdef BREAK_DEAD_RING
        grant[i] = (fence[i] < CLOSED -> grant[i] : 0);
#else
        grant[i] = 0;
#endif
        landed[i] = (grant[i] != 0 -> landed[i] : 0);
        fence[i] = QUIET;
#ifndef BREAK_NO_INCARNATION
        for (k : 0 .. CRASHES - 1) {
            if
            :: k < crashes && who[k] == i -> vector[i] = vector[i] | one(k)
            :: else
            fi
        }
        skip
#endif
    }
}

#ifdef BREAK_NO_INCARNATION
#define knows(i, c) true
#else
#define knows(i, c) has(vector[i], c)
#endif

/* By its JOIN, or by the vector of another message, a replica learns of a new incarnation. */
inline hear_of_crash(i, c)
{
    d_step {
        c < crashes && life[i] == UP && who[c] != i && life[who[c]] != DEAD && !knows(i, c) ->
        learn_crash(i, c);
    }
}

#ifdef BREAK_JOIN_BEFORE_FENCED
#define is_fenced(i) true
#else
#define is_fenced(i) (fence[i] == QUIET)
#endif
#define recovers(c, phase) (c < crashes && life[who[c]] == phase && is_last(c))
#if CRASHES > 1
#define is_last(c) (c == 1 || crashes == 1 || who[1] != who[0])
#else
#define is_last(c) true
#endif

/* What an answer tells of other crashes: who joined before its own does not count any more. */
inline merge_vector(i, c)
{
    for (e : 0 .. CRASHES - 1) {
        if
        :: has(vector[i], e) && !has(vector[who[c]], e) ->
            vector[who[c]] = vector[who[c]] | one(e);
            joined[c] = joined[c] & ~one(who[e]);
        :: else
        fi
    }
    skip
}

inline adopt_promise(from, to)
{
#ifndef BREAK_FORGET_PROMISE
    if
    :: promised[from] > promised[to] -> promised[to] = promised[from]
    :: else
    fi
#else
    skip
#endif
}

/* Answers JOIN: recorded, its writers fenced and drained. */
inline join(i, c)
{
    d_step {
        recovers(c, JOINING) && life[i] == UP && who[c] != i && !has(joined[c], i) && knows(i, c) &&
            is_fenced(i) ->
        merge_vector(i, c);
        adopt_promise(i, who[c]);
        joined[c] = joined[c] | one(i);
        if
        :: size(joined[c]) >= RECOVERY_WANTED -> life[who[c]] = PAGING
        :: else
        fi
        paged[c] = paged[c] | one(i); /* nothing is asked of whom had nothing */
        for (k : 0 .. SLOTS - 1) {
            if
            :: accepted[at(i, k)] != 0 -> paged[c] = paged[c] & ~one(i)
            :: else
            fi
        }
        skip
    }
}

/* A page of what is accepted by now; per slot the highest ballot. */
inline page(i, c)
{
    d_step {
        recovers(c, PAGING) && life[i] == UP && has(joined[c], i) && !has(paged[c], i) ->
        merge_vector(i, c);
#ifndef BREAK_PAGE_PROMISE
        adopt_promise(i, who[c]);
#endif
        for (k : 0 .. SLOTS - 1) {
            if
            :: accepted[at(i, k)] > accepted[at(who[c], k)] ->
                accepted[at(who[c], k)] = accepted[at(i, k)]
            :: else
            fi
        }
        paged[c] = paged[c] | one(i);
        life[who[c]] = (size(joined[c]) >= RECOVERY_WANTED -> PAGING : JOINING);
    }
}

#ifdef BREAK_RECOVER_WITHOUT_VALUES
#define has_values(c) true
#else
#define has_values(c) (size(joined[c] & paged[c]) >= RECOVERY_WANTED)
#endif

inline finish(i, c)
{
    d_step {
        recovers(c, PAGING) && who[c] == i && has_values(c) ->
        nothing_above_promise(i);
        life[i] = UP;
        joined[c] = 0;
        paged[c] = 0;
        fence[i] = (promised[i] != 0 -> DRAINED : QUIET);
        end_fence(i);
        never_lost();
    }
}

/* ---- who takes which steps: any that is possible */


#if SLOTS > 1
#define EACH_SLOT(step, ...) :: step(__VA_ARGS__, 0) :: step(__VA_ARGS__, 1)
#else
#define EACH_SLOT(step, ...) :: step(__VA_ARGS__, 0)
#endif
#if CRASHES > 1
#define EACH_CRASH(step, i)   :: step(i, 0) :: step(i, 1)
#define EACH_VECTOR(step, ...) \
    :: step(__VA_ARGS__, 0) :: step(__VA_ARGS__, 1) :: step(__VA_ARGS__, 2) :: step(__VA_ARGS__, 3)
#elif CRASHES > 0
#define EACH_CRASH(step, i)    :: step(i, 0)
#define EACH_VECTOR(step, ...) :: step(__VA_ARGS__, 0) :: step(__VA_ARGS__, 1)
#else
#define EACH_CRASH(step, i)
#define EACH_VECTOR(step, ...) :: step(__VA_ARGS__, 0)
#endif
#define EACH_ACCEPTED(i, b, from, slot) EACH_VECTOR(receive_accepted, i, b, from, slot)
#if SLOTS > 1
#define SLOT_STEPS(i, b, from) EACH_ACCEPTED(i, b, from, 0) EACH_ACCEPTED(i, b, from, 1)
#else
#define SLOT_STEPS(i, b, from) EACH_ACCEPTED(i, b, from, 0)
#endif

#if RINGS != 0
#define RING_STEPS(i)            :: close_word(i) :: drain(i) :: drain_closed(i) :: fenced(i)
#define STORE_STEPS(i, b)        EACH_SLOT(land, i, b)
#define WRITTEN_STEPS(i, b, to)  EACH_SLOT(written, i, b, to)
#else
#define RING_STEPS(i)
#define STORE_STEPS(i, b)
#define WRITTEN_STEPS(i, b, to)
#endif

#define PEER_STEPS(i, b, from) \
    EACH_VECTOR(receive_promise, i, b, from) SLOT_STEPS(i, b, from) WRITTEN_STEPS(i, b, from)
#if REPLICAS > 3
#define PEERS_STEPS(i, b)                                                         \
    PEER_STEPS(i, b, 0) PEER_STEPS(i, b, 1) PEER_STEPS(i, b, 2) PEER_STEPS(i, b, 3) \
    PEER_STEPS(i, b, 4)
#else
#define PEERS_STEPS(i, b) PEER_STEPS(i, b, 0) PEER_STEPS(i, b, 1) PEER_STEPS(i, b, 2)
#endif

#define BALLOT_STEPS(i, b)                                                                    \
    :: campaign(i, b) :: receive_prepare(i, b) :: prepare_again(i, b) :: lead(i, b)            \
    EACH_SLOT(propose, i, b) EACH_SLOT(accept_value, i, b) STORE_STEPS(i, b) PEERS_STEPS(i, b)

#if CRASHES > 0
#define CRASH_STEPS(i)                                                                        \
    :: crash(i) :: restart(i) EACH_CRASH(hear_of_crash, i) EACH_CRASH(join, i)                 \
    EACH_CRASH(page, i) EACH_CRASH(finish, i)
#else
#define CRASH_STEPS(i)
#endif

proctype replica(byte i)
{
    do
    BALLOT_STEPS(i, 1)
#if BALLOTS > 1
    BALLOT_STEPS(i, 2)
#endif
#if BALLOTS > 2
    BALLOT_STEPS(i, 3)
#endif
    RING_STEPS(i)
    CRASH_STEPS(i)
    od
}

init
{
    atomic {
#ifdef ESTABLISHED
        d_step {
            state[1] = LEADER;
            for (k : 0 .. REPLICAS - 1) {
                promised[k] = 1;
#if RINGS != 0
                if
                :: k != 0 && has_ring(k) ->
                    grant[k] = generation(1, 0);
                    granted[peer(1, k)] = generation(1, 0);
                :: else
                fi
#endif
            }
            skip
        }
#endif
        for (k : 0 .. REPLICAS - 1) {
            run replica(k);
        }
        skip
    }
}
