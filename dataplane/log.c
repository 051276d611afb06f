/* Formatting of log lines and of the sentences of failing calls. */
#include "dataplane/log.h"

#include <stdarg.h>
#include <stdio.h>

void tr_log(const struct tr_logger *logger, enum tr_log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (logger->write == NULL || level > logger->level)
        return;
    int used = snprintf(line, sizeof(line), "%s: ", logger->name);
    va_start(arguments, format);
    vsnprintf(line + used, sizeof(line) - (size_t)used, format, arguments);
    va_end(arguments);
    logger->write(logger->context, level, line);
}

int tr_fail(int status, char *out, size_t out_bytes, const char *format, ...)
{
    va_list arguments;
    if (out == NULL || out_bytes == 0)
        return status;
    va_start(arguments, format);
    vsnprintf(out, out_bytes, format, arguments);
    va_end(arguments);
    return status;
}
