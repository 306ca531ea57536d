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

/* The largest number, and the least of full precision. */
#define LARGEST (EPS < 1e-10 ? FLOWI_R(DBL_MAX) : FLOWI_R(FLT_MAX))
#define LEAST (EPS < 1e-10 ? FLOWI_R(DBL_MIN) : FLOWI_R(FLT_MIN))

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

/* ---- arrays ---------------------------------------------------------------------------------- */

/* The largest |x_i - y_i|; NaN counts as infinity. */
static inline double distance(const flow_real *x, const flow_real *y, int n) {
    double most = 0;
    int i;
    for (i = 0; i < n; i++) {
        const double off = fabs((double)x[i] - (double)y[i]);
        if (!(off <= most)) most = off >= 0 ? off : HUGE_VAL;
    }
    return most;
}

/* The largest |x_i|. */
static inline double largest(const flow_real *x, int n) {
    double most = 0;
    int i;
    for (i = 0; i < n; i++)
        if (fabs((double)x[i]) > most) most = fabs((double)x[i]);
    return most;
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

/* ---- gradients ------------------------------------------------------------------------------- */

/* A loss of whatever stands in the array that gradient_error moves. */
typedef double (*loss_fn)(void *ctx);

/* The slope of the loss along v by central differences of size STEP; at[count] is put back. */
static inline double slope_along(loss_fn loss, void *ctx, flow_real *at, const flow_real *v,
                                 flow_real *kept, int count) {
    double up, down, step = STEP;
    int i;
    memcpy(kept, at, sizeof(flow_real) * (size_t)count);
    for (i = 0; i < count; i++) at[i] = kept[i] + FLOWI_R(step) * v[i];
    up = loss(ctx);
    for (i = 0; i < count; i++) at[i] = kept[i] - FLOWI_R(step) * v[i];
    down = loss(ctx);
    memcpy(at, kept, sizeof(flow_real) * (size_t)count);
    return (up - down) / (2 * (double)FLOWI_R(step));
}

/* How far grad[count] is from the loss's gradient in at[count], relative to its largest number and
 * signed, so that a wrong sign counts as wrong: along every coordinate, or `most` of them spread
 * evenly, and along four random directions, which see them all. */
static inline double gradient_error(loss_fn loss, void *ctx, flow_real *at, const flow_real *grad,
                                    int count, int most) {
    flow_real *v = (flow_real *)calloc(2 * (size_t)count + 1, sizeof(flow_real));
    flow_rng rng = test_rng(count);
    const int stride = count > most ? count / most : 1;
    const double size = 1e-30 + largest(grad, count);
    double worst = 0, off;
    int i, k;
    for (i = 0; i < count; i += stride) {
        v[i] = 1;
        off = fabs(slope_along(loss, ctx, at, v, v + count, count) - (double)grad[i]) / size;
        if (!(off <= worst)) worst = off >= 0 ? off : HUGE_VAL;
        v[i] = 0;
    }
    for (k = 0; k < 4; k++) {
        double want = 0;
        for (i = 0; i < count; i++) {
            v[i] = FLOWI_R((flow_rng_below(&rng, 2) ? 1 : -1) / sqrt((double)count));
            want += (double)v[i] * (double)grad[i];
        }
        off = fabs(slope_along(loss, ctx, at, v, v + count, count) - want) / size;
        if (!(off <= worst)) worst = off >= 0 ? off : HUGE_VAL;
    }
    free(v);
    return worst;
}

#endif /* MEASURE_H */
