/* 12_metrics.c - tests of section 12 of flow.h: assignment and distances between samples,
 * histograms, quadrature, and the checkers on which the other tests stand. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

static flow_real not_a_number(void) {
    return FLOWI_INFINITY - FLOWI_INFINITY;
}

/* ---- assignment ------------------------------------------------------------------------------ */

/* The least sum over all permutations that keep perm[0 ... fixed-1]. */
static double least_by_force(const flow_real *cost, int *perm, int fixed, int n) {
    double least = HUGE_VAL, sum = 0;
    int i;
    for (i = fixed; i < n; i++) {
        const int kept = perm[fixed];
        perm[fixed] = perm[i], perm[i] = kept;
        least = fmin(least, least_by_force(cost, perm, fixed + 1, n));
        perm[i] = perm[fixed], perm[fixed] = kept;
    }
    if (fixed < n) return least;
    for (i = 0; i < n; i++) sum += (double)cost[i * n + perm[i]];
    return sum;
}

/* Is match a permutation, and total its cost? */
static void check_assignment(const int *match, double total, const flow_real *cost, int n,
                             double tol) {
    int seen[64] = {0}, i;
    double sum = 0;
    for (i = 0; i < n; i++) {
        if (!TEST(match[i] >= 0 && match[i] < n)) return;
        seen[match[i]]++;
        sum += (double)cost[i * n + match[i]];
    }
    for (i = 0; i < n; i++) TEST_EQ_INT(seen[i], 1);
    TEST_NEAR(total, sum, tol);
}

/* A permutation that is not the best, with costs of every kind: of both signs, and with ties. */
static void test_assign_by_force(void) {
    flow_rng rng = test_rng(1);
    flow_real cost[49], total = 0;
    int match[7], perm[7], n, i, kind;
    for (n = 1; n <= 7; n++)
        for (kind = 0; kind < (n < 7 ? 30 : 4); kind++) {
            for (i = 0; i < n * n; i++)
                cost[i] = kind % 2 ? flow_rng_normal(&rng) : (flow_real)flow_rng_below(&rng, 4);
            for (i = 0; i < n; i++) perm[i] = i;
            for (i = 0; i < n / 2 && kind % 3 == 0; i++) /* pairs that are not allowed */
                cost[flow_rng_below(&rng, n * n)] = FLOWI_R(1 / (EPS * EPS));
            TEST_ERR(flow_assign(match, &total, cost, n), FLOW_OK);
            check_assignment(match, (double)total, cost, n, 20 * EPS);
            TEST_NEAR(total, least_by_force(cost, perm, 0, n), 20 * EPS);
        }
}

/* The same for more rows: cost = u_i + v_j + slack >= u_i + v_j, with equality along a hidden
 * permutation, which is then the best by duality. */
static void test_assign_by_duality(void) {
    enum { LARGE = 60 };
    static flow_real cost[LARGE * LARGE];
    flow_rng rng = test_rng(2);
    flow_real u[LARGE], v[LARGE], total = 0;
    int match[LARGE], hidden[LARGE], i, j;
    double bound = 0;
    int forbid;
    flow_normal_sample(&rng, u, LARGE, 1);
    flow_normal_sample(&rng, v, LARGE, 1);
    flow_rng_permutation(&rng, hidden, LARGE);
    for (i = 0; i < LARGE; i++) {
        bound += (double)u[i] + (double)v[i];
        for (j = 0; j < LARGE; j++)
            cost[i * LARGE + j] = u[i] + v[j] + (j == hidden[i] ? 0 : flow_rng_uniform(&rng) / 8);
    }
    for (forbid = 0; forbid <= 2000; forbid += 1000) { /* pairs that are not allowed */
        for (i = 0; i < forbid; i++) {
            const int row = flow_rng_below(&rng, LARGE), column = flow_rng_below(&rng, LARGE);
            if (column != hidden[row]) cost[row * LARGE + column] = FLOWI_R(1 / (EPS * EPS));
        }
        TEST_ERR(flow_assign(match, &total, cost, LARGE), FLOW_OK);
        check_assignment(match, (double)total, cost, LARGE, 1e3 * EPS);
        TEST_NEAR(total, bound, 1e3 * EPS);
        for (i = 0; i < LARGE; i++) TEST_EQ_INT(match[i], hidden[i]);
    }
}

/* Shortest ways that go wrong where the auction does not help: all columns but one have costs so
 * large that they differ by less than its least step. What a whole column has in common changes no
 * choice. By whole numbers, so that float is exact. */
static void test_assign_beyond_the_auction(void) {
    enum { LARGE = 40 };
    const double far = EPS < 1e-10 ? 1099511627776.0 : 131072.0; /* 2^40, 2^17 */
    static flow_real cost[LARGE * LARGE];
    flow_rng rng = test_rng(12);
    flow_real near = 0, total = 0;
    int match[LARGE], i, trial;
    for (trial = 0; trial < 20; trial++) {
        for (i = 0; i < LARGE * LARGE; i++)
            cost[i] = (flow_real)flow_rng_below(&rng, EPS < 1e-10 ? 1000 : 10);
        TEST_ERR(flow_assign(match, &near, cost, LARGE), FLOW_OK);
        for (i = 0; i < LARGE * LARGE; i++) cost[i] += i % LARGE ? FLOWI_R(far) : 0;
        TEST_ERR(flow_assign(match, &total, cost, LARGE), FLOW_OK);
        check_assignment(match, (double)total, cost, LARGE, 0);
        TEST_NEAR(total, (LARGE - 1) * far + (double)near, 0);
    }
}

/* What stood in match before, left there where all costs are 0 and nobody bids. */
static void test_assign_nothing(void) {
    const flow_real cost[9] = {0};
    flow_real total = 7;
    int match[3], before;
    for (before = 0; before < 3; before++) {
        match[0] = match[1] = match[2] = before;
        TEST_ERR(flow_assign(match, &total, cost, 3), FLOW_OK);
        TEST(match[0] != match[1] && match[1] != match[2] && match[2] != match[0]);
        TEST_EQ_INT(match[0] + match[1] + match[2], 3);
        TEST(total == 0);
    }
}

/* A NaN that no comparison notices, in a pair that is not wanted. */
static void test_assign_nan(void) {
    flow_rng rng = test_rng(7);
    flow_real cost[16], total = 0;
    int match[4], i;
    for (i = 0; i < 16; i++) {
        flow_normal_sample(&rng, cost, 4, 4);
        cost[i] = not_a_number();
        TEST_ERR(flow_assign(match, &total, cost, 4), FLOW_E_FINITE);
    }
}

