/* 01_random.c - tests of section 1 of flow.h: the generator and what is drawn from it. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define N 20000

/* A generator whose next draw is r: xoshiro256++ returns rotl(s0 + s3, 23) + s0. */
static flow_rng rng_about_to_draw(uint64_t r) {
    flow_rng rng;
    rng.s[0] = 0;
    rng.s[1] = UINT64_C(0x0123456789abcdef);
    rng.s[2] = UINT64_C(0xfedcba9876543210);
    rng.s[3] = (r >> 23) | (r << 41);
    return rng;
}

static const uint64_t last_draw = UINT64_MAX;

/* ---- the generator --------------------------------------------------------------------------- */

/* A wrong constant or shift in splitmix64: its author's outputs for the seeds 0 and 1234567. */
static void test_seeding_by_published_values(void) {
    static const uint64_t zero[4] = {UINT64_C(0xe220a8397b1dcdaf), UINT64_C(0x6e789e6aa1b965f4),
                                     UINT64_C(0x06c45d188009454f), UINT64_C(0xf88bb8a8724c81ec)};
    static const uint64_t other[4] = {
        UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
        UINT64_C(9817491932198370423), UINT64_C(4593380528125082431)};
    flow_rng rng;
    int i;
    flow_rng_init(&rng, 0);
    for (i = 0; i < 4; i++) TEST(rng.s[i] == zero[i]);
    flow_rng_init(&rng, 1234567);
    for (i = 0; i < 4; i++) TEST(rng.s[i] == other[i]);
}

/* A wrong rotation or shift in xoshiro256++: the published outputs from the state 1, 2, 3, 4. */
static void test_draws_by_published_values(void) {
    static const uint64_t want[10] = {
        UINT64_C(41943041),            UINT64_C(58720359),
        UINT64_C(3588806011781223),    UINT64_C(3591011842654386),
        UINT64_C(9228616714210784205), UINT64_C(9973669472204895162),
        UINT64_C(14011001112246962877), UINT64_C(12406186145184390807),
        UINT64_C(15849039046786891736), UINT64_C(10450023813501588000)};
    flow_rng rng;
    int i;
    for (i = 0; i < 4; i++) rng.s[i] = (uint64_t)i + 1;
    for (i = 0; i < 10; i++) TEST(flow_rng_next(&rng) == want[i]);
}

/* An update in the wrong order: the same step with all four words written at once. */
static void test_draws_by_simultaneous_step(void) {
    flow_rng rng = test_rng(1);
    int i;
    for (i = 0; i < 1000; i++) {
        const uint64_t a = rng.s[0], b = rng.s[1], c = rng.s[2], d = rng.s[3], e = b ^ d;
        const uint64_t sum = a + d;
        TEST(flow_rng_next(&rng) == (sum << 23 | sum >> 41) + a);
        TEST(rng.s[0] == (a ^ b ^ d) && rng.s[1] == (a ^ b ^ c));
        TEST(rng.s[2] == (a ^ c ^ b << 17) && rng.s[3] == (e << 45 | e >> 19));
    }
}

/* A child that repeats its parent, or a split that costs more than one draw. */
static void test_split(void) {
    flow_rng parent = test_rng(2), twin = parent, child = flow_rng_split(&parent), want;
    TEST_EQ_INT(draws_between(twin, &parent), 1);
    flow_rng_init(&want, flow_rng_next(&twin));
    TEST_EQ_INT(draws_between(want, &child), 0);
    TEST_EQ_INT(draws_between(parent, &child), -1);
    TEST_EQ_INT(draws_between(child, &parent), -1);
}

