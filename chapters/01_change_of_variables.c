/* 01_change_of_variables - what a map of the line does to a density
 *
 * A sample x with density p_x is moved to y = phi(x). Which density has y? Samples neither appear
 * nor vanish, so an interval and its image hold the same mass. Let the interval shrink, and
 * p_x(x) |dx| = p_y(y) |dy| is the change of variables rule, in its two forms:
 *
 *     p_y(y) = p_x(x) / |dphi/dx (x)|,   x = phi^-1(y)     divide by the stretching at x
 *     p_y(y) = p_x(x) |dphi^-1/dy (y)|                     multiply by the inverse's at y
 *
 * Beside: "Introduction to Conditional Flow Matching, Part I: Normalizing Flows" (A), from its
 * start to "A slightly more complex example"; "Flow Matching Series, Part 1" (B), "Intuition:
 * Transformations Change Densities" and figure 2; "Flow Matching: A Deep Dive" (D), "Change of
 * Variables Theorem"; "Flow-based generative models" (E), "Illustrative example" and exercise.
 *
 * You will see U(0,1) stretched by 2x, turned round by 1 - sqrt(x), bent by x^k into a density
 * without bound at 0 (A's 1/(2 sqrt y) for k = 2); E's N(0,1) become N(a, b^2) under a + b x;
 * and the histogram of carried samples close in on the density as 1/sqrt(n).
 *
 * Alone: cc -O2 -I. chapters/01_change_of_variables.c -lm -o 01_change_of_variables
 *        ./01_change_of_variables --k 3
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

/* ---- config --------------------------------------------------------------------------------- */

#define MAPS 7     /* in seven_maps' table ... */
#define POWER 5    /* ... where x^k stands here */
#define POINTS 400 /* of a drawn curve */
#define BINS 40    /* of a histogram */
#define BATCH 100  /* samples of a small Kolmogorov-Smirnov test */
#define FRAMES 36  /* of the animation: n^(f/FRAMES) samples have landed by frame f */

/* Every map here is y = a + b x^k: not always invertible on the whole line, but always where the
 * source lives, and that is enough. */
typedef struct {
    const char *name;
    double a, b, k;
    int gaussian;  /* the source: N(0, 1), or else U(0, 1) */
    double y0, y1; /* the image of [0, 1], or of [-8, 8], which holds all but 1e-15 of N(0, 1) */
} map;

static void seven_maps(map *maps, double k, double a, double b) {
    const map all[MAPS] = {{"2x", 0, 2, 1, 0, 0, 2},
                           {"1 - sqrt(x)", 1, -1, 0.5, 0, 0, 1},
                           {"a + b x", a, b, 1, 1, a - 8 * fabs(b), a + 8 * fabs(b)},
                           {"x^(k/4)", 0, 1, k / 4, 0, 0, 1},
                           {"x^(k/2)", 0, 1, k / 2, 0, 0, 1},
                           {"x^k", 0, 1, k, 0, 0, 1}, /* at POWER */
                           {"x^(2k)", 0, 1, 2 * k, 0, 0, 1}};
    memcpy(maps, all, sizeof all);
}

/* ---- compute -------------------------------------------------------------------------------- */

static double phi(const map *m, double x) {
    return m->a + m->b * pow(x, m->k);
}

static double inverse(const map *m, double y) {
    return pow((y - m->a) / m->b, 1 / m->k);
}

static double source(void *ctx, double x) {
    double logp;
    if (((const map *)ctx)->gaussian)
        flow_normal_logprob(&logp, &x, 1, 1);
    else
        flow_uniform_logprob(&logp, &x, 0, 1, 1, 1);
    return exp(logp);
}

/* p_y(y) = p_x(x) / |dphi/dx (x)|,  dphi/dx = b k x^(k-1) */
static double density(void *ctx, double y) {
    const map *m = (const map *)ctx;
    double x = inverse(m, y), slope = m->b * m->k * pow(x, m->k - 1);
    return source(ctx, x) / fabs(slope);
}

/* p_y(y) = p_x(x) |dphi^-1/dy (y)|,  dphi^-1/dy = z^(1/k-1) / (b k),  z = (y - a)/b */
static double density_by_inverse(void *ctx, double y) {
    const map *m = (const map *)ctx;
    double slope = pow((y - m->a) / m->b, 1 / m->k - 1) / (m->b * m->k);
    return source(ctx, inverse(m, y)) * fabs(slope);
}

static double mass(chapter *c, flow_fn p, map *m, double lo, double hi) {
    double area = 0;
    if (lo < hi) chapter_try(c, flow_integrate(&area, p, m, lo, hi), m->name);
    return area;
}

static void carry(const map *m, flow_rng *rng, double *y, int n) {
    if (m->gaussian)
        flow_normal_sample(rng, y, n, 1);
    else
        flow_uniform_sample(rng, y, 0, 1, n, 1);
    for (int i = 0; i < n; i++) y[i] = phi(m, y[i]);
}

/* ---- check and write ------------------------------------------------------------------------ */

