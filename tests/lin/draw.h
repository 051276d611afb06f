/* Draws where a history gets stuck, as text and as a picture. */
#ifndef TR_LIN_DRAW_H
#define TR_LIN_DRAW_H

#include "tests/lin/view.h"
#include "tests/lin/words.h"

#include <stdio.h>

TR_BEGIN_C

#define TR_LIN_ORIGIN_BYTES (2 * TR_LIN_WORDS_BYTES)

/* Writes the end of the order that explains the most, the operation that it cannot, and a timeline.
 */
void tr_lin_draw_text(FILE *out, const struct tr_lin_view *view);

/* Writes the same as an SVG document. */
void tr_lin_draw_svg(FILE *out, const struct tr_lin_view *view);

/* Says in a sentence where the value that was read could have come from; the empty one where that
 * cannot be told by looking at single operations. */
void tr_lin_draw_origin(const struct tr_lin_failure *failure, char words[TR_LIN_ORIGIN_BYTES]);

TR_END_C

#endif
