/* trireme-lin: whether histories are linearizable. */
#include "tests/lin/draw.h"
#include "tests/lin/read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What the tool ends with; with several files the worst. */
enum status { GOOD = 0, BAD = 1, WRONG = 2, GAVE_UP = 3 };

struct arguments {
    const struct tr_lin_model *model;
    struct tr_lin_limits limits;
    const char *svg;
    const char **files;
    int file_count;
};

static void usage(FILE *out)
{
    fputs(
        "usage: trireme-lin [--model NAME] [--svg FILE] [--memory-mib N] [--steps N] HISTORY...\n\n"
        "Says of each history (- is the standard input) whether it is linearizable, and draws\n"
        "where it is not. Reads Trireme's format (tests/lin/README.md), Jepsen's logs of a "
        "register and\n"
        "Porcupine's key-value histories.\n\n"
        "  --model NAME    instead of the one that the history names\n"
        "  --svg FILE      also draw the failing part as a picture\n"
        "  --memory-mib N  give a key up when its search needs more (1024)\n"
        "  --steps N       give a key up after so many operations tried (200000000)\n"
        "  --help          this text\n\n"
        "Models:\n",
        out);
    for (const struct tr_lin_model *model = tr_lin_models; model->name != NULL; model++)
        fprintf(out, "  %-10s %s\n", model->name, model->doc);
    fputs("\nEnds with 0: linearizable; 1: not; 3: given up, unknown; 2: wrong arguments or no "
          "history.\n",
          out);
}

static int wrong(const char *what, const char *which)
{
    fprintf(stderr, "trireme-lin: %s%s; see --help\n", what, which);
    return WRONG;
}

static bool read_count(const char *text, uint64_t most, uint64_t *count)
{
    char *end;
    errno = 0;
    *count = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && errno == 0 && *end == '\0' && *count <= most;
}

/* Takes an option with its value. Returns GOOD or WRONG. */
static int take_option(struct arguments *a, const char *name, const char *value)
{
    uint64_t count;
    if (value == NULL)
        return wrong("a value is missing after ", name);
    if (strcmp(name, "--model") == 0) {
        a->model = tr_lin_model_find(value);
        return a->model != NULL ? GOOD : wrong("no model ", value);
    }
    if (strcmp(name, "--svg") == 0) {
        a->svg = value;
        return GOOD;
    }
    bool is_memory = strcmp(name, "--memory-mib") == 0;
    if (!is_memory && strcmp(name, "--steps") != 0)
        return wrong("no option ", name);
    if (!read_count(value, UINT64_MAX >> 20, &count))
        return wrong("not a number: ", value);
    if (is_memory)
        a->limits.memory_bytes = count << 20;
    else
        a->limits.step_count = count;
    return GOOD;
}

static int parse(struct arguments *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0) {
            a->files[a->file_count++] = argv[i];
            continue;
        }
        int status = take_option(a, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (status != GOOD)
            return status;
        i++;
    }
    return a->file_count > 0 ? GOOD : wrong("no history was named", "");
}

static int draw(const struct arguments *a, const struct tr_lin_failure *failure)
{
    struct tr_lin_view view;
    tr_lin_view_make(&view, failure);
    tr_lin_draw_text(stdout, &view);
    int status = BAD;
    FILE *file = a->svg != NULL ? fopen(a->svg, "w") : NULL;
    if (file != NULL) {
        tr_lin_draw_svg(file, &view);
        if (fclose(file) != 0)
            status = wrong("cannot write ", a->svg);
    } else if (a->svg != NULL) {
        status = wrong("cannot write ", a->svg);
    }
    tr_lin_view_release(&view);
    return status;
}

static int judge(const struct arguments *a, const char *path)
{
    static const char *const verdicts[] = {"linearizable", "not linearizable", "unknown, gave up"};
    char error[TR_LIN_ERROR_BYTES];
    struct tr_lin_history history;
    struct tr_lin_report report;
    if (!tr_lin_read_file(path, a->model, &history, error)) {
        fprintf(stderr, "trireme-lin: %s: %s\n", path, error);
        return WRONG;
    }
    tr_lin_check(&history, &a->limits, &report);
    printf("%s: %s (model %s, %zu operations, %zu keys", path, verdicts[report.verdict],
           history.model->name, history.count, report.key_count);
    if (report.bad_count > 0)
        printf(", %zu not linearizable", report.bad_count);
    if (report.unknown_count > 0)
        printf(", %zu given up", report.unknown_count);
    printf(", %" PRIu64 " steps)\n", report.step_count);
    int status = GOOD;
    if (report.verdict == TR_LIN_NOT_LINEARIZABLE)
        status = draw(a, &report.failure);
    else if (report.verdict == TR_LIN_UNKNOWN)
        status = GAVE_UP;
    tr_lin_report_release(&report);
    tr_lin_history_release(&history);
    return status;
}

int main(int argc, char **argv)
{
    /* From the best to the worst. */
    static const int order[] = {[GOOD] = 0, [GAVE_UP] = 1, [BAD] = 2, [WRONG] = 3};
    struct arguments a = {.limits = tr_lin_limits_default()};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return GOOD;
        }
    }
    a.files = calloc((size_t)argc + 1, sizeof(*a.files));
    if (a.files == NULL)
        return wrong("out of memory", "");
    int status = parse(&a, argc, argv);
    if (status == GOOD) {
        for (int i = 0; i < a.file_count; i++) {
            int one = judge(&a, a.files[i]);
            status = order[one] > order[status] ? one : status;
        }
    }
    free(a.files);
    return status;
}
