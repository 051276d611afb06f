/* A library in place of libtrireme, for tests of the server: one group of one machine in this
 * process. The test says when completions come, in which order, and what fails. */
#ifndef TR_TESTS_APPS_FAKE_LIBRARY_H
#define TR_TESTS_APPS_FAKE_LIBRARY_H

#include "apps/kv/machine.h"

#include <cstdint>
#include <deque>
#include <string>
#include <trireme/trireme.h>

/* A command or query in flight. */
struct fake_work {
    std::string data;
    void *user;
    bool is_read;
    tr_session *session;
};

struct tr_session {
    tr_session_options options;
    tr_group *group;
    std::deque<tr_completion> ready;
    std::deque<std::string> replies; /* of the completions of the last poll */
    std::string reserved;
    bool closed;
};

struct tr_group {
    kv_machine machine;
    std::deque<fake_work> work;
    bool held = false;          /* completions wait for release */
    bool reads_first = false;   /* reads overtake commands */
    int fail_status = 0;        /* every command ends so, unexecuted */
    int submit_status = 0;      /* every submission is refused so */
    uint32_t room = UINT32_MAX; /* commands in flight; above it TR_AGAIN */
    uint32_t reply_bytes_max = 2 << 20;
    uint64_t applied = 0, reads = 0, sessions = 0;

    tr_group();
    ~tr_group();
    /* Executes what is in flight, unless it is held. */
    void advance();
};

#endif
