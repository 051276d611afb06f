/* trireme: one command with subcommands. */
#include "commands.h"

#include <stdio.h>
#include <string.h>
#include <trireme/trireme.h>

/* A subcommand. */
struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static int version_main(int argc, char **argv);
static int help_main(int argc, char **argv);

static const struct command commands[] = {
    {"kv", "one node of a replicated key-value server that Redis clients talk to", kv_main},
    {"stat", "counters and stage histograms of a running node", stat_main},
    {"version", "the version of the program and of the library", version_main},
    {"help", "this text, or that of a subcommand", help_main},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
    fputs("Usage: trireme SUBCOMMAND [OPTION...]\n"
          "Replicated servers on a log that is kept identical on several machines.\n\n"
          "Subcommands:\n",
          out);
    for (size_t at = 0; at < COMMAND_COUNT; at++)
        fprintf(out, "  %-9s %s\n", commands[at].name, commands[at].summary);
    fputs("\ntrireme SUBCOMMAND --help tells the options of each.\n", out);
}

static const struct command *find_command(const char *name)
{
    for (size_t at = 0; at < COMMAND_COUNT; at++) {
        if (strcmp(commands[at].name, name) == 0)
            return &commands[at];
    }
    return NULL;
}

static int refuse(const char *name)
{
    fprintf(stderr, "trireme: unknown subcommand '%s'; trireme help lists them\n", name);
    return 2;
}

static int version_main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts("Usage: trireme version\nPrints the version of the program and of the library.");
        return 0;
    }
    if (argc > 1) {
        fprintf(stderr, "trireme version: takes no argument, not even '%s'\n", argv[1]);
        return 2;
    }
    printf("trireme %d.%d.%d (library %s)\n", TR_VERSION_MAJOR, TR_VERSION_MINOR, TR_VERSION_PATCH,
           tr_version());
    return 0;
}

static int help_main(int argc, char **argv)
{
    char option[] = "--help";
    if (argc < 2 || argv[1][0] == '-') {
        print_usage(stdout);
        return 0;
    }
    const struct command *command = find_command(argv[1]);
    if (command == NULL)
        return refuse(argv[1]);
    if (command->run == help_main) {
        print_usage(stdout);
        return 0;
    }
    char *arguments[] = {argv[1], option, NULL};
    return command->run(2, arguments);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0)
        return version_main(1, argv + 1);
    const struct command *command = find_command(argv[1]);
    return command == NULL ? refuse(argv[1]) : command->run(argc - 1, argv + 1);
}