/* A search without end when costs are not finite, or when their differences or sums overflow. */
static void test_assign_errors(void) {
    const flow_real huge = EPS < 1e-10 ? FLOWI_R(1e308) : FLOWI_R(3e38);
    flow_real cost[4] = {1, 2, 3, 4}, total = 0;
    int match[2], i;
    TEST_ERR(flow_assign(match, &total, cost, 0), FLOW_E_EMPTY);
    for (i = 0; i < 4; i++) {
        cost[i] = i % 2 ? FLOWI_INFINITY : not_a_number();
        TEST_ERR(flow_assign(match, &total, cost, 2), FLOW_E_FINITE);
        cost[i] = (flow_real)i + 1;
    }
    cost[0] = cost[2] = huge, cost[1] = cost[3] = -huge;
    TEST_ERR(flow_assign(match, &total, cost, 2), FLOW_E_FINITE);
    cost[1] = cost[3] = huge;
    TEST_ERR(flow_assign(match, &total, cost, 2), FLOW_E_FINITE);
    cost[0] = cost[1] = 1, cost[2] = 1, cost[3] = 2;
    TEST_EVERY_ALLOC(flow_assign(match, &total, cost, 2), (void)0);
    TEST_NEAR(total, 2, 0);
    TEST_ASSERT_TRIPS(flow_assign(NULL, &total, cost, 2));
    TEST_ASSERT_TRIPS(flow_assign(match, NULL, cost, 2));
    TEST_ASSERT_TRIPS(flow_assign(match, &total, NULL, 2));
}

/* ---- Wasserstein distances ------------------------------------------------------------------- */

#define N 25
#define MOST 64

/* y is x moved by shift in every coordinate, in another order. */
static void draw_shifted(int seed, flow_real *x, flow_real *y, double shift, int d) {
    flow_rng rng = test_rng(seed);
    int order[N], i, j;
    flow_normal_sample(&rng, x, N, d);
    flow_rng_permutation(&rng, order, N);
    for (i = 0; i < N; i++)
        for (j = 0; j < d; j++) y[order[i] * d + j] = x[i * d + j] + (flow_real)shift;
}

/* A distance instead of its square, a sum instead of a mean, a forgotten root. A shift by a is as
 * far as |a|; x -> 2x, the gradient of |x|^2, is as far as the root of E|x|^2. */
static void test_w2(void) {
    static const int dims[4] = {1, 2, 3, MOST};
    static flow_real x[N * MOST], y[N * MOST];
    int k, i;
    for (k = 0; k < 4; k++) {
        const int d = dims[k];
        flow_real w2 = 0;
        double square = 0;
        draw_shifted(3, x, y, 0.75, d);
        TEST_ERR(flow_w2(&w2, x, y, N, d), FLOW_OK);
        TEST_NEAR(w2, 0.75 * sqrt(d), 1e3 * EPS);
        for (i = 0; i < N * d; i++) {
            square += (double)x[i] * (double)x[i];
            y[i] = 2 * x[i];
        }
        TEST_ERR(flow_w2(&w2, x, y, N, d), FLOW_OK);
        TEST_NEAR(w2, sqrt(square / N), 1e3 * EPS);
        TEST_ERR(flow_w2(&w2, x, x, N, d), FLOW_OK);
        TEST_NEAR(w2, 0, 0);
    }
}

/* A NaN, an overflow, no samples, no memory; a single sample refused. */
static void test_w2_errors(void) {
    flow_real x[4] = {1, 2, 3, 4}, y[4] = {0, 0, 0, 0}, w2 = 0;
    TEST_ERR(flow_w2(&w2, x, y, 0, 2), FLOW_E_EMPTY);
    TEST_ERR(flow_w2(&w2, x, y, 1, 2), FLOW_OK); /* one sample is enough */
    TEST_NEAR(w2, sqrt(5.0), 8 * EPS);
    if (sizeof(size_t) == 4) TEST_ERR(flow_w2(&w2, x, y, 65536, 1), FLOW_E_MEMORY);
    TEST_EVERY_ALLOC(flow_w2(&w2, x, y, 2, 2), (void)0);
    TEST_NEAR(w2, sqrt((1 + 4 + 9 + 16) / 2.0), 8 * EPS);
    x[2] = not_a_number();
    TEST_ERR(flow_w2(&w2, x, y, 2, 2), FLOW_E_FINITE);
    x[2] = EPS < 1e-10 ? FLOWI_R(1e200) : FLOWI_R(1e30);
    TEST_ERR(flow_w2(&w2, x, y, 2, 2), FLOW_E_FINITE);
    TEST_ASSERT_TRIPS(flow_w2(NULL, x, y, 2, 2));
    TEST_ASSERT_TRIPS(flow_w2(&w2, x, y, 2, 0));
}

/* Directions that are not unit vectors or not isotropic, samples left unsorted. In one dimension
 * every direction gives W2; a shift by a along an axis gives |a|^2/d on average, with variance
 * |a|^4 2(d - 1)/(d^2 (d + 2)) a direction. */
static void test_sliced_w2(void) {
    const int directions = 400;
    static const int dims[4] = {1, 2, 3, MOST};
    static flow_real x[N * MOST], y[N * MOST];
    int k, i, axis;
    for (k = 0; k < 4; k++) {
        const int d = dims[k];
        const double spread = 2.0 * (d - 1) / ((double)d * d * (d + 2));
        for (axis = 0; axis < d; axis += d < 4 ? 1 : d - 1) {
            flow_rng rng = test_rng(4), before = rng;
            flow_real w2 = 0, exact = 0;
            draw_shifted(5, x, y, 0, d);
            for (i = 0; i < N; i++) y[i * d + axis] -= 2;
            TEST_ERR(flow_sliced_w2(&w2, &rng, x, y, N, d, directions), FLOW_OK);
            TEST_NEAR((double)w2 * (double)w2 / 4, 1.0 / d,
                      6 * sqrt(spread / directions) + 100 * EPS);
            TEST_EQ_INT(draws_between(before, &rng), directions * 2 * ((d + 1) / 2));
            if (d > 1) continue;
            y[0] += 1; /* no longer a shift */
            TEST_ERR(flow_w2(&exact, x, y, N, d), FLOW_OK);
            TEST_ERR(flow_sliced_w2(&w2, &rng, x, y, N, d, 3), FLOW_OK);
            TEST_NEAR(w2, exact, 100 * EPS);
        }
    }
}