/* Neighbouring seeds whose streams go together. */
static void test_streams_are_unrelated(void) {
    static flow_real a[N], b[N];
    flow_rng one, two;
    int i, seed;
    for (seed = 0; seed < 8; seed++) {
        flow_rng_init(&one, (uint64_t)seed);
        flow_rng_init(&two, (uint64_t)seed + 1);
        if (seed % 2) two = flow_rng_split(&one);
        for (i = 0; i < N; i++) {
            a[i] = flow_rng_uniform(&one);
            b[i] = flow_rng_uniform(&two);
        }
        TEST_COVARIANCE(a, 0.5, b, 0.5, N, 1, 0);
    }
}

/* ---- uniform and normal ---------------------------------------------------------------------- */

/* A wrong number of bits, or a 1 that should never come. */
static void test_uniform_bits(void) {
    const int bits = sizeof(flow_real) == sizeof(double) ? 53 : 24;
    flow_rng rng = test_rng(3), twin = rng;
    int i;
    for (i = 0; i < 1000; i++) {
        const uint64_t top = flow_rng_next(&twin) >> (64 - bits);
        TEST_NEAR(flow_rng_uniform(&rng), ldexp((double)top, -bits), 0);
    }
    TEST_EQ_INT(draws_between(twin, &rng), 0);
    rng = rng_about_to_draw(0);
    TEST_NEAR(flow_rng_uniform(&rng), 0, 0);
    rng = rng_about_to_draw(last_draw);
    TEST_NEAR(flow_rng_uniform(&rng), 1 - EPS / 2, 0);
}

