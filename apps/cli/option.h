/* Options of a subcommand as one table: its rows make the parser of the command line, of the
 * configuration file, the text of --help and the reference of the manual. */
#ifndef TR_APPS_CLI_OPTION_H
#define TR_APPS_CLI_OPTION_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a value is written, and what it is stored as. */
enum cli_kind {
    CLI_TEXT,   /* any text; char *, owned by the configuration */
    CLI_COUNT,  /* a number; uint64_t */
    CLI_BYTES,  /* a size: 4096, 64KiB, 1MiB, 2GiB; uint64_t, bytes */
    CLI_US,     /* a time: 500, 500us, 2ms, 3s; uint64_t, microseconds */
    CLI_CPU,    /* a CPU number, "near" or "none"; int64_t, these as below */
    CLI_CHOICE, /* one of some words; uint64_t, its index */
    CLI_SWITCH, /* nothing on the command line, "yes" or "no" in a file; uint64_t, 0 or 1 */
};

/* In place of the number of a CPU; as TR_CPU_NEAR and TR_CPU_ANY of trireme/trireme.h. */
#define CLI_CPU_NEAR (-1)
#define CLI_CPU_NONE (-2)

/* Checks a text beyond its kind. Returns NULL, or what is wrong and what to write instead. */
typedef const char *(*cli_check_fn)(const char *text);

/* One option. */
struct cli_option {
    const char *key; /* "log-bytes": --log-bytes on the command line, log-bytes = in a file */
    enum cli_kind kind;
    size_t offset;        /* of the value in the configuration structure */
    const char *fallback; /* as it would be written; NULL: the option must be given */
    uint64_t least, most; /* COUNT, BYTES, US, CPU */
    const char *choices;  /* CHOICE: "auto|off" */
    const char *value;    /* what stands for the value in texts: "BYTES" */
    const char *doc;      /* a sentence or some */
    cli_check_fn check;   /* may be NULL */
};

/* The options of a subcommand. */
struct cli_options {
    const char *command; /* "kv": also the section of its configuration file */
    const char *usage;   /* after "trireme kv" */
    const char *summary; /* one line */
    const char *text;    /* paragraphs of --help before the options */
    const struct cli_option *rows;
    size_t row_count;
};

/* What cli_options_parse found. */
enum cli_result {
    CLI_READY, /* the configuration is complete */
    CLI_HELP,  /* --help was asked for */
    CLI_WRONG  /* `error` says what and what to do */
};

/* Fills a configuration structure, zeroed before: defaults, then the file that --config names, then
 * the command line. argv[0] is the subcommand. `error` gets a sentence.
 * Owns: the texts belong to the configuration; cli_options_release frees them. */
enum cli_result cli_options_parse(const struct cli_options *options, void *config, int argc,
                                  char **argv, char *error, size_t error_bytes);

/* Sets one option from its text. `origin` is put before the error: "--node" or "file:3: node".
 * Returns 1, or 0 with the error. */
int cli_option_set(const struct cli_option *row, void *config, const char *text, const char *origin,
                   char *error, size_t error_bytes);

/* Finds an option by its key. Returns NULL when there is none. */
const struct cli_option *cli_option_find(const struct cli_options *options, const char *key);

/* The key that is most like a wrong one, or NULL when none is. */
const char *cli_option_nearest(const struct cli_options *options, const char *key);

/* Reads a configuration file: "key = value" lines, "#" and ";" comments, optionally under a
 * [section] of the subcommand's name. Returns 1, or 0 with the error. In config_file.c. */
int cli_options_load(const struct cli_options *options, const char *path, void *config, char *error,
                     size_t error_bytes);

/* Frees the texts of a configuration. */
void cli_options_release(const struct cli_options *options, void *config);

/* Prints what --help says. */
void cli_options_print_help(const struct cli_options *options, FILE *out);

/* Prints the reference as a Markdown table, for docs/configuration.md. */
void cli_options_print_markdown(const struct cli_options *options, FILE *out);

/* Prints the reference as scdoc, for the manual page. */
void cli_options_print_scdoc(const struct cli_options *options, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