/* "x in [x1, x2]" and "y in its image" are one event. A decreasing map turns the image round. */
static void check_interval(chapter *c, map *maps, double x1, double x2) {
    chapter_block(c, "interval", "a b k x1 x2 y1 y2 mass_x mass_y");
    for (map *m = maps; m < maps + MAPS; m++) {
        double y1 = phi(m, x1), y2 = phi(m, x2), in_x = mass(c, source, m, x1, x2);
        double in_y = mass(c, density, m, fmin(y1, y2), fmax(y1, y2));
        double row[] = {m->a, m->b, m->k, x1, x2, y1, y2, in_x, in_y};
        chapter_near(c, chapter_text("mass of [%.4g, %.4g] carried by %s", x1, x2, m->name),
                     in_x, in_y, 1e-9);
        chapter_row(c, row, 9);
    }
}

/* E's exercise: a + b x carries N(0,1) to p(y) = exp(-(y-a)^2/(2 b^2)) / sqrt(2 pi b^2). */
static void check_rule(chapter *c, map *maps) {
    double forms = 0, total = 0, normal = 0;
    chapter_block(c, "curves", "x y p_x p_y");
    for (map *m = maps; m < maps + MAPS; m++, chapter_gap(c)) {
        total = chapter_worse(total, fabs(mass(c, density, m, m->y0, m->y1) - 1));
        for (int j = 0; j < POINTS; j++) {
            double u = (j + 0.5) / POINTS, x = m->gaussian ? 16 * u - 8 : u, y = phi(m, x);
            double p = density(m, y), z = (y - m->a) / m->b;
            double bell = exp(-z * z / 2) / (2.5066282746310005 * fabs(m->b));
            forms = chapter_worse(forms, fabs(density_by_inverse(m, y) / p - 1));
            if (m->gaussian) normal = chapter_worse(normal, fabs(p / bell - 1));
            chapter_row4(c, x, y, source(m, x), p);
        }
    }
    chapter_near(c, "integral of p_y for x^k", 1, mass(c, density, maps + POWER, 0, 1), 1e-9);
    chapter_near(c, "integral of p_y - 1, worst of seven", 0, total, 1e-9);
    chapter_near(c, "the rule's two forms: relative gap", 0, forms, 1e-11);
    chapter_near(c, "the rule against N(a, b^2): relative gap", 0, normal, 1e-11);
}

static void write_histogram(chapter *c, const map *m, const double *y, int n) {
    double bins[BINS], width = (m->y1 - m->y0) / BINS;
    chapter_try(c, flow_histogram(bins, y, n, m->y0, m->y1, BINS), "histogram");
    for (int b = 0; b < BINS; b++) chapter_row4(c, m->y0 + (b + 0.5) * width, bins[b], width, n);
    chapter_gap(c);
}

static double identity(void *ctx, double u) {
    (void)ctx;
    return u;
}

/* If p_y is y's density, u = integral of p_y below y is uniform: KS, how far the samples'
 * distribution function strays from the diagonal, passes its 1% critical value in at most 1% of
 * tests [Massart 1990]. Many small tests are counted; all n together are held to 1e-6. */
static void check_samples(chapter *c, map *maps, flow_rng *rng) {
    double *y = chapter_alloc(c, 2 * (size_t)c->n), *u = y + c->n;
    double ks, worst = 0, past = 0, tests = MAPS * (c->n / BATCH);
    chapter_block(c, "histograms", "y density width n");
    for (map *m = maps; m < maps + MAPS; m++) {
        carry(m, rng, y, c->n);
        chapter_progress(c, "maps", m - maps + 1, MAPS);
        write_histogram(c, m, y, c->n);
        for (int i = 0; i < c->n; i++) u[i] = mass(c, density, m, m->y0, y[i]);
        for (int i = 0; i + BATCH <= c->n; i += BATCH) {
            chapter_try(c, flow_ks(&ks, u + i, BATCH, identity, NULL), "KS");
            past += ks > flow_ks_critical(BATCH, 0.01);
        }
        chapter_try(c, flow_ks(&ks, u, c->n, identity, NULL), "KS");
        worst = chapter_worse(worst, ks);
    }
    chapter_below(c, "KS of n samples, worst of seven", worst, flow_ks_critical(c->n, 1e-6));
    chapter_below(c, "share of small tests past their 1% value", past / tests,
                  0.01 + 6 * sqrt(0.01 / tests) + 2 / tests);
}

static int landed(const chapter *c, int f) {
    return (int)(pow(c->n, (double)f / FRAMES) + 0.5);
}

/* Is the mean of v[n] as expected, to within six standard errors? */
static void check_mean(chapter *c, const char *what, double expected, const double *v, int n) {
    double error, mean = chapter_mean(v, n, &error);
    chapter_near(c, what, expected, mean, 6 * error * sqrt(n / (n - 1.0)));
}

