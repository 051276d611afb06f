/* The command line of trireme-perf: one table of options makes the parser, --help and the checks.
 */
#ifndef TR_PERF_OPTIONS_H
#define TR_PERF_OPTIONS_H

#include "perf/crew.h"
#include "perf/slice.h"

#include <stdio.h>

TR_BEGIN_C

enum tr_perf_command {
    TR_PERF_FLOOR = 0,
    TR_PERF_LATENCY = 1,
    TR_PERF_THROUGHPUT = 2,
    TR_PERF_SWEEP = 3,
    TR_PERF_NODE = 4,
    TR_PERF_INSTRUCTIONS = 5,
    TR_PERF_MEMORY = 6,
    TR_PERF_COMMANDS = 7,
};

enum tr_perf_one_sided {
    TR_PERF_ONE_SIDED_AUTO = 0, /* on where the driver can */
    TR_PERF_ONE_SIDED_ON = 1,
    TR_PERF_ONE_SIDED_OFF = 2,
};

enum tr_perf_client {
    TR_PERF_CLIENT_LOCAL = 0,  /* a session of the leader's node */
    TR_PERF_CLIENT_REMOTE = 1, /* trireme/client.h, over the same driver */
};

/* Interfaces that join replicas of this machine over the driver dpdk. */
enum tr_perf_veth {
    TR_PERF_VETH_OFF = 0, /* none: memif, or the devices of --driver-options */
    TR_PERF_VETH_PACKET = 1,
    TR_PERF_VETH_XDP = 2,
};

#define TR_PERF_TEXT_MAX 256

/* What was asked. Defaults that depend on the command are filled in by tr_perf_options_parse. */
struct tr_perf_options {
    enum tr_perf_command command;
    char driver[TR_PERF_TEXT_MAX];
    char driver_options[TR_PERF_TEXT_MAX];
    uint64_t replicas;
    uint64_t size_bytes;
    uint64_t window;
    uint64_t batch;
    double seconds;
    uint64_t pairs;
    int cores[TR_PERF_WORKERS_MAX + 1]; /* the load and leader's, then one a follower thread */
    uint32_t core_count;
    uint64_t idle;      /* enum tr_idle */
    uint64_t one_sided; /* enum tr_perf_one_sided */
    uint64_t client;    /* enum tr_perf_client */
    uint64_t veth;      /* enum tr_perf_veth */
    uint64_t mode;      /* enum tr_perf_mode */
    double rate;        /* commands a second, open loop; 0: not given */
    uint64_t log_bytes; /* of each replica's log */
    uint64_t points;    /* sweep: loads */
    uint64_t processes; /* 1: the followers are processes */
    uint64_t stopped;   /* 1: the engine's followers stand still while it is loaded */
    uint64_t variants;  /* 1: print each variant of the floor */
    uint64_t node;      /* own id in a cluster of several machines; 0: all replicas are here */
    char peers[1024];   /* ID=ADDRESS,...; without `node` those of replicas that are all here */
    uint64_t verbose;   /* 1: the engine's log goes to stderr */
    char json[TR_PERF_TEXT_MAX];
    char hgrm[TR_PERF_TEXT_MAX];
    char svg[TR_PERF_TEXT_MAX];
};

enum tr_perf_parsed {
    TR_PERF_PARSED_RUN = 0,   /* go on */
    TR_PERF_PARSED_HELP = 1,  /* --help or --version was asked for and printed */
    TR_PERF_PARSED_ERROR = 2, /* `error` says what is wrong and what to do */
};

/* Parses argv. Prints to `out` when help is asked for. */
enum tr_perf_parsed tr_perf_options_parse(int argc, char **argv, struct tr_perf_options *options,
                                          FILE *out, char *error, size_t error_bytes);

/* The name of a command as it is typed. */
const char *tr_perf_command_name(enum tr_perf_command command);

TR_END_C

#endif