/* A NaN that spoils a sort, an overflow, no samples, no directions, no memory. */
static void test_sliced_w2_errors(void) {
    flow_rng rng = test_rng(6);
    flow_real x[4] = {1, 2, 3, 4}, y[4] = {4, 3, 2, 1}, w2 = 0;
    TEST_ERR(flow_sliced_w2(&w2, &rng, x, y, 0, 2, 5), FLOW_E_EMPTY);
    TEST_ERR(flow_sliced_w2(&w2, &rng, x, y, 2, 2, 0), FLOW_E_EMPTY);
    TEST_ERR(flow_sliced_w2(&w2, &rng, x, y, 1, 1, 1), FLOW_OK);
    TEST_NEAR(w2, 3, 8 * EPS);
    TEST_EVERY_ALLOC(flow_sliced_w2(&w2, &rng, x, y, 2, 2, 5), (void)0);
    x[3] = not_a_number();
    TEST_ERR(flow_sliced_w2(&w2, &rng, x, y, 2, 2, 5), FLOW_E_FINITE);
    TEST_ERR(flow_sliced_w2(&w2, &rng, y, x, 2, 2, 5), FLOW_E_FINITE);
    x[3] = EPS < 1e-10 ? FLOWI_R(1e200) : FLOWI_R(1e25);
    TEST_ERR(flow_sliced_w2(&w2, &rng, x, y, 2, 2, 5), FLOW_E_FINITE);
    TEST_ASSERT_TRIPS(flow_sliced_w2(NULL, &rng, x, y, 2, 2, 5));
    TEST_ASSERT_TRIPS(flow_sliced_w2(&w2, &rng, x, y, 2, 0, 5));
}

/* ---- energy distance, Kolmogorov and Smirnov ------------------------------------------------- */

/* v = x by Euler: x_k = (1 + h)^k x, so that the energy is h sum_k |x_k|^2. A factor h or n lost, a
 * velocity of the end of a step, a batch not full, points left behind. */
static int identity_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t,
                             int n) {
    (void)t;
    memcpy(v, x, (size_t)n * 2 * sizeof *v);
    return *(int *)ctx;
}
static void test_path_energy(void) {
    flow_real x[10], start[10], energy = 0;
    flow_rng rng = test_rng(30);
    double want = 0;
    int status = FLOW_OK, i, k;
    flow_cnf c;
    flow_normal_sample(&rng, start, 5, 2);
    memcpy(x, start, sizeof x);
    TEST_ERR(flow_cnf_init(&c, flow_field_of(2, identity_velocity, &status), FLOW_EULER, 4, 2),
             FLOW_OK);
    TEST_ERR(flow_path_energy(&c, &energy, x, 5), FLOW_OK);
    for (i = 0; i < 10; i++) {
        for (k = 0; k < 4; k++) want += pow((double)start[i] * pow(1.25, k), 2) / 4 / 5;
        TEST_NEAR(x[i], (double)start[i] * pow(1.25, 4), 50 * EPS);
    }
    TEST_NEAR(energy, want, 100 * EPS);
    TEST_ERR(flow_path_energy(&c, &energy, x, 0), FLOW_E_EMPTY);
    status = FLOW_E_CONVERGE;
    TEST_ERR(flow_path_energy(&c, &energy, x, 5), FLOW_E_CONVERGE);
    status = FLOW_OK;
    x[9] = not_a_number();
    TEST_ERR(flow_path_energy(&c, &energy, x, 5), FLOW_E_FINITE);
    c.steps = 0;
    TEST_ERR(flow_path_energy(&c, &energy, x, 5), FLOW_E_EMPTY);
    flow_cnf_free(&c);
}

/* v = t in a unit of its own; calls are counted. */
typedef struct {
    flow_real unit;
    int calls;
} clockwork;

static int clock_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    clockwork *w = (clockwork *)ctx;
    int i;
    (void)x;
    w->calls++;
    for (i = 0; i < n; i++) v[i] = w->unit * t[i];
    return FLOW_OK;
}

/* The velocity at the end of a step, or for points beyond the last batch; a divergence that nobody
 * asked for, left on by log p before. v = t at 0 and 1/2: (0 + 1/4)/2. Then an overflow. */
static void test_path_energy_of_times(void) {
    flow_real *x = (flow_real *)test_malloc(5 * sizeof *x), logp[5], energy = 0;
    clockwork w = {1, 0};
    flow_cnf c;
    int i;
    for (i = 0; i < 5; i++) x[i] = 0;
    TEST_ERR(flow_cnf_init(&c, flow_field_of(1, clock_velocity, &w), FLOW_EULER, 2, 2), FLOW_OK);
    TEST_ERR(flow_cnf_logprob(&c, logp, x, 5), FLOW_OK);
    w.calls = 0;
    TEST_ERR(flow_path_energy(&c, &energy, x, 5), FLOW_OK);
    TEST_NEAR(energy, 0.125, 4 * EPS);
    TEST_EQ_INT(w.calls, 3 * 2 * 2); /* batches, steps, for the energy and for the step */
    w.unit = EPS < 1e-10 ? FLOWI_R(1e200) : FLOWI_R(1e25);
    TEST_ERR(flow_path_energy(&c, &energy, x, 5), FLOW_E_FINITE);
    flow_cnf_free(&c);
    test_free(x);
}

/* A stage that rounding puts beyond t = 1, where the exact velocity of a path does not exist. */
static void test_path_energy_ends_in_time(void) {
    const flow_real one = 1, mean = 2, cov = FLOWI_R(0.25);
    flow_mixture m;
    flow_marginal g;
    flow_cnf c;
    int steps;
    TEST_ERR(flow_mixture_init(&m, &one, &mean, &cov, 1, 1), FLOW_OK);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_VP), FLOW_OK);
    for (steps = 1; steps <= 150; steps++) {
        flow_real x = FLOWI_R(0.5), energy = 0;
        TEST_ERR(flow_cnf_init(&c, flow_marginal_field(&g), FLOW_RK4, steps, 1), FLOW_OK);
        TEST_ERR(flow_path_energy(&c, &energy, &x, 1), FLOW_OK);
        flow_cnf_free(&c);
    }
    flow_marginal_free(&g);
    flow_mixture_free(&m);
}

/* A lost factor 2, a square for a distance, a mean over the wrong number. x = {0, e}, |e| = 5;
 * y = {0}, or thrice {2e}: 2 (5/2) - 5/2 = 5/2, and 2 (15/2) - 5/2 = 25/2. */
