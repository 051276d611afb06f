/* Reads histories: Trireme's own format (README.md beside this), the logs of Jepsen's register
 * tests, and the maps of the key-value histories that Porcupine is tested with. */
#ifndef TR_LIN_READ_H
#define TR_LIN_READ_H

#include "tests/lin/model.h"

TR_BEGIN_C

#define TR_LIN_ERROR_BYTES 200

/* Reads a text into a history, which it begins. The format is told by its first line. A model, or
 * NULL for the one that the text names or its format has. Returns false with a sentence in error,
 * and no history, if the text is none. Owns: the caller releases the history. */
bool tr_lin_read_text(const char *text, const struct tr_lin_model *model,
                      struct tr_lin_history *history, char error[TR_LIN_ERROR_BYTES]);
/* The same of a file; "-" is the standard input. */
bool tr_lin_read_file(const char *path, const struct tr_lin_model *model,
                      struct tr_lin_history *history, char error[TR_LIN_ERROR_BYTES]);

TR_END_C

#endif
