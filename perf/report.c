#include "perf/report.h"

#include "perf/hgrm.h"
#include "perf/json.h"
#include "perf/plot.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Room for what a run's driver is called. */
#define DRIVER_TEXT_MAX (TR_PERF_TEXT_MAX + 32)

/* Percentiles of the table, in millionths. */
static const struct {
    const char *name;
    uint32_t ppm;
} percentiles[] = {{"p50", 500000}, {"p99", 990000}, {"p99.9", 999000}, {"p99.99", 999900}};

/* The driver and how it is used: "shm one-sided", "dpdk over AF_XDP". */
static const char *driver_text(char text[DRIVER_TEXT_MAX], const struct tr_perf_run *run)
{
    static const char *const ways[] = {"", " over AF_PACKET", " over AF_XDP"};
    if (run->floor != NULL && run->floor->table->name != NULL)
        return run->floor->table->name;
    snprintf(text, DRIVER_TEXT_MAX, "%s%s%s", run->options->driver, ways[run->options->veth],
             run->is_one_sided ? " one-sided" : "");
    return text;
}

static void cores_text(char *text, size_t bytes, const struct tr_perf_run *run)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i <= run->workers && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%d", i ? "," : "",
                                 run->options->cores[i]);
}

void tr_perf_report_text(char *text, size_t bytes, const struct tr_perf_run *run,
                         const struct tr_perf_pairs *pairs)
{
    const struct tr_perf_options *o = run->options;
    char cores[64];
    char load[64];
    char driver[DRIVER_TEXT_MAX];
    cores_text(cores, sizeof(cores), run);
    if (pairs->offer.mode == TR_PERF_OPEN)
        snprintf(load, sizeof(load), "open loop, %.0f/s", pairs->offer.rate);
    else
        snprintf(load, sizeof(load), "closed loop, window %u", pairs->offer.window);
    snprintf(text, bytes,
             "%s, %" PRIu64 " replicas, %" PRIu64 " B, %s, batch %" PRIu64
             ", memory; CPUs %s%s, %s; %u pairs of %.2f s",
             driver_text(driver, run), o->replicas, o->size_bytes, load, o->batch, cores,
             o->processes ? " (processes)" : "", tr_perf_idle_name(run->idle), pairs->count,
             pairs->offer.slice_seconds);
}

static void put_ns(FILE *out, bool is_there, double ns)
{
    char text[24] = "-";
    if (is_there)
        tr_perf_text_of_ns(text, sizeof(text), ns);
    fprintf(out, " %12s", text);
}

static void put_rate(FILE *out, bool is_there, double per_s)
{
    char text[24] = "-";
    if (is_there)
        tr_perf_text_of_rate(text, sizeof(text), per_s);
    fprintf(out, " %12s", text);
}

static void put_ratio(FILE *out, bool is_there, double ratio)
{
    if (is_there)
        fprintf(out, " %8.3f", ratio);
    else
        fprintf(out, " %8s", "-");
}

/* One percentile of both histograms, all slices together. */
static void print_percentile(FILE *out, const char *name, const struct tr_perf_pairs *p,
                             uint32_t ppm)
{
    bool has_engine = p->engine.count > 0;
    bool has_floor = p->floor.count > 0;
    bool has_both = has_engine && has_floor;
    double engine = (double)tr_histogram_percentile_ns(&p->engine, ppm);
    double floor = (double)tr_histogram_percentile_ns(&p->floor, ppm);
    fprintf(out, "  %-12s", name);
    put_ns(out, has_engine, engine);
    put_ns(out, has_floor, floor);
    put_ns(out, has_both, engine - floor);
    put_ratio(out, has_both && floor > 0, floor > 0 ? engine / floor : 0);
    fputc('\n', out);
}

static double per_s(uint64_t commands, double seconds)
{
    return seconds > 0 ? (double)commands / seconds : 0;
}

/* The medians over the pairs, which are the run's result, with their quartiles. */
static void print_medians(FILE *out, const struct tr_perf_comparison *c)
{
    char low[24], high[24], median[24];
    tr_perf_text_of_ns(median, sizeof(median), c->difference_ns.median);
    tr_perf_text_of_ns(low, sizeof(low), c->difference_ns.low);
    tr_perf_text_of_ns(high, sizeof(high), c->difference_ns.high);
    fprintf(out, "medians over the pairs, in brackets their quartiles:\n");
    fprintf(out, "  p50          engine - floor %s [%s .. %s]\n", median, low, high);
    fprintf(out, "  p50          engine / floor %.3f [%.3f .. %.3f]\n", c->ratio_p50.median,
            c->ratio_p50.low, c->ratio_p50.high);
    fprintf(out, "  commands/s   engine / floor %.3f [%.3f .. %.3f]\n", c->ratio_per_s.median,
            c->ratio_per_s.low, c->ratio_per_s.high);
}

