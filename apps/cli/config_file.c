/* Configuration files, read with inih. */
#include "option.h"

#include <errno.h>
#include <ini.h>
#include <string.h>

/* A file while it is read. */
struct reading {
    const struct cli_options *options;
    void *config;
    const char *path;
    char error[512]; /* the first one */
};

static int fail_unknown(struct reading *reading, const char *key)
{
    const char *nearest = cli_option_nearest(reading->options, key);
    if (nearest != NULL)
        snprintf(reading->error, sizeof(reading->error), "unknown key '%s'; did you mean '%s'?",
                 key, nearest);
    else
        snprintf(reading->error, sizeof(reading->error),
                 "unknown key '%s'; trireme %s --help lists them", key, reading->options->command);
    return 0;
}

/* One line of the file. Returns 1, or 0 when it is wrong. */
static int take_line(void *context, const char *section, const char *key, const char *value)
{
    struct reading *reading = context;
    if (reading->error[0] != '\0')
        return 0;
    if (section[0] != '\0' && strcmp(section, reading->options->command) != 0) {
        snprintf(reading->error, sizeof(reading->error),
                 "unknown section [%s]; the keys of this command go under [%s] or under none",
                 section, reading->options->command);
        return 0;
    }
    const struct cli_option *row = cli_option_find(reading->options, key);
    if (row == NULL)
        return fail_unknown(reading, key);
    if (strcmp(key, "config") == 0) {
        snprintf(reading->error, sizeof(reading->error),
                 "a configuration file cannot name another one");
        return 0;
    }
    return cli_option_set(row, reading->config, value != NULL ? value : "", key, reading->error,
                          sizeof(reading->error));
}

int cli_options_load(const struct cli_options *options, const char *path, void *config, char *error,
                     size_t error_bytes)
{
    struct reading reading = {.options = options, .config = config, .path = path};
    int line = ini_parse(path, take_line, &reading);
    if (line == 0)
        return 1;
    if (line < 0)
        snprintf(error, error_bytes, "--config: cannot read '%s': %s", path, strerror(errno));
    else if (reading.error[0] == '\0')
        snprintf(error, error_bytes, "%s:%d: not 'key = value'", path, line);
    else
        snprintf(error, error_bytes, "%s:%d: %s", path, line, reading.error);
    return 0;
}
