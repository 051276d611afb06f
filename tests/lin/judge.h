// What the checker says of a text.
#ifndef TR_LIN_JUDGE_H
#define TR_LIN_JUDGE_H

#include "tests/lin/check.h"
#include "tests/lin/read.h"

#include <ostream>
#include <string>

inline std::ostream &operator<<(std::ostream &out, tr_lin_verdict verdict)
{
    static const char *const names[] = {"linearizable", "not linearizable", "unknown"};
    return out << names[verdict];
}

namespace lin
{

// Reads and checks. The history and the report are released at the end.
class judgement
{
  public:
    explicit judgement(const std::string &text, tr_lin_limits limits = tr_lin_limits_default())
    {
        is_read = tr_lin_read_text(text.c_str(), nullptr, &history, error);
        if (is_read)
            tr_lin_check(&history, &limits, &report);
    }
    ~judgement()
    {
        if (is_read) {
            tr_lin_report_release(&report);
            tr_lin_history_release(&history);
        }
    }
    judgement(const judgement &) = delete;
    judgement &operator=(const judgement &) = delete;

    bool is_read = false;
    char error[TR_LIN_ERROR_BYTES] = "";
    tr_lin_history history = {};
    tr_lin_report report = {};
};

} // namespace lin

#endif