/* Of slots committed and followers: a write is one of them, unless it was done twice or a ring came
 * round. 0: nothing was committed. */
static double per_follower_slot(const struct tr_perf_engine_result *result, uint64_t count)
{
    double writes = (double)result->slots * (result->replicas - 1);
    return writes > 0 ? (double)count / writes : 0;
}

/* What a device was asked to do, where the driver hands its writes to one. */
static void print_writes(FILE *out, const struct tr_perf_engine_result *result)
{
    const struct tr_port_stats *p = &result->port;
    if (p->write_requests == 0)
        return;
    fprintf(out,
            "%" PRIu64 " slots: %.3f writes, %.3f work requests, %.3f doorbells a slot and "
            "follower; %" PRIu64 " bytes copied, %" PRIu64 " writes broken\n",
            result->slots, per_follower_slot(result, p->writes),
            per_follower_slot(result, p->write_requests),
            per_follower_slot(result, p->write_doorbells), p->write_copied_bytes, p->writes_broken);
}

static void print_machine(FILE *out, const struct tr_perf_run *run,
                          const struct tr_perf_pairs *pairs)
{
    char cpu[128];
    tr_perf_cpu_model(cpu, sizeof(cpu));
    fprintf(out, "%s; steal %.2f %%, load average %.2f at the start", cpu, pairs->steal * 100,
            pairs->load_average);
    if (run->floor != NULL)
        fprintf(out, "; floor: %s", run->floor->table->variants[run->variant].name);
    fputc('\n', out);
    if (run->options->client == TR_PERF_CLIENT_REMOTE)
        fprintf(out, "client to client: the engine's figures contain the client's two messages, "
                     "the floor is that of the quorum alone\n");
    if (pairs->load_average > 1)
        fprintf(out, "warning: others use these CPUs; the figures are noise\n");
    if (run->is_interrupted)
        fprintf(out, "interrupted: %u pairs were complete\n", pairs->count);
}

void tr_perf_report_print(FILE *out, const struct tr_perf_run *run,
                          const struct tr_perf_findings *findings)
{
    const struct tr_perf_pairs *pairs = findings->pairs;
    const struct tr_perf_engine_result *result = findings->result;
    char text[512];
    bool has_engine = result != NULL;
    bool has_floor = run->floor != NULL;
    tr_perf_report_text(text, sizeof(text), run, pairs);
    fprintf(out, "%s\n  %-12s %12s %12s %12s %8s\n", text, "", "engine", "floor", "difference",
            "ratio");
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(percentiles); i++)
        print_percentile(out, percentiles[i].name, pairs, percentiles[i].ppm);
    print_percentile(out, "max", pairs, 1000000);
    double engine = per_s(pairs->engine_commands, pairs->engine_seconds);
    double floor = per_s(pairs->floor_commands, pairs->floor_seconds);
    fprintf(out, "  %-12s", "commands/s");
    put_rate(out, has_engine, engine);
    put_rate(out, has_floor, floor);
    put_rate(out, false, 0);
    put_ratio(out, has_engine && has_floor, floor > 0 ? engine / floor : 0);
    fputc('\n', out);
    if (has_engine && has_floor)
        print_medians(out, &pairs->comparison);
    if (pairs->unsent > 0)
        fprintf(out, "%" PRIu64 " commands were due and could not be submitted: overload\n",
                pairs->unsent);
    if (has_engine)
        fprintf(out,
                "%u replicas %s after %" PRIu64 " commands (digest %016" PRIx64 "); %" PRIu64
                " log wraps, %" PRIu64 " snapshots, %" PRIu64 " elections, %u one-sided peers\n",
                result->replicas, result->are_digests_equal ? "equal" : "DIFFER", result->commands,
                result->digest, result->log_wraps, result->snapshots_made, result->elections,
                result->one_sided_peers);
    if (has_engine)
        print_writes(out, result);
    print_machine(out, run, pairs);
}

