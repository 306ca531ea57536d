/* test.h - a test framework of one page. Include it before flow.h: it puts its own allocator and
 * its own assertion under the library, so that every test also watches for leaks.
 *
 *     #include "test.h"
 *     #define FLOW_IMPLEMENTATION
 *     #include "flow.h"
 *
 *     int main(void) {
 *         test_section("random numbers");
 *         TEST(x < 1);
 *         TEST_NEAR(sum, 1.0, 1e-12);
 *         return test_done();
 *     }
 *
 * A failure prints its line and goes on; the last line is "N passed, N failed". C99 and C++11. */
#ifndef TEST_H
#define TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *section;
    int passed, failed;
    long live;      /* blocks taken and not given back */
    long bytes;     /* in all blocks taken so far */
    long countdown; /* the allocation that fails: 1 is the next, 0 none */
    int refused;    /* an allocation has failed since test_alloc_fail_at */
    int trapping;   /* inside TEST_ASSERT_TRIPS */
    jmp_buf trap;
} test_state; /* static, so all zero at the start */

static inline void test_section(const char *name) {
    test_state.section = name;
}

/* The first failures are told in full; a thousandth line helps nobody. */
static inline int test_check(int ok, const char *what, const char *file, int line) {
    if (ok) {
        test_state.passed++;
    } else if (++test_state.failed <= 20) {
        printf("%s:%d: [%s] %s\n", file, line, test_state.section ? test_state.section : "", what);
    }
    return ok;
}

/* A NaN is near nothing; an infinity is near itself only, hence the first comparison. */
static inline int test_close(double got, double want, double tol) {
    return (got >= want && got <= want) || fabs(got - want) <= tol;
}

static inline void test_near(double got, double want, double tol, const char *what,
                             const char *file, int line) {
    if (!test_check(test_close(got, want, tol), what, file, line) && test_state.failed <= 20)
        printf("    got %.17g, want %.17g, off by %.3g, allowed %.3g\n", got, want,
               fabs(got - want), tol);
}

static inline void test_equal(long long got, long long want, const char *what, const char *file,
                              int line) {
    if (!test_check(got == want, what, file, line) && test_state.failed <= 20)
        printf("    got %lld, want %lld\n", got, want);
}

/* TEST(x > 0)                      a condition
 * TEST_NEAR(got, want, tol)        |got - want| <= tol; NaN fails
 * TEST_NEAR_ALL(got, want, n, tol) the same for n numbers each; tells of the first that is wrong
 * TEST_EQ_INT(got, want)           whole numbers
 * TEST_ERR(call, FLOW_E_SINGULAR)  the code that a call returns; FLOW_OK for success */
