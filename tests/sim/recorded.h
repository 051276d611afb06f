// What clients of the simulated cluster asked and were answered, to be judged as a history of a
// counter: every command adds one to the journal and is told the sum, every read is told the sum.
#ifndef TR_SIM_RECORDED_H
#define TR_SIM_RECORDED_H

#include "tests/lin/draw.h"

#include <cstdlib>
#include <string>

class Recorded
{
  public:
    Recorded()
    {
        tr_lin_history_begin(&history_, tr_lin_model_find("counter"));
    }
    ~Recorded()
    {
        tr_lin_history_release(&history_);
    }
    Recorded(const Recorded &) = delete;
    Recorded &operator=(const Recorded &) = delete;

    // Something is asked. Returns its number.
    size_t begin(uint32_t client, tr_lin_kind kind, uint64_t now_ns)
    {
        tr_lin_op op = {};
        op.client = client;
        op.kind = kind;
        op.argument = kind == TR_LIN_INCR ? 1 : 0;
        op.invoke = static_cast<int64_t>(now_ns);
        op.end = TR_LIN_NEVER;
        op.line = static_cast<uint32_t>(history_.count);
        tr_lin_history_add(&history_, &op);
        return history_.count - 1;
    }

    // The answer came. Without one the outcome is unknown.
    void end(size_t number, uint64_t sum, uint64_t now_ns)
    {
        tr_lin_op &op = history_.ops[number];
        op.end = static_cast<int64_t>(now_ns);
        op.result = sum;
        op.is_result_known = true;
    }

    // Gives the last read that was answered the sum of the first one. Returns whether these are
    // two.
    bool falsify()
    {
        tr_lin_op *first = nullptr;
        tr_lin_op *last = nullptr;
        for (size_t i = 0; i < history_.count; i++) {
            tr_lin_op *op = &history_.ops[i];
            if (op->kind != TR_LIN_GET || !op->is_result_known)
                continue;
            first = first == nullptr ? op : first;
            last = op;
        }
        if (first == last)
            return false;
        last->result = first->result;
        return true;
    }

    // Where the history is not linearizable, drawn; empty if it is.
    std::string complaint()
    {
        tr_lin_limits limits = tr_lin_limits_default();
        tr_lin_report report;
        tr_lin_check(&history_, &limits, &report);
        std::string text = report.verdict == TR_LIN_UNKNOWN ? "the search was given up" : "";
        if (report.verdict == TR_LIN_NOT_LINEARIZABLE)
            text = drawing_of(report.failure);
        tr_lin_report_release(&report);
        return text;
    }

  private:
    static std::string drawing_of(const tr_lin_failure &failure)
    {
        char *text = nullptr;
        size_t bytes = 0;
        FILE *out = open_memstream(&text, &bytes);
        tr_lin_view view;
        tr_lin_view_make(&view, &failure);
        tr_lin_draw_text(out, &view);
        tr_lin_view_release(&view);
        fclose(out);
        std::string drawing(text, bytes);
        std::free(text);
        return drawing;
    }

    tr_lin_history history_;
};

#endif
