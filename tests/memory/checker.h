/* Runs a model as it is, where it must hold, and broken on purpose, where the checker must notice.
 */
#ifndef TR_TESTS_CHECKER_H
#define TR_TESTS_CHECKER_H

#include "model_atomic.h"

#include <cstdio>
#include <iostream>

/* Tries so many schedules, and choices of the memory model, at random (from a fixed seed). Returns:
 * true if no failure was found. */
template <typename Test> bool model_holds(unsigned iterations)
{
    /* The checker's allocator is in force while it prints: only streams that allocate nothing. */
    std::ostream silent(nullptr);
    bool weakened = model_weak.acquire || model_weak.release || model_weak.fence;
    rl::test_params params;
    params.search_type = rl::sched_random;
    params.iteration_count = iterations;
    params.execution_depth_limit = 10000;
    params.output_stream = weakened ? &silent : &std::cout;
    params.progress_stream = &silent;
    rl::simulate<Test>(params);
    return params.test_result == rl::test_result_success;
}

/* Prints and counts one expectation. */
struct model_report {
    unsigned failed = 0;
    unsigned passed = 0;

    void expect(bool as_expected, const char *model, const char *what)
    {
        printf("%s %s: %s\n", as_expected ? "ok" : "FAILED", model, what);
        as_expected ? passed++ : failed++;
    }

    /* The model must hold, and must not hold with a weakness. */
    template <typename Test>
    void check(const char *name, unsigned iterations, bool needs_acquire, bool needs_release,
               bool needs_fence)
    {
        model_weak = {false, false, false};
        expect(model_holds<Test>(iterations), name, "holds in every schedule tried");
        if (needs_acquire) {
            model_weak = {true, false, false};
            expect(!model_holds<Test>(iterations), name, "notices a missing acquire");
        }
        if (needs_release) {
            model_weak = {false, true, false};
            expect(!model_holds<Test>(iterations), name, "notices a missing release");
        }
        if (needs_fence) {
            model_weak = {false, false, true};
            expect(!model_holds<Test>(iterations), name, "notices a missing full fence");
        }
        model_weak = {false, false, false};
    }

    int end() const
    {
        printf("%u passed, %u failed\n", passed, failed);
        return failed != 0;
    }
};

#endif