void tr_perf_report_variants(FILE *out, const struct tr_perf_run *run,
                             const struct tr_perf_offer *offer)
{
    const struct tr_perf_floor_table *table = run->floor->table;
    char driver[DRIVER_TEXT_MAX];
    fprintf(out, "variants of the %s floor, %s %u, the best of %d slices each:\n",
            driver_text(driver, run), offer->mode == TR_PERF_OPEN ? "open loop, window" : "window",
            offer->window, TR_PERF_CHOICE_ROUNDS);
    fprintf(out, "    %-40s %12s %12s\n", "", "p50", "commands/s");
    for (uint32_t i = 0; i < table->variant_count; i++) {
        const struct tr_perf_floor_variant *v = &table->variants[i];
        fprintf(out, "  %c %-40s", i == run->variant ? '*' : ' ', v->name);
        put_ns(out, true, run->variants[i].p50_ns);
        put_rate(out, true, run->variants[i].per_s);
        fprintf(out, "%s\n", v->is_floor ? "" : "   (less than the definition: never used)");
    }
}

void tr_perf_report_sweep(FILE *out, const struct tr_perf_load_point *points, uint32_t count)
{
    fprintf(out, "  %12s %12s %12s %12s %12s %12s %12s\n", "offered/s", "completed/s", "p50", "p99",
            "p99.9", "max", "floor p50");
    for (uint32_t i = 0; i < count; i++) {
        const struct tr_perf_load_point *p = &points[i];
        fputc(' ', out);
        put_rate(out, true, p->offered_per_s);
        put_rate(out, true, p->completed_per_s);
        put_ns(out, true, (double)p->p50_ns);
        put_ns(out, true, (double)p->p99_ns);
        put_ns(out, true, (double)p->p999_ns);
        put_ns(out, true, (double)p->max_ns);
        put_ns(out, p->floor_p50_ns > 0, (double)p->floor_p50_ns);
        fprintf(out, "%s\n", p->is_saturated ? "  saturated" : "");
    }
}

static void put_quartiles(struct tr_perf_json *json, const char *key,
                          const struct tr_perf_quartiles *q)
{
    tr_perf_json_open_object(json, key);
    tr_perf_json_number(json, "least", q->least);
    tr_perf_json_number(json, "low", q->low);
    tr_perf_json_number(json, "median", q->median);
    tr_perf_json_number(json, "high", q->high);
    tr_perf_json_number(json, "most", q->most);
    tr_perf_json_close_object(json);
}

/* What was asked for. */
static void put_question(struct tr_perf_json *json, const struct tr_perf_run *run,
                         const struct tr_perf_pairs *pairs)
{
    static const char *const veths[] = {"off", "packet", "xdp"};
    const struct tr_perf_options *o = run->options;
    char text[512];
    tr_perf_json_text(json, "command", tr_perf_command_name(o->command));
    tr_perf_json_text(json, "driver", o->driver);
    tr_perf_json_flag(json, "one_sided", run->is_one_sided);
    tr_perf_json_text(json, "veth", veths[o->veth]);
    tr_perf_json_text(json, "client", o->client == TR_PERF_CLIENT_REMOTE ? "remote" : "local");
    tr_perf_json_integer(json, "replicas", o->replicas);
    tr_perf_json_integer(json, "size_bytes", o->size_bytes);
    tr_perf_json_text(json, "durability", "memory");
    tr_perf_json_integer(json, "window", pairs->offer.window);
    tr_perf_json_integer(json, "batch", o->batch);
    tr_perf_json_text(json, "mode", pairs->offer.mode == TR_PERF_OPEN ? "open" : "closed");
    if (pairs->offer.mode == TR_PERF_OPEN)
        tr_perf_json_number(json, "rate", pairs->offer.rate);
    else
        tr_perf_json_null(json, "rate");
    tr_perf_json_flag(json, "processes", o->processes != 0);
    cores_text(text, sizeof(text), run);
    tr_perf_json_text(json, "cores", text);
    tr_perf_cpu_model(text, sizeof(text));
    tr_perf_json_text(json, "cpu", text);
    tr_perf_json_text(json, "idle", tr_perf_idle_name(run->idle));
    tr_perf_json_text(json, "version", tr_version());
}

/* The side whose latencies are the run's: the engine, in the floor command the floor. */
static void put_latencies(struct tr_perf_json *json, const struct tr_histogram *h)
{
    static const char *const keys[] = {"p50_ns", "p99_ns", "p999_ns", "p9999_ns"};
    for (uint32_t i = 0; i < TR_ARRAY_COUNT(keys); i++)
        tr_perf_json_integer(json, keys[i], tr_histogram_percentile_ns(h, percentiles[i].ppm));
    tr_perf_json_integer(json, "max_ns", tr_histogram_max_ns(h));
}