static flow_real uniform_cdf(void *ctx, flow_real x) {
    (void)ctx;
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* Numbers that are not uniform, or that remember their predecessor. */
static void test_uniform_distribution(void) {
    static flow_real u[N + 1];
    flow_rng rng = test_rng(4);
    int i;
    for (i = 0; i <= N; i++) u[i] = flow_rng_uniform(&rng);
    TEST(ks_accepts(u, N, uniform_cdf, NULL));
    TEST_MEAN(u, N, 1, 0.5);
    TEST_VARIANCE(u, N, 1, 0.5, 1.0 / 12);
    TEST_COVARIANCE(u, 0.5, u + 1, 0.5, N, 1, 0);
}

/* A sine for a cosine, a lost factor 2, log u instead of log(1 - u), a third draw. */
static void test_normal_formula(void) {
    const double two_pi = 8 * atan(1.0);
    flow_rng rng = test_rng(5), twin = rng;
    int i;
    for (i = 0; i < 1000; i++) {
        const double u1 = (double)flow_rng_uniform(&twin), u2 = (double)flow_rng_uniform(&twin);
        TEST_NEAR(flow_rng_normal(&rng), sqrt(-2 * log1p(-u1)) * cos(two_pi * u2), 60 * EPS);
    }
    TEST_EQ_INT(draws_between(twin, &rng), 0);
}

/* A draw of 0 or of the largest number that ends in log 0. */
static void test_normal_extremes(void) {
    flow_rng rng = rng_about_to_draw(0);
    TEST_NEAR(flow_rng_normal(&rng), 0, 0);
    rng = rng_about_to_draw(last_draw);
    TEST(fabs((double)flow_rng_normal(&rng)) <= sqrt(-2 * log(EPS / 2)) * (1 + 4 * EPS));
}

/* Wrong moments, a wrong shape, neighbours that are not independent. */
static void test_normal_distribution(void) {
    static flow_real z[N + 1], square[N + 1];
    flow_rng rng = test_rng(6);
    int i;
    for (i = 0; i <= N; i++) {
        z[i] = flow_rng_normal(&rng);
        square[i] = z[i] * z[i];
    }
    TEST(ks_accepts(z, N, normal_cdf, NULL));
    TEST_MEAN(z, N, 1, 0);
    TEST_VARIANCE(z, N, 1, 0, 1);
    TEST_COVARIANCE(z, 0, square, 1, N, 1, 0); /* third moment */
    TEST_VARIANCE(square, N, 1, 1, 2);         /* fourth */
    TEST_COVARIANCE(z, 0, z + 1, 0, N, 1, 0);
    TEST_COVARIANCE(square, 1, square + 1, 1, N, 1, 0);
}

/* ---- whole numbers, categories, permutations ------------------------------------------------- */

/* A bias: 2^64 = q k + rest, and the lowest rest draws must be refused, no more and no less. */
static void test_below_refuses(void) {
    static const struct {
        int k;
        uint64_t rest;
    } cases[] = {{3, 1}, {7, 2}, {10, 6}, {1000, 616}, {INT_MAX, 4}}; /* 2^64 mod k */
    int i;
    for (i = 0; i < 5; i++) {
        const int k = cases[i].k;
        flow_rng rng = rng_about_to_draw(cases[i].rest - 1), before = rng;
        (void)flow_rng_below(&rng, k);
        TEST_EQ_INT(draws_between(before, &rng), 2);
        rng = before = rng_about_to_draw(cases[i].rest);
        TEST_EQ_INT(flow_rng_below(&rng, k), (long long)(cases[i].rest % (uint64_t)k));
        TEST_EQ_INT(draws_between(before, &rng), 1);
        rng = rng_about_to_draw(last_draw); /* 2^64 - 1 = rest - 1 mod k */
        TEST_EQ_INT(flow_rng_below(&rng, k), (long long)cases[i].rest - 1);
    }
}

/* A power of two divides 2^64: nothing is refused, not even 0. */
static void test_below_powers_of_two(void) {
    int k;
    for (k = 1; k <= 1 << 20; k *= 2) {
        flow_rng rng = rng_about_to_draw(0), before = rng;
        TEST_EQ_INT(flow_rng_below(&rng, k), 0);
        TEST_EQ_INT(draws_between(before, &rng), 1);
    }
}

/* A number that never comes, or comes too often. */
static void test_below_is_uniform(void) {
    static const int sizes[] = {1, 2, 3, 6, 7, 64, 100};
    int i, j;
    for (i = 0; i < 7; i++) {
        int count[100] = {0};
        double expected[100];
        flow_rng rng = test_rng(10 + i);
        for (j = 0; j < N; j++) count[flow_rng_below(&rng, sizes[i])]++;
        for (j = 0; j < sizes[i]; j++) expected[j] = (double)N / sizes[i];
        TEST(chi_square_accepts(count, expected, sizes[i]));
    }
}

/* Probabilities taken for cumulative ones, a forgotten division by their sum, a second draw. */
static void test_categorical_distribution(void) {
    static const flow_real p[6] = {0, 3, FLOWI_R(0.5), 0, FLOWI_R(1.5), 0}; /* sum 5 */
    int count[6] = {0}, i;
    double expected[6];
    flow_rng rng = test_rng(20), before = rng;
    (void)flow_rng_categorical(&rng, p, 6);
    TEST_EQ_INT(draws_between(before, &rng), 1);
    for (i = 0; i < N; i++) count[flow_rng_categorical(&rng, p, 6)]++;
    for (i = 0; i < 6; i++) expected[i] = N * (double)p[i] / 5;
    TEST(chi_square_accepts(count, expected, 6));
}

/* An index of probability 0 at either end: u = 0 must skip it, and u next to 1, where the rounding
 * of ten times 0.1 leaves a rest, must not run over. */
static void test_categorical_ends(void) {
    flow_real p[14] = {0};
    flow_rng rng = rng_about_to_draw(0);
    int i;
    for (i = 2; i < 12; i++) p[i] = FLOWI_R(0.1);
    TEST_EQ_INT(flow_rng_categorical(&rng, p, 14), 2);
    rng = rng_about_to_draw(last_draw);
    TEST_EQ_INT(flow_rng_categorical(&rng, p, 14), 11);
    for (i = 2; i < 12; i++) p[i] = FLOWI_R(0.1) * (flow_real)(i * i);
    rng = rng_about_to_draw(last_draw);
    TEST_EQ_INT(flow_rng_categorical(&rng, p, 14), 11);
    rng = rng_about_to_draw(last_draw);
    TEST_EQ_INT(flow_rng_categorical(&rng, p, 3), 2);
}

/* A rest that rounding leaves behind the last probability and that falls to the 0 after it. */
static void test_categorical_rest(void) {
    flow_real p[40];
    flow_rng rng = test_rng(22);
    int trial, i, impossible = 0;
    p[39] = 0;
    for (trial = 0; trial < 2000; trial++) {
        flow_rng last = rng_about_to_draw(last_draw);
        for (i = 0; i < 39; i++) p[i] = flow_rng_uniform(&rng);
        impossible += flow_rng_categorical(&last, p, 40) == 39;
    }
    TEST_EQ_INT(impossible, 0);
}

/* The number of a permutation of 0 ... 3 among the 24, by its inversions in base 4, 3, 2. */
static int rank_of_four(const int *perm) {
    int rank = 0, i, j;
    for (i = 0; i < 4; i++) {
        int smaller = 0;
        for (j = i + 1; j < 4; j++) smaller += perm[j] < perm[i];
        rank = rank * (4 - i) + smaller;
    }
    return rank;
}

/* Sattolo's mistake (never itself) or the naive one (swap with any): not all 24 equally likely. */
static void test_permutation_is_uniform(void) {
    int count[24] = {0}, perm[4], i;
    double expected[24];
    flow_rng rng = test_rng(21), before = rng;
    for (i = 0; i < 24; i++) expected[i] = N / 24.0;
    for (i = 0; i < N; i++) {
        flow_rng_permutation(&rng, perm, 4);
        count[rank_of_four(perm)]++;
    }
    TEST(chi_square_accepts(count, expected, 24));
    TEST_EQ_INT(draws_between(before, &rng), 3 * N);
}

/* A number twice or never, a write beyond the end, n = 0 and n = 1. */
static void test_permutation_is_one(void) {
    int perm[65], seen[64], n, i;
    flow_rng rng = test_rng(22), before = rng;
    for (n = 64; n >= 0; n--) {
        for (i = 0; i < 64; i++) seen[i] = 0;
        perm[n] = -7;
        flow_rng_permutation(&rng, perm, n);
        for (i = 0; i < n; i++) seen[perm[i]]++;
        for (i = 0; i < n; i++) TEST_EQ_INT(seen[i], 1);
        TEST_EQ_INT(perm[n], -7);
    }
    TEST_EQ_INT(draws_between(before, &rng), 64 * 63 / 2);
}

/* Mistakes of the caller that go unnoticed. */
static void test_assertions(void) {
    flow_rng rng = test_rng(23);
    const flow_real p[1] = {1};
    TEST_ASSERT_TRIPS(flow_rng_init(NULL, 1));
    TEST_ASSERT_TRIPS((void)flow_rng_below(&rng, 0));
    TEST_ASSERT_TRIPS((void)flow_rng_below(&rng, -1));
    TEST_ASSERT_TRIPS((void)flow_rng_categorical(&rng, NULL, 1));
    TEST_ASSERT_TRIPS((void)flow_rng_categorical(&rng, p, 0));
}

int main(void) {
    test_section("generator");
    test_seeding_by_published_values();
    test_draws_by_published_values();
    test_draws_by_simultaneous_step();
    test_split();
    test_streams_are_unrelated();
    test_section("uniform and normal");
    test_uniform_bits();
    test_uniform_distribution();
    test_normal_formula();
    test_normal_extremes();
    test_normal_distribution();
    test_section("whole numbers");
    test_below_refuses();
    test_below_powers_of_two();
    test_below_is_uniform();
    test_categorical_distribution();
    test_categorical_ends();
    test_categorical_rest();
    test_permutation_is_uniform();
    test_permutation_is_one();
    test_assertions();
    return test_done();
}