static void test_energy_distance(void) {
    const flow_real x[4] = {0, 0, 3, -4}, y[6] = {6, -8, 6, -8, 6, -8}, origin[2] = {0, 0};
    flow_real e = 0, bad[4] = {0, 0, 3, 0};
    TEST_ERR(flow_energy_distance(&e, x, 2, origin, 1, 2), FLOW_OK);
    TEST_NEAR(e, 2.5, 8 * EPS);
    TEST_ERR(flow_energy_distance(&e, y, 3, x, 2, 2), FLOW_OK);
    TEST_NEAR(e, 12.5, 16 * EPS);
    TEST_ERR(flow_energy_distance(&e, x, 2, x, 2, 2), FLOW_OK);
    TEST_NEAR(e, 0, 0);
    TEST_ERR(flow_energy_distance(&e, x, 1, y, 1, 1), FLOW_OK); /* 0 and 6 */
    TEST_NEAR(e, 12, 0);
    TEST_ERR(flow_energy_distance(&e, x, 1, x + 1, 2, 1), FLOW_OK); /* 0 and {0, 3} */
    TEST_NEAR(e, 1.5, 4 * EPS);
    TEST_ERR(flow_energy_distance(&e, x, 0, y, 3, 2), FLOW_E_EMPTY);
    TEST_ERR(flow_energy_distance(&e, x, 2, y, 0, 2), FLOW_E_EMPTY);
    bad[3] = not_a_number();
    TEST_ERR(flow_energy_distance(&e, bad, 2, y, 3, 2), FLOW_E_FINITE);
    TEST_ERR(flow_energy_distance(&e, y, 3, bad, 2, 2), FLOW_E_FINITE);
    TEST_ASSERT_TRIPS(flow_energy_distance(NULL, x, 2, y, 3, 2));
    TEST_ASSERT_TRIPS(flow_energy_distance(&e, x, 2, y, 3, 0));
}

/* A distance that rounding makes negative: of points and the same points in another order. */
static void test_energy_distance_of_the_same(void) {
    flow_rng rng = test_rng(31);
    flow_real x[20 * 2], y[20 * 2], e = 0;
    int order[20], trial, i;
    for (trial = 0; trial < 50; trial++) {
        flow_normal_sample(&rng, x, 20, 2);
        flow_rng_permutation(&rng, order, 20);
        for (i = 0; i < 20; i++) memcpy(y + 2 * i, x + 2 * order[i], 2 * sizeof *y);
        TEST_ERR(flow_energy_distance(&e, x, 20, y, 20, 2), FLOW_OK);
        TEST(e >= 0);
        TEST_NEAR(e, 0, 500 * EPS);
    }
}