static void put_answer(struct tr_perf_json *json, const struct tr_perf_run *run,
                       const struct tr_perf_pairs *p, bool has_engine)
{
    uint64_t commands = has_engine ? p->engine_commands : p->floor_commands;
    double seconds = has_engine ? p->engine_seconds : p->floor_seconds;
    tr_perf_json_integer(json, "commands", commands);
    tr_perf_json_number(json, "seconds", seconds);
    tr_perf_json_number(json, "commands_per_s", per_s(commands, seconds));
    put_latencies(json, has_engine ? &p->engine : &p->floor);
    if (run->floor != NULL) {
        tr_perf_json_number(json, "floor_p50_ns", p->comparison.floor_p50_ns.median);
        tr_perf_json_number(json, "floor_per_s", p->comparison.floor_per_s.median);
        tr_perf_json_text(json, "floor_variant", run->floor->table->variants[run->variant].name);
    } else {
        tr_perf_json_null(json, "floor_p50_ns");
        tr_perf_json_null(json, "floor_per_s");
    }
    if (run->floor != NULL && has_engine) {
        tr_perf_json_number(json, "difference_p50_ns", p->comparison.difference_ns.median);
        tr_perf_json_number(json, "ratio_p50", p->comparison.ratio_p50.median);
        tr_perf_json_number(json, "ratio_throughput", p->comparison.ratio_per_s.median);
    } else {
        tr_perf_json_null(json, "ratio_p50");
        tr_perf_json_null(json, "ratio_throughput");
    }
    tr_perf_json_integer(json, "pairs", p->count);
    tr_perf_json_number(json, "steal", p->steal);
    tr_perf_json_number(json, "load_average", p->load_average);
    tr_perf_json_flag(json, "interrupted", run->is_interrupted);
}

static void put_details(struct tr_perf_json *json, const struct tr_perf_pairs *p,
                        const struct tr_perf_engine_result *result)
{
    tr_perf_json_open_object(json, "quartiles");
    put_quartiles(json, "floor_p50_ns", &p->comparison.floor_p50_ns);
    put_quartiles(json, "engine_p50_ns", &p->comparison.engine_p50_ns);
    put_quartiles(json, "difference_p50_ns", &p->comparison.difference_ns);
    put_quartiles(json, "ratio_p50", &p->comparison.ratio_p50);
    put_quartiles(json, "floor_per_s", &p->comparison.floor_per_s);
    put_quartiles(json, "engine_per_s", &p->comparison.engine_per_s);
    put_quartiles(json, "ratio_throughput", &p->comparison.ratio_per_s);
    tr_perf_json_close_object(json);
    if (result == NULL)
        return;
    char digest[24];
    snprintf(digest, sizeof(digest), "%016" PRIx64, result->digest);
    tr_perf_json_text(json, "digest", digest);
    tr_perf_json_flag(json, "digests_equal", result->are_digests_equal);
    tr_perf_json_integer(json, "commands_applied", result->commands);
    tr_perf_json_integer(json, "unsent", p->unsent);
    tr_perf_json_integer(json, "log_wraps", result->log_wraps);
    tr_perf_json_integer(json, "elections", result->elections);
    tr_perf_json_integer(json, "one_sided_peers", result->one_sided_peers);
    tr_perf_json_integer(json, "slots", result->slots);
    tr_perf_json_integer(json, "writes", result->port.writes);
    tr_perf_json_integer(json, "write_requests", result->port.write_requests);
    tr_perf_json_integer(json, "write_doorbells", result->port.write_doorbells);
    tr_perf_json_integer(json, "write_copied_bytes", result->port.write_copied_bytes);
    tr_perf_json_integer(json, "writes_broken", result->port.writes_broken);
    tr_perf_json_number(json, "requests_per_follower_slot",
                        per_follower_slot(result, result->port.write_requests));
    tr_perf_json_number(json, "doorbells_per_follower_slot",
                        per_follower_slot(result, result->port.write_doorbells));
}

static void put_points(struct tr_perf_json *json, const struct tr_perf_load_point *points,
                       uint32_t count)
{
    tr_perf_json_open_array(json, "points");
    for (uint32_t i = 0; i < count; i++) {
        const struct tr_perf_load_point *p = &points[i];
        tr_perf_json_open_object(json, NULL);
        tr_perf_json_number(json, "offered_per_s", p->offered_per_s);
        tr_perf_json_number(json, "completed_per_s", p->completed_per_s);
        tr_perf_json_integer(json, "p50_ns", p->p50_ns);
        tr_perf_json_integer(json, "p99_ns", p->p99_ns);
        tr_perf_json_integer(json, "p999_ns", p->p999_ns);
        tr_perf_json_integer(json, "max_ns", p->max_ns);
        tr_perf_json_integer(json, "floor_p50_ns", p->floor_p50_ns);
        tr_perf_json_integer(json, "floor_p99_ns", p->floor_p99_ns);
        tr_perf_json_flag(json, "saturated", p->is_saturated);
        tr_perf_json_close_object(json);
    }
    tr_perf_json_close_array(json);
}

