/* The texts of the error codes. */
#include "trireme/error.h"

const char *tr_strerror(int error)
{
    switch (error) {
#define TR_ERROR_TEXT(name, value, text) \
    case name:                           \
        return text;
        TR_ERROR_TABLE(TR_ERROR_TEXT)
#undef TR_ERROR_TEXT
    }
    return "unknown error code";
}
