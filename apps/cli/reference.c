/* The texts that are made from a table of options: --help, Markdown and scdoc. */
#include "option.h"

#include <string.h>

#define LINE_COLUMNS 80
#define DOC_INDENT   6

static int has_range(const struct cli_option *row)
{
    return row->kind == CLI_COUNT || row->kind == CLI_BYTES || row->kind == CLI_US;
}

/* Prints a limit in the unit of its kind. */
static void print_limit(const struct cli_option *row, uint64_t number, FILE *out)
{
    static const struct {
        enum cli_kind kind;
        uint64_t factor;
        const char *name;
    } units[] = {
        {CLI_BYTES, UINT64_C(1) << 40, "TiB"},
        {CLI_BYTES, UINT64_C(1) << 30, "GiB"},
        {CLI_BYTES, UINT64_C(1) << 20, "MiB"},
        {CLI_BYTES, UINT64_C(1) << 10, "KiB"},
        {CLI_US, 1000000, "s"},
        {CLI_US, 1000, "ms"},
    };
    for (size_t at = 0; at < sizeof(units) / sizeof(units[0]); at++) {
        if (units[at].kind == row->kind && number != 0 && number % units[at].factor == 0) {
            fprintf(out, "%llu%s", (unsigned long long)(number / units[at].factor), units[at].name);
            return;
        }
    }
    fprintf(out, "%llu%s", (unsigned long long)number, row->kind == CLI_US ? "us" : "");
}

/* Prints a text in lines of LINE_COLUMNS, each indented. */
static void print_wrapped(const char *text, size_t indent, FILE *out)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t bytes = strcspn(text, " ");
        if (column == 0 || column + 1 + bytes > LINE_COLUMNS) {
            fprintf(out, "%s%*s", column == 0 ? "" : "\n", (int)indent, "");
            column = indent;
        } else {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)bytes, text);
        column += bytes;
        text += bytes;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_limits(const struct cli_option *row, FILE *out)
{
    print_limit(row, row->least, out);
    fputs(" to ", out);
    print_limit(row, row->most, out);
}

static void print_facts(const struct cli_option *row, FILE *out)
{
    fprintf(out, "%*s(", DOC_INDENT, "");
    if (row->fallback == NULL)
        fputs("must be given", out);
    else if (row->kind == CLI_SWITCH)
        fputs("off unless given", out);
    else
        fprintf(out, "default: %s", row->fallback[0] == '\0' ? "none" : row->fallback);
    if (has_range(row)) {
        fputs("; ", out);
        print_limits(row, out);
    }
    fputs(")\n", out);
}

void cli_options_print_help(const struct cli_options *options, FILE *out)
{
    fprintf(out, "Usage: trireme %s %s\n%s\n\n", options->command, options->usage,
            options->summary);
    if (options->text != NULL)
        fprintf(out, "%s\n", options->text);
    fputs("Options:\n", out);
    for (size_t at = 0; at < options->row_count; at++) {
        const struct cli_option *row = &options->rows[at];
        if (row->kind == CLI_SWITCH)
            fprintf(out, "  --%s\n", row->key);
        else
            fprintf(out, "  --%s %s\n", row->key,
                    row->kind == CLI_CHOICE ? row->choices : row->value);
        print_wrapped(row->doc, DOC_INDENT, out);
        print_facts(row, out);
    }
    fputs("  --help\n      Prints this.\n", out);
}

static void print_escaped(const char *text, const char *special, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (strchr(special, *text) != NULL)
            fputc('\\', out);
        fputc(*text, out);
    }
}

void cli_options_print_markdown(const struct cli_options *options, FILE *out)
{
    fputs("| key | value | default | range | meaning |\n|---|---|---|---|---|\n", out);
    for (size_t at = 0; at < options->row_count; at++) {
        const struct cli_option *row = &options->rows[at];
        fprintf(out, "| `%s` | ", row->key);
        print_escaped(row->kind == CLI_CHOICE   ? row->choices
                      : row->kind == CLI_SWITCH ? "yes|no"
                                                : row->value,
                      "|", out);
        if (row->fallback == NULL)
            fputs(" | must be given | ", out);
        else
            fprintf(out, " | %s | ", row->fallback[0] == '\0' ? "none" : row->fallback);
        if (has_range(row))
            print_limits(row, out);
        fputs(" | ", out);
        print_escaped(row->doc, "|", out);
        fputs(" |\n", out);
    }
}

void cli_options_print_scdoc(const struct cli_options *options, FILE *out)
{
    for (size_t at = 0; at < options->row_count; at++) {
        const struct cli_option *row = &options->rows[at];
        fprintf(out, "*--%s*", row->key);
        if (row->kind != CLI_SWITCH) {
            fputs(" _", out);
            print_escaped(row->kind == CLI_CHOICE ? row->choices : row->value, "_*\\", out);
            fputc('_', out);
        }
        fputs("\n\t", out);
        print_escaped(row->doc, "_*\\#<>[]`~", out);
        if (row->fallback == NULL)
            fputs(" Must be given.", out);
        else if (row->kind != CLI_SWITCH && row->fallback[0] != '\0') {
            fputs(" Default: ", out);
            print_escaped(row->fallback, "_*\\", out);
            fputc('.', out);
        }
        if (has_range(row)) {
            fputs(" Range: ", out);
            print_limits(row, out);
            fputc('.', out);
        }
        fputs("\n\n", out);
    }
}