static void put_memory(struct tr_perf_json *json, const char *key, const struct tr_perf_memory *m)
{
    tr_perf_json_open_object(json, key);
    tr_perf_json_integer(json, "resident_bytes", m->resident);
    tr_perf_json_integer(json, "huge_page_bytes", m->huge_pages);
    tr_perf_json_integer(json, "shared_bytes", m->shared);
    tr_perf_json_integer(json, "log_wraps", m->log_wraps);
    tr_perf_json_integer(json, "commands", m->commands);
    tr_perf_json_close_object(json);
}

static const char *title_of(enum tr_perf_command command)
{
    switch (command) {
    case TR_PERF_SWEEP:
        return "Latency against offered load";
    case TR_PERF_FLOOR:
        return "The floor of a quorum";
    case TR_PERF_LATENCY:
    case TR_PERF_THROUGHPUT:
    case TR_PERF_NODE:
    case TR_PERF_INSTRUCTIONS:
    case TR_PERF_MEMORY:
    case TR_PERF_COMMANDS:
        break;
    }
    return "Submit to completion of a replicated command";
}

static void write_svg(FILE *file, const struct tr_perf_run *run,
                      const struct tr_perf_findings *findings)
{
    char title[128 + DRIVER_TEXT_MAX];
    char driver[DRIVER_TEXT_MAX];
    char text[512];
    snprintf(title, sizeof(title), "%s, %s", title_of(run->options->command),
             driver_text(driver, run));
    tr_perf_report_text(text, sizeof(text), run, findings->pairs);
    if (findings->points != NULL)
        tr_perf_chart_sweep(file, title, text, findings->points, findings->point_count);
    else
        tr_perf_chart_percentiles(file, title, text, &findings->pairs->engine,
                                  &findings->pairs->floor);
}

static void write_hgrm(FILE *file, const struct tr_perf_run *run,
                       const struct tr_perf_findings *findings)
{
    tr_perf_hgrm_write(file,
                       run->engine != NULL ? &findings->pairs->engine : &findings->pairs->floor);
}

static void write_json(FILE *file, const struct tr_perf_run *run,
                       const struct tr_perf_findings *findings)
{
    struct tr_perf_json json = tr_perf_json_begin(file);
    put_question(&json, run, findings->pairs);
    put_answer(&json, run, findings->pairs, findings->result != NULL);
    put_details(&json, findings->pairs, findings->result);
    if (findings->points != NULL)
        put_points(&json, findings->points, findings->point_count);
    if (findings->memory != NULL) {
        put_memory(&json, "memory_first_wrap", &findings->memory[0]);
        put_memory(&json, "memory_last_wrap", &findings->memory[1]);
    }
    tr_perf_json_end(&json);
}

/* Writes one file by one of the functions above; nothing when the path is empty. */
static int
write_file(const char *path, const struct tr_perf_run *run, const struct tr_perf_findings *findings,
           void (*write)(FILE *, const struct tr_perf_run *, const struct tr_perf_findings *),
           char *error, size_t error_bytes)
{
    if (path[0] == '\0')
        return TR_OK;
    FILE *file = fopen(path, "w");
    bool is_bad = file == NULL;
    if (file != NULL) {
        write(file, run, findings);
        is_bad = ferror(file) != 0;
        is_bad = fclose(file) != 0 || is_bad;
    }
    if (is_bad)
        snprintf(error, error_bytes, "cannot write %s: %s", path, strerror(errno));
    return is_bad ? TR_ESYS : TR_OK;
}

int tr_perf_report_files(const struct tr_perf_run *run, const struct tr_perf_findings *findings,
                         char *error, size_t error_bytes)
{
    const struct tr_perf_options *o = run->options;
    int result = write_file(o->json, run, findings, write_json, error, error_bytes);
    if (result == TR_OK)
        result = write_file(o->hgrm, run, findings, write_hgrm, error, error_bytes);
    if (result == TR_OK)
        result = write_file(o->svg, run, findings, write_svg, error, error_bytes);
    return result;
}