static flow_real unit_cdf(void *ctx, flow_real x) {
    (void)ctx;
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

/* The distance taken only above or only below the steps, or with steps shifted by one; samples
 * that must be sorted first, and are left as they were. */
static void test_ks_small(void) {
    const flow_real left[1] = {FLOWI_R(0.25)}, right[1] = {FLOWI_R(0.875)};
    const flow_real even[4] = {FLOWI_R(0.625), FLOWI_R(0.125), FLOWI_R(0.875), FLOWI_R(0.375)};
    const flow_real ties[3] = {FLOWI_R(0.5), FLOWI_R(0.5), FLOWI_R(0.5)};
    const flow_real outside[2] = {-3, 7};
    flow_real ks = 0, kept[4];
    memcpy(kept, even, sizeof even);
    TEST_ERR(flow_ks(&ks, left, 1, unit_cdf, NULL), FLOW_OK);
    TEST_NEAR(ks, 0.75, EPS);
    TEST_ERR(flow_ks(&ks, right, 1, unit_cdf, NULL), FLOW_OK);
    TEST_NEAR(ks, 0.875, EPS);
    TEST_ERR(flow_ks(&ks, even, 4, unit_cdf, NULL), FLOW_OK);
    TEST_NEAR(ks, 0.125, EPS);
    TEST_NEAR_ALL(even, kept, 4, 0);
    TEST_ERR(flow_ks(&ks, even, 3, unit_cdf, NULL), FLOW_OK);
    TEST_NEAR(ks, 0.625 - 1.0 / 3, EPS);
    TEST_ERR(flow_ks(&ks, ties, 3, unit_cdf, NULL), FLOW_OK);
    TEST_NEAR(ks, 0.5, EPS);
    TEST_ERR(flow_ks(&ks, outside, 2, unit_cdf, NULL), FLOW_OK);
    TEST_NEAR(ks, 0.5, EPS);
}

/* A distribution function that returns what ctx points to for x = 0, and 1/2 elsewhere. */
static flow_real broken_cdf(void *ctx, flow_real x) {
    return x < 0 || x > 0 ? FLOWI_R(0.5) : *(const flow_real *)ctx;
}

/* A NaN among the samples or from cdf that a later sample covers up. */
static void test_ks_errors(void) {
    flow_real x[3] = {0, -1, 1}, ks = 0, bad[3];
    int i;
    bad[0] = not_a_number(), bad[1] = FLOWI_INFINITY, bad[2] = -FLOWI_INFINITY;
    for (i = 0; i < 3; i++) {
        TEST_ERR(flow_ks(&ks, x, 3, broken_cdf, &bad[i]), FLOW_E_FINITE);
        TEST_ERR(flow_ks(&ks, bad + i, 1, unit_cdf, NULL), FLOW_E_FINITE);
    }
    TEST_ERR(flow_ks(&ks, x, 0, unit_cdf, NULL), FLOW_E_EMPTY);
    TEST_EVERY_ALLOC(flow_ks(&ks, x, 3, unit_cdf, NULL), (void)0);
    TEST_ASSERT_TRIPS(flow_ks(NULL, x, 3, unit_cdf, NULL));
    TEST_ASSERT_TRIPS(flow_ks(&ks, x, 3, NULL, NULL));
}

/* The level of one side instead of two, a wrong power of n: 1.3581/sqrt(n) at 5 percent is what
 * every table has. */
static void test_ks_critical(void) {
    TEST_NEAR(flow_ks_critical(100, FLOWI_R(0.05)), 0.13581, 1e-5);
    TEST_NEAR(flow_ks_critical(10000, FLOWI_R(0.01)), 0.016276, 1e-6);
    TEST_NEAR(flow_ks_critical(1, FLOWI_R(0.05)), 1.3581, 1e-4);
    TEST_ASSERT_TRIPS((void)flow_ks_critical(0, FLOWI_R(0.05)));
    TEST_ASSERT_TRIPS((void)flow_ks_critical(100, 0));
    TEST_ASSERT_TRIPS((void)flow_ks_critical(100, 1));
}

/* ---- histograms ------------------------------------------------------------------------------ */

/* An edge in the wrong bin: bins are [lo, hi), as is the whole. What lies outside, or is a NaN, is
 * in no bin but in the count. */
static void test_histogram(void) {
    const flow_real x[10] = {-2, FLOWI_R(-1.5),   -1,         0,
                             0,  FLOWI_R(1.9999), 2 /* hi */, FLOWI_R(-2.001),
                             17, not_a_number()};
    const double want[4] = {0.2, 0.1, 0.2, 0.1};
    flow_real density[5] = {9, 9, 9, 9, 9};
    TEST_ERR(flow_histogram(density, x, 10, -2, 2, 4), FLOW_OK);
    TEST_NEAR_ALL(density, want, 4, 4 * EPS);
    TEST_NEAR(density[4], 9, 0);
    TEST_ERR(flow_histogram(density, x, 10, -2, 2, 2), FLOW_OK);
    TEST_NEAR(density[0], 3.0 / 10 / 2, 4 * EPS);
    TEST_NEAR(density[1], 3.0 / 10 / 2, 4 * EPS);
    TEST_ERR(flow_histogram(density, x, 0, -2, 2, 4), FLOW_E_EMPTY);
    TEST_ASSERT_TRIPS(flow_histogram(density, x, 10, 2, 2, 4));
    TEST_ASSERT_TRIPS(flow_histogram(density, x, 10, 2, -2, 4));
    TEST_ASSERT_TRIPS(flow_histogram(density, x, 10, -2, 2, 0));
    TEST_ASSERT_TRIPS(flow_histogram(NULL, x, 10, -2, 2, 4));
}

/* The number next to hi: seen from lo, it is hi, and must not fall into a bin that does not
 * exist. */
static void test_histogram_last_bin(void) {
    const flow_real hi = FLOWI_R(1.0 / 1024), x = hi * (1 - FLOWI_EPS / 2);
    int bins;
    TEST(x < hi && x + 1 == hi + 1);
    for (bins = 1; bins <= 100; bins++) {
        flow_real density[101];
        density[bins] = 9;
        TEST_ERR(flow_histogram(density, &x, 1, -1, hi, bins), FLOW_OK);
        TEST_NEAR(density[bins - 1], bins / (1 + 1.0 / 1024), 100 * EPS * bins);
        TEST_NEAR(density[bins], 9, 0);
    }
}

/* Shares added one by one, of which the last are lost in rounding. */
static void test_histogram_of_many(void) {
    enum { MANY = 200000 };
    static flow_real x[MANY];
    flow_real density[2], cell[4];
    int i;
    for (i = 0; i < MANY; i++) x[i] = FLOWI_R(i % 2 ? 0.25 : 0.75);
    TEST_ERR(flow_histogram(density, x, MANY, 0, 1, 2), FLOW_OK);
    TEST_NEAR(density[0], 1, 10 * EPS);
    TEST_NEAR(density[1], 1, 10 * EPS);
    TEST_ERR(flow_histogram2(cell, x, MANY / 2, 0, 1, 2), FLOW_OK); /* all (0.75, 0.25) */
    TEST_NEAR(cell[1], 4, 40 * EPS);
}

/* Rows and columns exchanged, a width not squared, a point outside in one coordinate only. */
static void test_histogram2(void) {
    const flow_real x[12] = {FLOWI_R(0.1),
                             FLOWI_R(1.9),
                             FLOWI_R(0.2),
                             FLOWI_R(1.1), /* row 1 */
                             FLOWI_R(1.5),
                             0,
                             2,
                             1, /* hi */
                             1,
                             FLOWI_R(-0.1),
                             not_a_number(),
                             1};
    const double want[4] = {0, 1.0 / 6, 2.0 / 6, 0};
    flow_real density[5] = {9, 9, 9, 9, 9};
    TEST_ERR(flow_histogram2(density, x, 6, 0, 2, 2), FLOW_OK);
    TEST_NEAR_ALL(density, want, 4, 4 * EPS);
    TEST_NEAR(density[4], 9, 0);
    TEST_ERR(flow_histogram2(density, x, 1, 0, 2, 2), FLOW_OK);
    TEST_NEAR(density[2], 1, 4 * EPS);
    TEST_ERR(flow_histogram2(density, x, 3, -2, 2, 1), FLOW_OK);
    TEST_NEAR(density[0], 1.0 / 16, 4 * EPS);
    TEST_ERR(flow_histogram2(density, x, 0, 0, 2, 2), FLOW_E_EMPTY);
    TEST_ASSERT_TRIPS(flow_histogram2(density, x, 6, 2, 2, 2));
    TEST_ASSERT_TRIPS(flow_histogram2(density, x, 6, 0, 2, 0));
    TEST_ASSERT_TRIPS(flow_histogram2(NULL, x, 6, 0, 2, 2));
}

/* ---- integrals ------------------------------------------------------------------------------- */

static flow_real power_of(void *ctx, flow_real x) {
    return FLOWI_R(pow((double)x, *(const double *)ctx));
}

static flow_real mirrored_power(void *ctx, flow_real x) {
    return FLOWI_R(pow(1 - (double)x, *(const double *)ctx));
}

static flow_real waves(void *ctx, flow_real x) {
    (void)ctx;
    return FLOWI_R(exp((double)x) * cos(5 * (double)x));
}

/* A weight or a node off; one of the two ends forgotten; an interval not mapped. */
static void test_integrate_smooth(void) {
    const double tol = EPS < 1e-10 ? 1e-12 : 1e-5;
    double p;
    flow_real sum = 0;
    for (p = 0; p <= 5; p++) {
        TEST_ERR(flow_integrate(&sum, power_of, &p, 0, 1), FLOW_OK);
        TEST_NEAR(sum, 1 / (p + 1), tol);
        TEST_ERR(flow_integrate(&sum, power_of, &p, -1, 2), FLOW_OK);
        TEST_NEAR(sum, (pow(2, p + 1) - pow(-1, p + 1)) / (p + 1), 30 * tol);
    }
    TEST_ERR(flow_integrate(&sum, waves, NULL, -1, 3), FLOW_OK);
    TEST_NEAR(sum,
              (exp(3.0) * (cos(15.0) + 5 * sin(15.0)) - exp(-1.0) * (cos(-5.0) + 5 * sin(-5.0))) /
                  26,
              30 * tol);
}

static flow_real one(void *ctx, flow_real x) {
    (void)ctx;
    (void)x;
    return 1;
}

/* Points that merge with an end of a short interval and take their weight along. */
static void test_integrate_short_intervals(void) {
    static const double from[3] = {0.3, 100, -7}, rough[3] = {1e-3, 1e-1, 1e-2};
    int i;
    for (i = 0; i < 3; i++) {
        const double length = sizeof(flow_real) == sizeof(double) ? 1e-4 * rough[i] : rough[i];
        const flow_real a = FLOWI_R(from[i]), b = FLOWI_R(from[i] + length);
        flow_real integral = 0;
        TEST_ERR(flow_integrate(&integral, one, NULL, a, b), FLOW_OK);
        TEST_NEAR(integral / (b - a), 1, 50 * EPS);
    }
}

/* The ends evaluated, or too few nodes near them: 1/(2 sqrt x), log x. At 0 the nodes crowd down to
 * the smallest numbers; at 1 they can only come within EPS of it. */
static flow_real inverse_root(void *ctx, flow_real x) {
    (void)ctx;
    return FLOWI_R(0.5 / sqrt((double)x));
}

static flow_real logarithm(void *ctx, flow_real x) {
    (void)ctx;
    return FLOWI_R(log((double)x));
}

static void test_integrate_singular(void) {
    const double tol = EPS < 1e-10 ? 1e-11 : 1e-4, slope = 1.5;
    flow_real sum = 0;
    TEST_ERR(flow_integrate(&sum, inverse_root, NULL, 0, 1), FLOW_OK);
    TEST_NEAR(sum, 1, tol);
    TEST_ERR(flow_integrate(&sum, inverse_root, NULL, 0, 100), FLOW_OK);
    TEST_NEAR(sum, 10, 10 * tol);
    TEST_ERR(flow_integrate(&sum, logarithm, NULL, 0, 1), FLOW_OK);
    TEST_NEAR(sum, -1, tol);
    TEST_ERR(flow_integrate(&sum, mirrored_power, (void *)&slope, 0, 1), FLOW_OK);
    TEST_NEAR(sum, 0.4, tol);
}

static flow_real sine(void *ctx, flow_real x) {
    (void)ctx;
    return FLOWI_R(sin((double)x));
}

/* A tolerance relative to the integral, which is 0 where there is as much above as below. */
static void test_integrate_to_zero(void) {
    const double pi = 4 * atan(1.0);
    flow_real sum = 1;
    TEST_ERR(flow_integrate(&sum, sine, NULL, 0, FLOWI_R(2 * pi)), FLOW_OK);
    TEST_NEAR(sum, 0, 100 * EPS);
    TEST_ERR(flow_integrate(&sum, sine, NULL, -1, 1), FLOW_OK);
    TEST_NEAR(sum, 0, 100 * EPS);
}

static flow_real comb(void *ctx, flow_real x) {
    (void)ctx;
    return FLOWI_R(sin(1e5 * (double)x)) > 0 ? 1 : 0;
}

static flow_real constant(void *ctx, flow_real x) {
    (void)x;
    return *(const flow_real *)ctx;
}

/* An integral that has not converged, or does not exist, passed off as a number. */
static void test_integrate_errors(void) {
    flow_real sum = 0, one = 1, bad = not_a_number();
    double p = -1;
    TEST_ERR(flow_integrate(&sum, comb, NULL, 0, 1), FLOW_E_CONVERGE);
    TEST_ERR(flow_integrate(&sum, mirrored_power, &p, 0, 1), FLOW_E_CONVERGE);
    TEST_ERR(flow_integrate(&sum, constant, &bad, 0, 1), FLOW_E_FINITE);
    bad = FLOWI_INFINITY;
    TEST_ERR(flow_integrate(&sum, constant, &bad, 0, 1), FLOW_E_FINITE);
    TEST_ERR(flow_integrate(&sum, constant, &one, 0, FLOWI_INFINITY), FLOW_E_FINITE);
    TEST_ERR(flow_integrate(&sum, constant, &one, -FLOWI_INFINITY, 0), FLOW_E_FINITE);
    one = 0;
    TEST_ERR(flow_integrate(&sum, constant, &one, 0, 1), FLOW_OK);
    TEST_NEAR(sum, 0, 0);
    TEST_ASSERT_TRIPS(flow_integrate(&sum, constant, &one, 1, 1));
    TEST_ASSERT_TRIPS(flow_integrate(&sum, constant, &one, 1, 0));
    TEST_ASSERT_TRIPS(flow_integrate(NULL, constant, &one, 0, 1));
    TEST_ASSERT_TRIPS(flow_integrate(&sum, NULL, &one, 0, 1));
}

/* Two refinements that agree because both have too few points: peaks of every width. */
static flow_real peak(void *ctx, flow_real x) {
    const double k = *(const double *)ctx, z = ((double)x - 0.3) * k;
    return FLOWI_R(exp(-z * z / 2));
}
static void test_integrate_peaks(void) {
    int j;
    for (j = 0; j < 80; j++) {
        double k = pow(1.05, j);
        const double r = k / sqrt(2);
        const double want = sqrt(2 * atan(1.0)) / k * (erf(0.7 * r) + erf(1.3 * r));
        flow_real sum = 0;
        TEST_ERR(flow_integrate(&sum, peak, &k, -1, 1), FLOW_OK);
        TEST_NEAR(sum, want, EPS < 1e-10 ? 1e-11 : 1e-5);
    }
}

/* What a log-density knows of itself: its dimension, and a call that fails. */
typedef struct {
    int d, calls, bad_call, bad_code;
} box;

/* p = product of (j + 1) x_j: in the box [0, 1]^d its mass is d!/2^d, each coordinate on its
 * own. */
static int box_logprob(void *ctx, flow_real *logp, const flow_real *x, int n) {
    box *b = (box *)ctx;
    int i, j;
    for (i = 0; i < n; i++)
        for (logp[i] = 0, j = 0; j < b->d; j++)
            logp[i] += FLOWI_R(log((j + 1) * (double)x[i * b->d + j]));
    return ++b->calls == b->bad_call ? b->bad_code : FLOW_OK;
}

static int normal_logprob(void *ctx, flow_real *logp, const flow_real *x, int n) {
    flow_normal_logprob(logp, x, n, ((const box *)ctx)->d);
    return FLOW_OK;
}

/* A coordinate that stands still or goes along with another, cells shifted by half a width, a
 * cell's volume with a wrong power. */
static void test_quadrature(void) {
    const double want[3] = {0.5, 0.5, 0.75};
    int d;
    for (d = 1; d <= 3; d++) {
        box b = {d, 0, 0, 0};
        flow_real mass = 0;
        TEST_ERR(flow_quadrature(&mass, box_logprob, &b, 0, 1, 5, d), FLOW_OK);
        TEST_NEAR(mass, want[d - 1], 50 * EPS);
        TEST_EQ_INT(b.calls, d == 1 ? 1 : d == 2 ? 5 : 25);
        TEST_ERR(flow_quadrature(&mass, box_logprob, &b, 0, 2, 4, d), FLOW_OK);
        TEST_NEAR(mass, want[d - 1] * pow(4, d), 50 * EPS * pow(4, d));
        TEST_ERR(flow_quadrature(&mass, normal_logprob, &b, -9, 9, 36, d), FLOW_OK);
        TEST_NEAR(mass, 1, 1e-12 + 200 * EPS);
    }
}

static int flat_logprob(void *ctx, flow_real *logp, const flow_real *x, int n) {
    int i;
    (void)ctx, (void)x;
    for (i = 0; i < n; i++) logp[i] = 0;
    return FLOW_OK;
}

/* A million small masses that do not add up. */
static void test_quadrature_of_many_cells(void) {
    flow_real mass = 0;
    TEST_ERR(flow_quadrature(&mass, flat_logprob, NULL, 0, 1, 1000, 2), FLOW_OK);
    TEST_NEAR(mass, 1, 1e-10 + 100 * EPS);
}

/* An error or a NaN from the density that is lost; no cells, more than an int counts; no memory. */
static void test_quadrature_errors(void) {
    box b = {2, 0, 3, -99};
    flow_real mass = 0;
    TEST_ERR(flow_quadrature(&mass, box_logprob, &b, 0, 1, 4, 2), -99);
    TEST_EQ_INT(b.calls, 3);
    TEST_ERR(flow_quadrature(&mass, box_logprob, &b, -1, 1, 4, 2), FLOW_E_FINITE);
    b.d = 1, b.calls = 0, b.bad_call = 1;
    TEST_ERR(flow_quadrature(&mass, box_logprob, &b, 0, 1, 4, 1), -99);
    b.d = 2, b.bad_call = 0;
    TEST_ERR(flow_quadrature(&mass, box_logprob, &b, 0, 1, 0, 2), FLOW_E_EMPTY);
    TEST_EVERY_ALLOC(flow_quadrature(&mass, normal_logprob, &b, 0, 1, 4, 2), (void)0);
    TEST_ASSERT_TRIPS(flow_quadrature(&mass, normal_logprob, &b, 1, 1, 4, 2));
    TEST_ASSERT_TRIPS(flow_quadrature(&mass, normal_logprob, &b, 0, 1, 4, 0));
    TEST_ASSERT_TRIPS(flow_quadrature(NULL, normal_logprob, &b, 0, 1, 4, 2));
    TEST_ASSERT_TRIPS(flow_quadrature(&mass, NULL, &b, 0, 1, 4, 2));
    TEST_ASSERT_TRIPS(flow_quadrature(&mass, flat_logprob, NULL, 0, 1, 65536, 3));
}

/* ---- checkers -------------------------------------------------------------------------------- */

/* L = theta_0^2/2 + 3 theta_1 theta_2, which central differences hit exactly. */
static int known_loss(void *ctx, flow_real *loss, const flow_real *theta) {
    box *b = (box *)ctx;
    *loss = theta[0] * theta[0] / 2 + 3 * theta[1] * theta[2];
    return ++b->calls == b->bad_call ? b->bad_code : FLOW_OK;
}

/* A checker that a wrong gradient can pass: a sign, a factor, a component left out, two exchanged.
 * theta must come back as it was. */
static void test_check_gradient(void) {
    const flow_real start[3] = {FLOWI_R(0.5), 2, -1};
    const flow_real wrong[5][3] = {{FLOWI_R(0.5), -3, 6}, /* the right one */
                                   {FLOWI_R(-0.5), -3, 6},
                                   {1, -3, 6},
                                   {FLOWI_R(0.5), -3, 0},
                                   {FLOWI_R(0.5), 6, -3}};
    /* |g - c|/(|g| + |c| + 0.001 max|g|) of the worst component */
    const double worst[5] = {0, 1 / 1.006, 0.5 / 1.506, 6 / 6.003, 9 / 9.006};
    const flow_real odd[3] = {FLOWI_R(0.1), FLOWI_R(1e-6), FLOWI_R(1e6)}; /* which a step rounds */
    flow_real theta[3] = {FLOWI_R(0.5), 2, -1}, got = 9;
    box b = {0, 0, 0, 0};
    int i;
    for (i = 0; i < 5; i++) {
        TEST_ERR(flow_check_gradient(&got, known_loss, &b, theta, wrong[i], 3, FLOWI_R(0.125)),
                 FLOW_OK);
        TEST_NEAR(got, worst[i], 100 * EPS);
        TEST_NEAR_ALL(theta, start, 3, 0);
    }
    TEST_EQ_INT(b.calls, 5 * 6);
    memcpy(theta, odd, sizeof theta);
    TEST_ERR(flow_check_gradient(&got, known_loss, &b, theta, wrong[0], 3, FLOWI_R(0.3)), FLOW_OK);
    TEST_NEAR_ALL(theta, odd, 3, 0);
}

static int flat_loss(void *ctx, flow_real *loss, const flow_real *theta) {
    (void)theta;
    *loss = *(const flow_real *)ctx;
    return FLOW_OK;
}

/* An error or a NaN of the loss that is lost, theta left where it was moved to, 0/0 where loss and
 * gradient are flat. */
static void test_check_gradient_errors(void) {
    const flow_real grad[3] = {1, -3, 6}, bad[3] = {1, not_a_number(), 6}, flat[3] = {0, 0, 0};
    const flow_real start[3] = {1, 2, -1};
    flow_real theta[3] = {1, 2, -1}, got = 9, nan = not_a_number(), zero = 0;
    int k;
    for (k = 1; k <= 6; k++) {
        box b = {0, 0, 0, -99};
        b.bad_call = k;
        TEST_ERR(flow_check_gradient(&got, known_loss, &b, theta, grad, 3, 1), -99);
        TEST_NEAR_ALL(theta, start, 3, 0);
    }
    TEST_ERR(flow_check_gradient(&got, flat_loss, &nan, theta, grad, 3, 1), FLOW_E_FINITE);
    TEST_NEAR_ALL(theta, start, 3, 0);
    TEST_ERR(flow_check_gradient(&got, flat_loss, &zero, theta, bad, 3, 1), FLOW_E_FINITE);
    TEST_ERR(flow_check_gradient(&got, flat_loss, &zero, theta, flat, 3, 1), FLOW_OK);
    TEST_NEAR(got, 0, 0);
    TEST_ERR(flow_check_gradient(&got, flat_loss, &zero, theta, grad, 3, 1), FLOW_OK);
    TEST_NEAR(got, 6 / 6.006, 8 * EPS);
    TEST_ASSERT_TRIPS(flow_check_gradient(NULL, flat_loss, &zero, theta, grad, 3, 1));
    TEST_ASSERT_TRIPS(flow_check_gradient(&got, NULL, &zero, theta, grad, 3, 1));
    TEST_ASSERT_TRIPS(flow_check_gradient(&got, flat_loss, &zero, theta, grad, 3, 0));
}

/* y_i = (i + 1) x_i + 2 x_(i+1) (but for the last), + x_0^2 in y_0: its Jacobian is a triangle. */
static int triangle(void *ctx, flow_real *y, const flow_real *x) {
    box *b = (box *)ctx;
    int i;
    for (i = 0; i < b->d; i++) y[i] = (flow_real)(i + 1) * x[i] + (i + 1 < b->d ? 2 * x[i + 1] : 0);
    y[0] += x[0] * x[0];
    return ++b->calls == b->bad_call ? b->bad_code : FLOW_OK;
}

/* Rows and columns exchanged, a difference of one side, x moved in two coordinates at once. */
static void test_check_jacobian(void) {
    static const int dims[3] = {1, 3, MOST};
    static flow_real j[MOST * MOST];
    flow_real x[MOST], logdet = 9;
    int k, i, l;
    for (i = 0; i < MOST; i++) x[i] = FLOWI_R(0.25);
    for (k = 0; k < 3; k++) {
        const int d = dims[k];
        box b = {d, 0, 0, 0};
        double want = log(1.5);
        TEST_ERR(flow_check_jacobian(j, triangle, &b, x, d, FLOWI_R(0.125)), FLOW_OK);
        TEST_EQ_INT(b.calls, 2 * d);
        for (i = 0; i < d; i++)
            for (l = 0; l < d; l++)
                TEST_NEAR(j[i * d + l],
                          l == i       ? (i == 0 ? 1.5 : i + 1)
                          : l == i + 1 ? 2
                                       : 0,
                          1e3 * EPS);
        for (i = 1; i < d; i++) want += log(i + 1.0);
        TEST_ERR(flow_check_logdet(&logdet, triangle, &b, x, d, FLOWI_R(0.125)), FLOW_OK);
        TEST_NEAR(logdet, want, 1e3 * EPS * (1 + want));
    }
}

/* Every coordinate times what ctx points to. */
static int scaling(void *ctx, flow_real *y, const flow_real *x) {
    int i;
    for (i = 0; i < 3; i++) y[i] = *(const flow_real *)ctx * x[i];
    return FLOW_OK;
}

/* A negative determinant refused, a singular one or a NaN accepted, an error of the map lost. */
static void test_check_logdet_errors(void) {
    const flow_real x[3] = {1, 2, 3};
    flow_real factor = -2, logdet = 9, j[9];
    int k;
    TEST_ERR(flow_check_logdet(&logdet, scaling, &factor, x, 3, FLOWI_R(0.5)), FLOW_OK);
    TEST_NEAR(logdet, 3 * log(2.0), 8 * EPS);
    factor = 0;
    TEST_ERR(flow_check_logdet(&logdet, scaling, &factor, x, 3, FLOWI_R(0.5)), FLOW_E_SINGULAR);
    factor = not_a_number();
    TEST_ERR(flow_check_logdet(&logdet, scaling, &factor, x, 3, FLOWI_R(0.5)), FLOW_E_FINITE);
    TEST_ERR(flow_check_jacobian(j, scaling, &factor, x, 3, FLOWI_R(0.5)), FLOW_E_FINITE);
    for (k = 1; k <= 6; k++) {
        box b = {3, 0, 0, -99};
        b.bad_call = k;
        TEST_ERR(flow_check_jacobian(j, triangle, &b, x, 3, 1), -99);
        TEST_EQ_INT(b.calls, k);
        b.calls = 0;
        TEST_ERR(flow_check_logdet(&logdet, triangle, &b, x, 3, 1), -99);
    }
    factor = 1;
    TEST_EVERY_ALLOC(flow_check_jacobian(j, scaling, &factor, x, 3, 1), (void)0);
    TEST_EVERY_ALLOC(flow_check_logdet(&logdet, scaling, &factor, x, 3, 1), (void)0);
    TEST_ASSERT_TRIPS(flow_check_jacobian(NULL, scaling, &factor, x, 3, 1));
    TEST_ASSERT_TRIPS(flow_check_jacobian(j, NULL, &factor, x, 3, 1));
    TEST_ASSERT_TRIPS(flow_check_jacobian(j, scaling, &factor, x, 0, 1));
    TEST_ASSERT_TRIPS(flow_check_jacobian(j, scaling, &factor, x, 3, 0));
}

int main(void) {
    test_section("assignment");
    test_assign_by_force();
    test_assign_by_duality();
    test_assign_beyond_the_auction();
    test_assign_nothing();
    test_assign_nan();
    test_assign_errors();
    test_section("Wasserstein");
    test_w2();
    test_w2_errors();
    test_sliced_w2();
    test_sliced_w2_errors();
    test_section("energy distance, KS");
    test_path_energy();
    test_path_energy_of_times();
    test_path_energy_ends_in_time();
    test_energy_distance();
    test_energy_distance_of_the_same();
    test_ks_small();
    test_ks_errors();
    test_ks_critical();
    test_section("histograms");
    test_histogram();
    test_histogram_last_bin();
    test_histogram_of_many();
    test_histogram2();
    test_section("integrals");
    test_integrate_smooth();
    test_integrate_singular();
    test_integrate_short_intervals();
    test_integrate_to_zero();
    test_integrate_errors();
    test_integrate_peaks();
    test_quadrature();
    test_quadrature_of_many_cells();
    test_quadrature_errors();
    test_section("checkers");
    test_check_gradient();
    test_check_gradient_errors();
    test_check_jacobian();
    test_check_logdet_errors();
    return test_done();
}
