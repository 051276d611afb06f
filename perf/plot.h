/* Draws lines over two axes as one SVG file, dark on light, with nothing from outside of the file.
 * Positions are given by the caller on scales of its choice; the plot knows only where a value lies
 * between an axis' ends. */
#ifndef TR_PERF_PLOT_H
#define TR_PERF_PLOT_H

#include "base/types.h"

#include <stdio.h>

TR_BEGIN_C

#define TR_PERF_TICKS_MAX 32

/* A line across the plot at a position of an axis, with its label; minor ones have none. */
struct tr_perf_tick {
    double at;
    char label[16]; /* empty: a minor tick */
};

struct tr_perf_axis {
    const char *title;
    double low, high; /* positions at the ends; low < high */
    uint32_t tick_count;
    struct tr_perf_tick ticks[TR_PERF_TICKS_MAX];
};

struct tr_perf_point {
    double x, y;
};

/* One line. Its name stands beside its last point. */
struct tr_perf_line {
    const char *name;
    const char *color; /* of SVG */
    bool is_dashed;
    bool has_marks; /* a dot at each point */
    const struct tr_perf_point *points;
    uint32_t point_count;
};

/* A point that is worth a label. */
struct tr_perf_note {
    double x, y;
    const char *color;
    char text[48];
    bool is_below; /* the text stands below the point, not above */
};

struct tr_perf_plot {
    const char *title;
    const char *subtitle;
    struct tr_perf_axis x, y;
    const struct tr_perf_line *lines;
    uint32_t line_count;
    const struct tr_perf_note *notes;
    uint32_t note_count;
};

/* Colours of the lines: the engine's are strong, the floor's is grey. */
#define TR_PERF_COLOR_ENGINE "#0b5cad"
#define TR_PERF_COLOR_P99    "#c2410c"
#define TR_PERF_COLOR_P999   "#9d174d"
#define TR_PERF_COLOR_FLOOR  "#6b7280"

/* Writes the whole file. */
void tr_perf_plot_write(FILE *out, const struct tr_perf_plot *plot);

/* Ticks of a logarithmic axis of nanoseconds between two powers of ten (of log10): a label at each
 * power, minor ticks at 2 to 9 times it where they fit. */
void tr_perf_axis_of_ns(struct tr_perf_axis *axis, double low_ns, double high_ns);

/* A duration for people: "640 ns", "9.86 us", "1.2 ms". */
void tr_perf_text_of_ns(char *text, size_t bytes, double ns);
/* A rate for people: "980", "17.6 k", "11.73 M". */
void tr_perf_text_of_rate(char *text, size_t bytes, double per_s);

TR_END_C

#endif
