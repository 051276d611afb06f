#include "tests/lin/draw.h"
#include "tests/lin/memory.h"

#include <stdlib.h>
#include <string.h>

/* Pixels. */
#define LEFT        90
#define TOP         112
#define ROW         52
#define BAR         40
#define STEP        16  /* between two columns, at least */
#define LETTER      7.3 /* of a bar's words */
#define PADDING     14
#define EDGE        24
#define WIDTH_LEAST 760

struct picture {
    FILE *out;
    const struct tr_lin_view *view;
    double *x; /* of the columns */
};

static const char style[] =
    "<style>\n"
    "  text { font-family: 'DejaVu Sans', Helvetica, Arial, sans-serif; font-size: 13px;"
    " fill: #374151; }\n"
    "  .title { font-size: 17px; font-weight: 600; fill: #111827; }\n"
    "  .bar { font-family: 'DejaVu Sans Mono', monospace; font-size: 12px; fill: #111827; }\n"
    "  .state { font-family: 'DejaVu Sans Mono', monospace; font-size: 10.5px; fill: #4b5563; }\n"
    "</style>\n";

static void put_words(FILE *out, const char *words)
{
    for (const char *at = words; *at != '\0'; at++) {
        if (*at == '<')
            fputs("&lt;", out);
        else if (*at == '>')
            fputs("&gt;", out);
        else if (*at == '&')
            fputs("&amp;", out);
        else
            fputc(*at, out);
    }
}

static void put_label(FILE *out, double x, double y, const char *kind, const char *words)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, kind);
    put_words(out, words);
    fputs("</text>\n", out);
}

/* The two lines of a bar: the operation; its turn in the order and the state after it. */
static void label(const struct picture *p, const struct tr_lin_item *item,
                  char upper[TR_LIN_WORDS_BYTES], char lower[TR_LIN_ORIGIN_BYTES])
{
    const struct tr_lin_part *part = &p->view->failure->part;
    char state[TR_LIN_WORDS_BYTES];
    tr_lin_words_of_op(part->model, part->values, &part->ops[item->op], upper);
    lower[0] = '\0';
    if (item->op == p->view->failure->stuck) {
        snprintf(lower, TR_LIN_ORIGIN_BYTES, "no order explains it");
    } else if (item->turn != 0) {
        tr_lin_words_of_state(part->model, part->values, item->state, state);
        snprintf(lower, TR_LIN_ORIGIN_BYTES, "%u: %s", item->turn, state);
    }
}

/* Columns as near as the words in the bars allow. */
static void place_columns(struct picture *p)
{
    const struct tr_lin_view *view = p->view;
    p->x = tr_lin_make(view->column_count, sizeof(*p->x));
    for (uint32_t column = 0; column < view->column_count; column++) {
        double x = column > 0 ? p->x[column - 1] + STEP : LEFT;
        for (uint32_t i = 0; i < view->item_count; i++) {
            const struct tr_lin_item *item = &view->items[i];
            char upper[TR_LIN_WORDS_BYTES];
            char lower[TR_LIN_ORIGIN_BYTES];
            if (item->last != column)
                continue;
            label(p, item, upper, lower);
            size_t length = strlen(upper) > strlen(lower) ? strlen(upper) : strlen(lower);
            double least = p->x[item->first] + (double)length * LETTER + PADDING;
            x = x > least ? x : least;
        }
        p->x[column] = x;
    }
}

static double y_of(uint32_t row)
{
    return TOP + row * ROW;
}

static void put_bar(const struct picture *p, const struct tr_lin_item *item)
{
    const struct tr_lin_view *view = p->view;
    double x = p->x[item->first];
    double width = p->x[item->last] - x - 2;
    double y = y_of(item->row);
    bool is_stuck = item->op == view->failure->stuck;
    bool is_open = item->last == view->column_count - 1;
    const char *fill = is_stuck ? "#fecaca" : item->turn != 0 ? "#dbeafe" : "#f3f4f6";
    const char *stroke = is_stuck ? "#dc2626" : item->turn != 0 ? "#3b82f6" : "#9ca3af";
    fprintf(p->out,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"4\" fill=\"%s\""
            " stroke=\"%s\" stroke-width=\"%s\"%s/>\n",
            x, y, width, BAR, fill, stroke, is_stuck ? "2" : "1",
            is_open ? " stroke-dasharray=\"5 3\"" : "");
    char upper[TR_LIN_WORDS_BYTES];
    char lower[TR_LIN_ORIGIN_BYTES];
    label(p, item, upper, lower);
    put_label(p->out, x + 7, y + 17, "bar", upper);
    put_label(p->out, x + 7, y + 33, "state", lower);
}