#define TEST(condition) test_check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)
#define TEST_NEAR(got, want, tol) \
    test_near((double)(got), (double)(want), (double)(tol), #got " near " #want, __FILE__, __LINE__)
#define TEST_NEAR_ALL(got, want, n, tol) \
    do { \
        int test_i = 0; \
        while (test_i < (n) - 1 && \
               test_close((double)(got)[test_i], (double)(want)[test_i], (double)(tol))) \
            test_i++; \
        if ((n) > 0) \
            test_near((double)(got)[test_i], (double)(want)[test_i], (double)(tol), \
                      #got " near " #want, __FILE__, __LINE__); \
    } while (0)
#define TEST_EQ_INT(got, want) \
    test_equal((long long)(got), (long long)(want), #got " == " #want, __FILE__, __LINE__)
#define TEST_ERR(call, code) \
    test_equal((long long)(call), (long long)(code), #call " returns " #code, __FILE__, __LINE__)

/* ---- memory that fails on request ------------------------------------------------------------ */

/* The k-th allocation from now fails, once; k = 0: none does. */
static inline void test_alloc_fail_at(long k) {
    test_state.countdown = k;
    test_state.refused = 0;
}

/* The size stands before each block, and behind it a fence that nobody may write: test_free looks.
 * Its words are huge as doubles and signalling NaNs as floats: no arithmetic leaves them as they
 * are. Sanitizers and valgrind see more without it. */
#if defined(TEST_NO_FILL) || defined(__SANITIZE_ADDRESS__)
#define TEST_FENCE 0
#elif defined(__has_feature)
#define TEST_FENCE (__has_feature(address_sanitizer) ? 0 : 32)
#else
#define TEST_FENCE 32
#endif
#define TEST_HEAD 16

/* Sets the fence that begins at p, or says whether it stands. */
static inline int test_fence(unsigned char *p, int set) {
    static const unsigned word = 0x7FA00000u;
    int i;
    for (i = 0; i < TEST_FENCE; i += (int)sizeof word) {
        if (set) memcpy(p + i, &word, sizeof word);
        else if (memcmp(p + i, &word, sizeof word) != 0) return 0;
    }
    return 1;
}

static inline void *test_malloc(size_t size) {
    unsigned char *head;
    if (test_state.countdown > 0 && --test_state.countdown == 0) {
        test_state.refused = 1;
        return NULL;
    }
    head = (unsigned char *)malloc(TEST_HEAD + size + TEST_FENCE);
    if (!head) return NULL;
    memcpy(head, &size, sizeof size);
    test_fence(head + TEST_HEAD + size, 1);
#ifndef TEST_NO_FILL
    /* all ones is a NaN: numbers never written show in the results */
    memset(head + TEST_HEAD, 0xFF, size);
#endif
    test_state.live++;
    test_state.bytes += (long)size;
    return head + TEST_HEAD;
}

static inline void test_free(void *memory) {
    unsigned char *head;
    size_t size;
    if (!memory) return;
    head = (unsigned char *)memory - TEST_HEAD;
    memcpy(&size, head, sizeof size);
    if (!test_fence(head + TEST_HEAD + size, 0))
        test_check(0, "something was written behind a block", __FILE__, __LINE__);
    test_state.live--;
    free(head);
}

/* Runs call again and again, its first, second, ... allocation failing, until none is left to
 * fail. Each failure must return FLOW_E_MEMORY and leave no memory taken; then success must
 * return FLOW_OK or more, after which undo gives its memory back:
 *     TEST_EVERY_ALLOC(flow_mixture_init(&m, w, mean, cov, 2, 2), flow_mixture_free(&m)); */
#define TEST_EVERY_ALLOC(call, undo) \
    do { \
        const long test_live = test_state.live; \
        int test_error; \
        long test_k = 0; \
        do { \
            test_alloc_fail_at(++test_k); \
            test_error = (call); \
            test_state.countdown = 0; \
            if (!test_state.refused) break; \
            TEST_ERR(test_error, FLOW_E_MEMORY); \
            TEST_EQ_INT(test_state.live, test_live); \
        } while (test_error < 0 && test_k < 100000); \
        TEST(test_k > 1); /* it did ask for memory */ \
        TEST(test_error >= 0); \
        undo; \
        TEST_EQ_INT(test_state.live, test_live); \
    } while (0)

/* ---- assertions that can be tested ----------------------------------------------------------- */

static inline void test_tripped(const char *condition, const char *file, int line) {
    if (test_state.trapping) longjmp(test_state.trap, 1);
    printf("%s:%d: assertion tripped: %s\n", file, line, condition);
    printf("%d passed, %d failed\n", test_state.passed, test_state.failed + 1);
    exit(1);
}

/* GCC warns that longjmp may spoil locals changed since setjmp; the macro changes none. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wclobbered"
#endif

/* Passes when the statements trip a FLOW_ASSERT. What they had allocated by then is lost, so let
 * them do nothing but the one wrong call: TEST_ASSERT_TRIPS(flow_rng_below(&rng, 0)); */
#define TEST_ASSERT_TRIPS(...) \
    do { \
        test_state.trapping = 1; \
        if (setjmp(test_state.trap) == 0) { \
            __VA_ARGS__; \
            test_state.trapping = 0; \
        } \
        test_check(test_state.trapping, "no assertion in: " #__VA_ARGS__, __FILE__, __LINE__); \
        test_state.trapping = 0; \
    } while (0)

#ifndef FLOW_MALLOC
#define FLOW_MALLOC(size) test_malloc(size)
#define FLOW_FREE(memory) test_free(memory)
#endif
#ifndef FLOW_ASSERT
#define FLOW_ASSERT(condition) \
    ((condition) ? (void)0 : test_tripped(#condition, __FILE__, __LINE__))
#endif

/* ---- the rest -------------------------------------------------------------------------------- */

/* Where a test may write: $TEST_DIR/name, or build/tests/name. The text is overwritten by the
 * next call but three. */
static inline const char *test_path(const char *name) {
    static char paths[4][512];
    static int next = 0;
    const char *folder = getenv("TEST_DIR");
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder ? folder : "build/tests", name);
    return path;
}

/* The last line, and main's exit status. Memory still taken is a failure. */
static inline int test_done(void) {
    test_section("at the end");
    TEST_EQ_INT(test_state.live, 0);
    if (test_state.failed > 20) printf("... and %d more\n", test_state.failed - 20);
    printf("%d passed, %d failed\n", test_state.passed, test_state.failed);
    return test_state.failed ? 1 : 0;
}

#endif /* TEST_H */
