/* measure.h - what tests of several sections measure with: counted draws, statistics with their
 * standard errors, tolerances. Include it after flow.h.
 *
 * Samples are random, but no test depends on a lucky seed: what is asked of them fails by chance
 * once in 10^8 runs. Other seeds: make test CFLAGS='-std=c99 -O2 -DTEST_SEED=7'. */
#ifndef MEASURE_H
#define MEASURE_H

#ifndef TEST_SEED
#define TEST_SEED 1
#endif

/* Everything below is for double and for float. Errors of rounding are multiples of EPS; a
 * central difference of step STEP is exact to about STEP^2 = EPS^(2/3), relative. */
#define EPS ((double)FLOWI_EPS)
#define STEP cbrt(EPS)

/* A generator for one test. */
static inline flow_rng test_rng(int number) {
    flow_rng rng;
    flow_rng_init(&rng, (uint64_t)TEST_SEED * 1000 + (uint64_t)number);
    return rng;
}

/* The number of draws that lie between two states of a generator; -1 for more than 100,000. */
static inline int draws_between(flow_rng before, const flow_rng *after) {
    int k;
    for (k = 0; k <= 100000; k++, (void)flow_rng_next(&before))
        if (memcmp(before.s, after->s, sizeof before.s) == 0) return k;
    return -1;
}

/* ---- statistics of x[0], x[stride], ..., n numbers ------------------------------------------- */

static inline double mean_of(const flow_real *x, int n, int stride) {
    double sum = 0;
    int i;
    for (i = 0; i < n; i++) sum += (double)x[i * stride];
    return sum / n;
}

/* The mean of (x - a)(y - b): variance when y is x, covariance otherwise. */
static inline double product_of(const flow_real *x, double a, const flow_real *y, double b, int n,
                                int stride) {
    double sum = 0;
    int i;
    for (i = 0; i < n; i++) sum += ((double)x[i * stride] - a) * ((double)y[i * stride] - b);
    return sum / n;
}

/* The standard error of that mean. */
static inline double product_error(const flow_real *x, double a, const flow_real *y, double b,
                                   int n, int stride) {
    const double mean = product_of(x, a, y, b, n, stride);
    double sum = 0;
    int i;
    for (i = 0; i < n; i++) {
        const double p = ((double)x[i * stride] - a) * ((double)y[i * stride] - b) - mean;
        sum += p * p;
    }
    return sqrt(sum) / n;
}

/* Six standard errors: by chance once in 5 10^8 tests. */
#define TEST_MEAN(x, n, stride, want) \
    TEST_NEAR(mean_of(x, n, stride), want, \
              6 * sqrt(product_of(x, want, x, want, n, stride) / (n)))
#define TEST_VARIANCE(x, n, stride, mean, want) \
    TEST_NEAR(product_of(x, mean, x, mean, n, stride), want, \
              6 * product_error(x, mean, x, mean, n, stride))
#define TEST_COVARIANCE(x, mean_x, y, mean_y, n, stride, want) \
    TEST_NEAR(product_of(x, mean_x, y, mean_y, n, stride), want, \
              6 * product_error(x, mean_x, y, mean_y, n, stride))

/* Kolmogorov and Smirnov's distance of x[n] from the distribution function cdf. */
static inline int ks_accepts(const flow_real *x, int n, flow_fn cdf, void *ctx) {
    flow_real ks = 1;
    if (flow_ks(&ks, x, n, cdf, ctx) < 0) return 0;
    return ks < flow_ks_critical(n, FLOWI_R(1e-8));
}

static inline flow_real normal_cdf(void *ctx, flow_real x) {
    (void)ctx;
    return FLOWI_R(erfc(-(double)x / sqrt(2.0)) / 2);
}

/* Pearson: sum (count - expected)^2/expected against its distribution's far tail, by Wilson and
 * Hilferty's approximation at 6.5 standard deviations. Cells that expect nothing must be empty. */
static inline int chi_square_accepts(const int *count, const double *expected, int cells) {
    double sum = 0, freedom = -1, c;
    int i;
    for (i = 0; i < cells; i++) {
        if (expected[i] <= 0 && count[i] > 0) return 0;
        if (expected[i] <= 0) continue;
        sum += (count[i] - expected[i]) * (count[i] - expected[i]) / expected[i];
        freedom++;
    }
    if (freedom < 1) return sum <= 0;
    c = 2 / (9 * freedom);
    return sum < freedom * pow(1 - c + 6.5 * sqrt(c), 3);
}

#endif /* MEASURE_H */
