#include "perf/plot.h"

#include <math.h>
#include <string.h>

/* Pixels: the drawing, and the frame within it. */
#define WIDTH  960
#define HEIGHT 572
#define LEFT   84
#define RIGHT  830
#define TOP    104
#define BOTTOM 504

static const char style[] =
    "<style>\n"
    "  text { font-family: 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif;"
    " font-size: 13px; fill: #374151; }\n"
    "  .title { font-size: 20px; font-weight: 600; fill: #111827; }\n"
    "  .subtitle { font-size: 13px; fill: #4b5563; }\n"
    "  .axis { font-size: 13px; fill: #4b5563; }\n"
    "  .name { font-size: 13px; font-weight: 600; }\n"
    "  .note { font-size: 12px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px;"
    " stroke-linejoin: round; }\n"
    "</style>\n";

static void put_text(FILE *out, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
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

static double fraction(const struct tr_perf_axis *axis, double at)
{
    double f = (at - axis->low) / (axis->high - axis->low);
    return f < 0 ? 0 : f > 1 ? 1 : f;
}

static double x_of(const struct tr_perf_plot *plot, double at)
{
    return LEFT + fraction(&plot->x, at) * (RIGHT - LEFT);
}

static double y_of(const struct tr_perf_plot *plot, double at)
{
    return BOTTOM - fraction(&plot->y, at) * (BOTTOM - TOP);
}

static void put_label(FILE *out, double x, double y, const char *anchor, const char *kind,
                      const char *color, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\"", x, y, anchor, kind);
    if (color != NULL)
        fprintf(out, " style=\"fill:%s\"", color);
    fputc('>', out);
    put_text(out, text);
    fputs("</text>\n", out);
}

static void put_grid(FILE *out, double x1, double y1, double x2, double y2, bool is_minor)
{
    fprintf(out, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"%s\" stroke-width=\"1\"/>\n", x1, y1,
            x2, y2, is_minor ? "#f3f4f6" : "#dfe3e8");
}

static void put_axes(FILE *out, const struct tr_perf_plot *plot)
{
    for (uint32_t i = 0; i < plot->x.tick_count; i++) {
        const struct tr_perf_tick *tick = &plot->x.ticks[i];
        double x = x_of(plot, tick->at);
        put_grid(out, x, TOP, x, BOTTOM, tick->label[0] == '\0');
        put_label(out, x, BOTTOM + 20, "middle", "axis", NULL, tick->label);
    }
    for (uint32_t i = 0; i < plot->y.tick_count; i++) {
        const struct tr_perf_tick *tick = &plot->y.ticks[i];
        double y = y_of(plot, tick->at);
        put_grid(out, LEFT, y, RIGHT, y, tick->label[0] == '\0');
        put_label(out, LEFT - 10, y + 4.5, "end", "axis", NULL, tick->label);
    }
    fprintf(out, "<path d=\"M%d %dH%d\" stroke=\"#9ca3af\" stroke-width=\"1.2\"/>\n", LEFT, BOTTOM,
            RIGHT);
    put_label(out, (LEFT + RIGHT) / 2.0, BOTTOM + 46, "middle", "axis", NULL, plot->x.title);
    put_label(out, LEFT - 10, TOP - 16, "end", "axis", NULL, plot->y.title);
}

static void put_line(FILE *out, const struct tr_perf_plot *plot, const struct tr_perf_line *line)
{
    if (line->point_count == 0)
        return;
    fprintf(out,
            "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2.4\" stroke-linejoin=\"round\""
            " stroke-linecap=\"round\"%s d=\"",
            line->color, line->is_dashed ? " stroke-dasharray=\"7 5\"" : "");
    for (uint32_t i = 0; i < line->point_count; i++)
        fprintf(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', x_of(plot, line->points[i].x),
                y_of(plot, line->points[i].y));
    fputs("\"/>\n", out);
    for (uint32_t i = 0; line->has_marks && i < line->point_count; i++)
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\" fill=\"%s\"/>\n",
                x_of(plot, line->points[i].x), y_of(plot, line->points[i].y), line->color);
}

/* Names stand right of the frame at the height of their line's end, pushed apart where they touch.
 */
static void put_names(FILE *out, const struct tr_perf_plot *plot)
{
    const double apart = 18;
    double at[16];
    uint32_t count = plot->line_count < 16 ? plot->line_count : 16;
    bool is_put[16] = {false};
    double floor_y = TOP;
    for (uint32_t i = 0; i < count; i++) {
        const struct tr_perf_line *line = &plot->lines[i];
        at[i] = line->point_count ? y_of(plot, line->points[line->point_count - 1].y) : BOTTOM;
    }
    /* From the top down; at most 16 lines. */
    for (uint32_t turn = 0; turn < count; turn++) {
        uint32_t highest = count;
        for (uint32_t i = 0; i < count; i++)
            if (!is_put[i] && (highest == count || at[i] < at[highest]))
                highest = i;
        is_put[highest] = true;
        double y = at[highest] > floor_y ? at[highest] : floor_y;
        floor_y = y + apart;
        put_label(out, RIGHT + 12, y + 4.5, "start", "name", plot->lines[highest].color,
                  plot->lines[highest].name);
    }
}