/* square[f] = sum_b (f_b - m_b)^2, the histogram's error when landed(f) samples make it. */
static void errors(chapter *c, double *square, const double *want, const double *y) {
    double bins[BINS];
    for (int f = 0; f <= FRAMES; f++) {
        chapter_try(c, flow_histogram(bins, y, landed(c, f), 0, 1, BINS), "histogram");
        square[f] = 0;
        for (int b = 0; b < BINS; b++)
            square[f] += (bins[b] / BINS - want[b]) * (bins[b] / BINS - want[b]);
    }
}

/* Of n samples a share f_b falls into the bin of mass m_b, with variance m_b (1 - m_b)/n. Hence
 *     E sum_b (f_b - m_b)^2 = (1 - sum_b m_b^2)/n
 * whatever the map: the histogram's error falls as n^(-1/2). Each run fits its own slope, from
 * sqrt(n) to n samples. */
static void check_error(chapter *c, map *m, flow_rng *rng) {
    enum { RUNS = 200, HALF = FRAMES / 2 };
    double *y = chapter_alloc(c, (size_t)c->n), want[BINS], square[FRAMES + 1], left = 1;
    double fit[RUNS] = {0}, last[RUNS], mean[FRAMES + 1] = {0}, reach = 0;
    const int runs = c->quick ? RUNS / 4 : RUNS;
    for (int b = 0; b < BINS; b++) {
        want[b] = mass(c, density, m, (double)b / BINS, (b + 1.0) / BINS);
        left -= want[b] * want[b];
    }
    for (int f = HALF; f <= FRAMES; f++) reach += (f - 1.5 * HALF) * log(landed(c, f));
    for (int r = 0; r < runs; r++) {
        carry(m, rng, y, c->n);
        chapter_progress(c, "runs", r + 1, runs);
        errors(c, square, want, y);
        for (int f = 0; f <= FRAMES; f++) mean[f] += square[f] / runs;
        for (int f = HALF; f <= FRAMES; f++)
            fit[r] += (f - 1.5 * HALF) * log(square[f]) / 2 / reach;
        last[r] = square[FRAMES] * c->n / left;
    }
    chapter_block(c, "errors", "n rms theory");
    for (int f = 0; f <= FRAMES; f++)
        chapter_row3(c, landed(c, f), sqrt(mean[f]), sqrt(left / landed(c, f)));
    check_mean(c, "slope of log error on log n, mean of the runs", -0.5, fit, runs);
    check_mean(c, "mean squared error at n, over theory's", 1, last, runs);
}

/* Some samples to draw on their way, each with the frame in which it lands, and the histograms. */
static void release(chapter *c, const map *m, flow_rng *rng) {
    double *y = chapter_alloc(c, (size_t)c->n);
    carry(m, rng, y, c->n);
    chapter_block(c, "carried", "x y frame");
    for (int i = 0; i < c->n; i++)
        if (i < 40 || i % (i / 40) == 0)
            chapter_row3(c, inverse(m, y[i]), y[i], FRAMES * log(i + 1) / log(c->n));
    chapter_block(c, "frames", "y density width landed");
    for (int f = 0; f <= FRAMES; f++) write_histogram(c, m, y, landed(c, f));
}

int main(int argc, char **argv) {
    double k = 2, a = 2, b = 0.5, x1 = 0.5, x2 = 0.75;
    const chapter_flag flags[] = {{"--k", CHAPTER_REAL, &k, "the power in x^k, 0.2 to 5"},
                                  {"--a", CHAPTER_REAL, &a, "the mean of N(a, b^2)"},
                                  {"--b", CHAPTER_REAL, &b, "its b; may be negative"},
                                  {"--x1", CHAPTER_REAL, &x1, "the interval [x1, x2] in [0, 1]"},
                                  {"--x2", CHAPTER_REAL, &x2, "its upper end"}};
    chapter c;
    flow_rng rng;
    map maps[MAPS];
    chapter_begin(&c, argc, argv, "01_change_of_variables",
                  "what a map of the line does to a density", 10000, flags, 5);
    chapter_require(&c, k >= 0.2 && k <= 5, "--k", "a number from 0.2 to 5");
    chapter_require(&c, fabs(a) <= 100, "--a", "a number from -100 to 100");
    chapter_require(&c, fabs(b) >= 0.01 && fabs(b) <= 100, "--b", "0.01 to 100, or its negative");
    chapter_require(&c, 0 <= x1 && x1 < x2 && x2 <= 1, "--x1, --x2", "0 <= x1 < x2 <= 1");
    chapter_require(&c, c.n >= BATCH, "--n", "at least 100");
    seven_maps(maps, k, a, b);
    flow_rng_init(&rng, c.seed);
    check_interval(&c, maps, x1, x2);
    check_rule(&c, maps);
    check_samples(&c, maps, &rng);
    check_error(&c, maps + POWER, &rng);
    release(&c, maps + POWER, &rng);
    return chapter_end(&c);
}

/* Try this
 * 1. --k 4, then --k 0.5: where does the density pile up, and how steep is the map there?
 * 2. --x1 0 --x2 0.01: a hundredth of the samples. How wide is the image that holds them?
 * 3. --b -0.5 turns N(0,1) round, yet p_y is as before. Drop fabs in density(): who notices?
 */