static int compare_turns(const void *a, const void *b)
{
    const struct tr_lin_item *x = *(const struct tr_lin_item *const *)a;
    const struct tr_lin_item *y = *(const struct tr_lin_item *const *)b;
    return x->turn < y->turn ? -1 : x->turn > y->turn;
}

/* Where the operations of the order may have taken effect, in that order, or 0 for those not in it.
 * Owns: the caller frees it. */
static double *points_of(const struct picture *p, const struct tr_lin_item **items)
{
    const struct tr_lin_view *view = p->view;
    double *points = tr_lin_make(view->item_count, sizeof(*points));
    double x = 0;
    for (uint32_t i = 0; i < view->item_count; i++) {
        double begin = p->x[items[i]->first] + 3;
        double end = p->x[items[i]->last] - 4;
        if (items[i]->turn == 0)
            continue;
        x = x + 3 > begin ? x + 3 : begin;
        x = x < end ? x : end;
        points[i] = x;
    }
    return points;
}

/* The line that joins the points of the order, behind the bars; then the points, in them. */
static void put_bars(const struct picture *p)
{
    const struct tr_lin_view *view = p->view;
    const struct tr_lin_item **items =
        tr_lin_make(view->item_count, sizeof(const struct tr_lin_item *));
    for (uint32_t i = 0; i < view->item_count; i++)
        items[i] = &view->items[i];
    qsort(items, view->item_count, sizeof(*items), compare_turns);
    double *points = points_of(p, items);
    const char *move = "M";
    fputs("<path fill=\"none\" stroke=\"#bfdbfe\" stroke-width=\"1.5\" d=\"M0 0", p->out);
    for (uint32_t i = 0; i < view->item_count; i++) {
        if (points[i] > 0) {
            fprintf(p->out, "%s%.1f %.1f", move, points[i], y_of(items[i]->row) + BAR / 2.0);
            move = "L";
        }
    }
    fputs("\"/>\n", p->out);
    for (uint32_t i = 0; i < view->item_count; i++) {
        put_bar(p, items[i]);
        if (points[i] > 0)
            fprintf(p->out, "<path stroke=\"#1d4ed8\" stroke-width=\"2\" d=\"M%.1f %.1fV%.1f\"/>\n",
                    points[i], y_of(items[i]->row), y_of(items[i]->row) + BAR);
    }
    free(points);
    free(items);
}

static void put_head(const struct picture *p)
{
    const struct tr_lin_failure *failure = p->view->failure;
    const struct tr_lin_part *part = &failure->part;
    char key[TR_LIN_WORDS_BYTES];
    char op[TR_LIN_WORDS_BYTES];
    char words[TR_LIN_ORIGIN_BYTES + TR_LIN_WORDS_BYTES];
    tr_lin_words_of_key(part->values, failure->key, key);
    tr_lin_words_of_op(part->model, part->values, &part->ops[failure->stuck], op);
    snprintf(words, sizeof(words), "Key %s is not linearizable: no order explains %s of client %u",
             key, op, part->ops[failure->stuck].client);
    put_label(p->out, 20, 32, "title", words);
    tr_lin_draw_origin(failure, words);
    put_label(p->out, 20, 54, "", words);
    put_label(
        p->out, 20, 76, "",
        "Blue, numbered: an order that explains everything that ended before, with the state after "
        "each. Grey: not in it.");
    put_label(p->out, 20, 96, "", "Dashed: not ended yet.");
}

static void put_rows(const struct picture *p, double width)
{
    for (uint32_t row = 0; row < p->view->row_count; row++) {
        char name[32];
        snprintf(name, sizeof(name), "client %u", p->view->clients[row]);
        put_label(p->out, 20, y_of(row) + 25, "", name);
        fprintf(p->out, "<path d=\"M20 %.1fH%.1f\" stroke=\"#e5e7eb\"/>\n",
                y_of(row) + BAR + (ROW - BAR) / 2.0, width - 20);
    }
}

void tr_lin_draw_svg(FILE *out, const struct tr_lin_view *view)
{
    struct picture p = {.out = out, .view = view};
    place_columns(&p);
    double width = p.x[view->column_count - 1] + EDGE;
    width = width > WIDTH_LEAST ? width : WIDTH_LEAST;
    double height = y_of(view->row_count) + EDGE;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\">\n%s"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
            width, height, style);
    put_head(&p);
    put_rows(&p, width);
    put_bars(&p);
    fputs("</svg>\n", out);
    free(p.x);
}