static void put_notes(FILE *out, const struct tr_perf_plot *plot)
{
    for (uint32_t i = 0; i < plot->note_count; i++) {
        const struct tr_perf_note *note = &plot->notes[i];
        double x = x_of(plot, note->x);
        double y = y_of(plot, note->y);
        fprintf(out,
                "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#ffffff\" stroke=\"%s\""
                " stroke-width=\"2\"/>\n",
                x, y, note->color);
        put_label(out, x, note->is_below ? y + 20 : y - 11, x - LEFT < 40 ? "start" : "middle",
                  "note", note->color, note->text);
    }
}

void tr_perf_plot_write(FILE *out, const struct tr_perf_plot *plot)
{
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\""
            " viewBox=\"0 0 %d %d\" role=\"img\">\n<title>",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    put_text(out, plot->title);
    fprintf(out, "</title>\n%s<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", style, WIDTH,
            HEIGHT);
    put_label(out, 24, 36, "start", "title", NULL, plot->title);
    put_label(out, 24, 58, "start", "subtitle", NULL, plot->subtitle);
    put_axes(out, plot);
    for (uint32_t i = 0; i < plot->line_count; i++)
        put_line(out, plot, &plot->lines[i]);
    put_names(out, plot);
    put_notes(out, plot);
    fputs("</svg>\n", out);
}

void tr_perf_text_of_ns(char *text, size_t bytes, double ns)
{
    if (fabs(ns) < 999.5)
        snprintf(text, bytes, "%.0f ns", ns);
    else if (fabs(ns) < 9995)
        snprintf(text, bytes, "%.2f us", ns / 1e3);
    else if (fabs(ns) < 999500)
        snprintf(text, bytes, "%.1f us", ns / 1e3);
    else if (fabs(ns) < 999.5e6)
        snprintf(text, bytes, "%.2f ms", ns / 1e6);
    else
        snprintf(text, bytes, "%.2f s", ns / 1e9);
}

void tr_perf_text_of_rate(char *text, size_t bytes, double per_s)
{
    if (per_s < 999.5)
        snprintf(text, bytes, "%.0f", per_s);
    else if (per_s < 999500)
        snprintf(text, bytes, "%.1f k", per_s / 1e3);
    else
        snprintf(text, bytes, "%.2f M", per_s / 1e6);
}

static void add_tick(struct tr_perf_axis *axis, double at, const char *label)
{
    if (axis->tick_count == TR_PERF_TICKS_MAX || at < axis->low - 1e-9 || at > axis->high + 1e-9)
        return;
    axis->ticks[axis->tick_count].at = at;
    snprintf(axis->ticks[axis->tick_count].label, sizeof(axis->ticks[0].label), "%s", label);
    axis->tick_count++;
}

/* "100 ns", "1 us": a power of ten from 1 ns. */
static void label_of_decade(char *text, size_t bytes, int decade)
{
    static const char *const unit[] = {"ns", "us", "ms", "s"};
    static const char *const count[] = {"1", "10", "100"};
    int u = decade / 3 < 3 ? decade / 3 : 3;
    if (decade < 12)
        snprintf(text, bytes, "%s %s", count[decade % 3], unit[u]);
    else
        snprintf(text, bytes, "1e%d s", decade - 9);
}

void tr_perf_axis_of_ns(struct tr_perf_axis *axis, double low_ns, double high_ns)
{
    char label[16];
    low_ns = low_ns < 1 ? 1 : low_ns;
    high_ns = high_ns < low_ns * 2 ? low_ns * 2 : high_ns;
    axis->low = log10(low_ns);
    axis->high = log10(high_ns);
    axis->tick_count = 0;
    int first = (int)floor(axis->low);
    int last = (int)ceil(axis->high);
    for (int decade = first; decade <= last; decade++) {
        label_of_decade(label, sizeof(label), decade);
        add_tick(axis, decade, label);
        /* Within three decades the steps between them have room for a label too. */
        for (int step = 2; step < 10 && last - first <= 3; step++) {
            bool is_labelled = (step == 2 || step == 5) && axis->high - axis->low < 1.6;
            tr_perf_text_of_ns(label, sizeof(label), step * pow(10, decade));
            add_tick(axis, decade + log10(step), is_labelled ? label : "");
        }
    }
}
