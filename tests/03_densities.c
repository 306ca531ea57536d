/* 03_densities.c - tests of section 3 of flow.h: uniform, Gaussian, mixture, Bernoulli. Every
 * density is held by its integral, every score by differences of the log-density, every sampler by
 * its draws, its moments and its distribution function. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define N 20000

static const double log_two_pi = 1.8378770664093454836;

static double least_of(double a, double b) {
    return a < b ? a : b;
}

/* ---- uniform --------------------------------------------------------------------------------- */

/* A sample outside [lo, hi), a stretched or shifted one, a draw too many. */
static void test_uniform_sample(void) {
    static flow_real x[N];
    flow_rng rng = test_rng(1), twin = rng;
    int i;
    flow_uniform_sample(&rng, x, FLOWI_R(-1.5), 2, 700, 3);
    for (i = 0; i < 2100; i++) {
        TEST_NEAR(x[i], -1.5 + 3.5 * (double)flow_rng_uniform(&twin), 4 * EPS);
        TEST(x[i] >= FLOWI_R(-1.5) && x[i] <= 2);
    }
    TEST_EQ_INT(draws_between(twin, &rng), 0);
    flow_uniform_sample(&rng, x, FLOWI_R(-1.5), 2, N, 1);
    TEST_MEAN(x, N, 1, 0.25);
    TEST_VARIANCE(x, N, 1, 0.25, 3.5 * 3.5 / 12);
    x[0] = 7;
    flow_uniform_sample(&rng, x, 0, 1, 0, 5);
    TEST_NEAR(x[0], 7, 0);
}

/* A dimension that is not counted, an end left out, a coordinate that is not looked at, a NaN
 * that counts as inside. */
static void test_uniform_logprob(void) {
    flow_real x[12] = {0, 1, 2, 3, 3, 3, 1, 1, 1, 2, 2, 2}, logp[4];
    int i;
    flow_uniform_logprob(logp, x, 0, 3, 4, 3); /* both ends belong to it */
    for (i = 0; i < 4; i++) TEST_NEAR(logp[i], -3 * log(3.0), 8 * EPS);
    flow_uniform_logprob(logp, x, 0, 4, 4, 3);
    TEST_NEAR(logp[2], -6 * log(2.0), 8 * EPS);
    x[2] = 3 + 4 * FLOWI_EPS;                  /* the last coordinate of the first point */
    x[3] = -FLOWI_EPS;                         /* the first of the second */
    x[7] = FLOWI_INFINITY - FLOWI_INFINITY;    /* a middle one */
    x[9] = FLOWI_INFINITY;
    flow_uniform_logprob(logp, x, 0, 3, 4, 3);
    for (i = 0; i < 4; i++) TEST_NEAR(logp[i], -HUGE_VAL, 0);
    TEST_ASSERT_TRIPS(flow_uniform_logprob(logp, x, 1, 1, 4, 3));
    TEST_ASSERT_TRIPS(flow_uniform_sample(NULL, x, 1, 1, 4, 3));
}

static int uniform_logprob_fn(void *ctx, flow_real *logp, const flow_real *x, int n) {
    flow_uniform_logprob(logp, x, -1, FLOWI_R(0.5), n, *(int *)ctx);
    return FLOW_OK;
}

/* A density that does not integrate to 1; a score that is not 0 everywhere. */
static void test_uniform_integral_and_score(void) {
    flow_real mass = 0, score[6] = {9, 9, 9, 9, 9, 9}, x[6] = {0, 0, 0, 5, 5, 5};
    int d, i;
    for (d = 1; d <= 3; d++) { /* cells of 1/8: the ends lie on their edges */
        TEST_ERR(flow_quadrature(&mass, uniform_logprob_fn, &d, -2, 2, 32, d), FLOW_OK);
        TEST_NEAR(mass, 1, 3000 * EPS);
    }
    flow_uniform_score(score, x, -1, 1, 2, 3);
    for (i = 0; i < 6; i++) TEST_NEAR(score[i], 0, 0);
}

/* ---- N(0, I) --------------------------------------------------------------------------------- */

/* A pair in the wrong order, an odd number whose spare is written, a pair too many. */
static void test_normal_pairs(void) {
    flow_real z[66], alone;
    int count, i;
    for (count = 0; count <= 65; count++) {
        flow_rng rng = test_rng(2), twin = rng, before = rng;
        z[count] = 7;
        flow_normal_sample(&rng, z, count, 1);
        TEST_NEAR(z[count], 7, 0);
        TEST_EQ_INT(draws_between(before, &rng), count + count % 2);
        for (i = 0; i < count; i += 2) {
            const double r = sqrt(-2 * log1p(-(double)flow_rng_uniform(&twin)));
            const double angle = 8 * atan(1.0) * (double)flow_rng_uniform(&twin);
            TEST_NEAR(z[i], r * cos(angle), 60 * EPS);
            if (i + 1 < count) TEST_NEAR(z[i + 1], r * sin(angle), 60 * EPS);
        }
        if (count == 0) continue;
        alone = flow_rng_normal(&before);
        TEST_NEAR(alone, z[0], 0);
    }
}

/* n and d taken for each other, or one of them forgotten. */
static void test_normal_sample_shape(void) {
    flow_real a[30], b[30];
    flow_rng rng = test_rng(3), twin = rng;
    flow_normal_sample(&rng, a, 10, 3);
    flow_normal_sample(&twin, b, 3, 10);
    TEST(memcmp(a, b, sizeof a) == 0);
    TEST_EQ_INT(draws_between(twin, &rng), 0);
}

/* The two halves of a pair must each be normal, and independent. */
static void test_normal_distribution(void) {
    static flow_real z[2 * N], half[N], square[2 * N];
    flow_rng rng = test_rng(4);
    int i, which;
    flow_normal_sample(&rng, z, N, 2);
    for (i = 0; i < 2 * N; i++) square[i] = z[i] * z[i];
    for (which = 0; which < 2; which++) {
        for (i = 0; i < N; i++) half[i] = z[2 * i + which];
        TEST(ks_accepts(half, N, normal_cdf, NULL));
        TEST_MEAN(half, N, 1, 0);
        TEST_VARIANCE(half, N, 1, 0, 1);
        TEST_VARIANCE(square + which, N, 2, 1, 2);
    }
    TEST_COVARIANCE(z, 0, z + 1, 0, N, 2, 0);
    TEST_COVARIANCE(z, 0, square + 1, 1, N, 2, 0);
    TEST_COVARIANCE(square, 1, square + 1, 1, N, 2, 0);
}

static int normal_logprob_fn(void *ctx, flow_real *logp, const flow_real *x, int n) {
    flow_normal_logprob(logp, x, n, *(int *)ctx);
    return FLOW_OK;
}

/* A lost half, a 2 pi that does not grow with d, a point that reads its neighbour's numbers. */
static void test_normal_logprob(void) {
    static const int dims[] = {1, 2, 3, 64};
    static flow_real x[5 * 64], logp[5];
    flow_rng rng = test_rng(5);
    flow_real mass = 0;
    int d, i, j, s;
    for (s = 0; s < 4; s++) {
        d = dims[s];
        flow_normal_sample(&rng, x, 5, d);
        flow_normal_logprob(logp, x, 5, d);
        for (i = 0; i < 5; i++) {
            double want = 0;
            for (j = 0; j < d; j++) want -= pow((double)x[i * d + j], 2) / 2 + log_two_pi / 2;
            TEST_NEAR(logp[i], want, 16 * d * EPS);
        }
        if (d > 3) continue;
        TEST_ERR(flow_quadrature(&mass, normal_logprob_fn, &d, -8, 8, 32, d), FLOW_OK);
        TEST_NEAR(mass, 1, 1e-13 + 3000 * EPS);
    }
}

/* A score of the wrong sign or size; an x that must not be touched. */
static void test_normal_score(void) {
    flow_real x[6] = {1, -2, 0, FLOWI_R(2.385), -5, 7}, score[6];
    int i;
    flow_normal_score(score, x, 2, 3);
    for (i = 0; i < 6; i++) TEST_NEAR(score[i], -(double)x[i], 0);
    flow_normal_score(x, x, 3, 2);
    TEST_NEAR(x[5], -7, 0);
}

/* ---- mixtures -------------------------------------------------------------------------------- */

/* Two components in the plane whose weights (sum 8), means and covariances have nothing in
 * common. */
static const flow_real plane_weight[2] = {6, 2};
static const flow_real plane_mean[4] = {1, -2, -1, 3};
static const flow_real plane_cov[8] = {2, FLOWI_R(-0.5), FLOWI_R(-0.5), 1,
                                       FLOWI_R(0.5), FLOWI_R(0.25), FLOWI_R(0.25), FLOWI_R(0.25)};

static int plane_init(flow_mixture *m) {
    return flow_mixture_init(m, plane_weight, plane_mean, plane_cov, 2, 2);
}

/* log sum_k w_k N(x; m_k, C_k) in the plane, by explicit inverses and determinants. */
static double plane_logprob(const flow_real *x) {
    double p = 0;
    int k;
    for (k = 0; k < 2; k++) {
        const double c00 = (double)plane_cov[4 * k], c01 = (double)plane_cov[4 * k + 1];
        const double c11 = (double)plane_cov[4 * k + 3], det = c00 * c11 - c01 * c01;
        const double u = (double)(x[0] - plane_mean[2 * k]);
        const double v = (double)(x[1] - plane_mean[2 * k + 1]);
        const double q = (c11 * u * u - 2 * c01 * u * v + c00 * v * v) / det;
        p += (double)plane_weight[k] / 8 * exp(-q / 2 - log_two_pi) / sqrt(det);
    }
    return log(p);
}

/* A weight not normalised, a determinant inverted or squared, a transposed factor. */
static void test_mixture_logprob(void) {
    flow_mixture m;
    flow_real x[40], logp[20];
    flow_rng rng = test_rng(6);
    int i;
    TEST_ERR(plane_init(&m), FLOW_OK);
    TEST_NEAR(m.weight[0], 0.75, 2 * EPS);
    TEST_NEAR(m.weight[1], 0.25, 2 * EPS);
    flow_uniform_sample(&rng, x, -5, 5, 20, 2);
    flow_mixture_logprob(&m, logp, x, 20);
    for (i = 0; i < 20; i++) {
        const double want = plane_logprob(x + 2 * i);
        TEST_NEAR(logp[i], want, 200 * EPS * (1 + fabs(want)));
    }
    flow_mixture_free(&m);
    flow_mixture_free(&m); /* twice is allowed */
    TEST(m.weight == NULL && m.k == 0);
}

static int mixture_logprob_fn(void *ctx, flow_real *logp, const flow_real *x, int n) {
    flow_mixture_logprob((const flow_mixture *)ctx, logp, x, n);
    return FLOW_OK;
}

static int mixture_loss_fn(void *ctx, flow_real *loss, const flow_real *x) {
    flow_mixture_logprob((const flow_mixture *)ctx, loss, x, 1);
    return FLOW_OK;
}

/* k components in d dimensions with covariances A A' + I/2. */
static void random_mixture(flow_mixture *m, flow_rng *rng, int k, int d) {
    static flow_real weight[4], mean[4 * 64], cov[4 * 64 * 64], a[64 * 64];
    int i, j;
    flow_uniform_sample(rng, weight, FLOWI_R(0.1), 3, k, 1);
    flow_normal_sample(rng, mean, k, d);
    for (i = 0; i < k; i++) {
        flow_real *c = cov + i * d * d;
        flow_normal_sample(rng, a, d, d);
        for (j = 0; j < d * d; j++) a[j] /= flowi_sqrt((flow_real)d);
        flow_matmul(c, a, 0, a, 1, d, d, d, 0);
        for (j = 0; j < d; j++) c[j * d + j] += FLOWI_R(0.5);
    }
    TEST_ERR(flow_mixture_init(m, weight, mean, cov, k, d), FLOW_OK);
}

/* Any number of components, any dimension: a stride off by one makes the mass differ from 1. */
static void test_mixture_integral(void) {
    static const int sides[] = {0, 300, 80, 40};
    flow_rng rng = test_rng(7);
    int d;
    for (d = 1; d <= 3; d++) {
        flow_mixture m;
        flow_real mass = 0;
        random_mixture(&m, &rng, 4 - d / 3, d);
        TEST_ERR(flow_quadrature(&mass, mixture_logprob_fn, &m, -14, 14, sides[d], d), FLOW_OK);
        TEST_NEAR(mass, 1, d == 3 ? 1e-3 : 1e-6 + 3000 * EPS);
        flow_mixture_free(&m);
    }
}

/* A score of the wrong sign, without its posterior, or with one triangular solve of the two. */
static void test_mixture_score(void) {
    static const int dims[] = {1, 2, 3, 5, 8, 64};
    static flow_real x[3 * 64], score[3 * 64];
    flow_rng rng = test_rng(8);
    int s, i;
    for (s = 0; s < 6; s++) {
        const int d = dims[s];
        flow_mixture m;
        random_mixture(&m, &rng, 1 + s % 4, d);
        flow_normal_sample(&rng, x, 3, d);
        flow_mixture_score(&m, score, x, 3);
        for (i = 0; i < 3; i++) {
            flow_real worst = 1;
            TEST_ERR(flow_check_gradient(&worst, mixture_loss_fn, &m, x + i * d, score + i * d, d,
                                         FLOWI_R(STEP)), FLOW_OK);
            TEST((double)worst < 2e4 * STEP * STEP);
        }
        flow_mixture_free(&m);
    }
}

/* Exponentials that underflow: far from every mean the log-density is still finite, and its score
 * points back, until even its square overflows. A component of weight 0 is not there. */
static void test_mixture_far_away(void) {
    const flow_real weight[3] = {1, 0, 3}, mean[3] = {0, FLOWI_R(1e6), 10}, cov[3] = {1, 1, 4};
    const flow_real x[3] = {FLOWI_R(-1e4), FLOWI_R(1e6), 0};
    flow_mixture m;
    const flow_real beyond = EPS < 1e-10 ? FLOWI_R(1e200) : FLOWI_R(1e30);
    flow_real logp[3], score[3], q = FLOWI_R(1e4) + 10;
    TEST_ERR(flow_mixture_init(&m, weight, mean, cov, 3, 1), FLOW_OK);
    flow_mixture_logprob(&m, logp, x, 3);
    flow_mixture_score(&m, score, x, 3);
    TEST_NEAR(logp[0], log(0.75 / 2) - log_two_pi / 2 - (double)(q * q) / 8, 1e8 * EPS);
    TEST_NEAR(score[0], (double)q / 4, 1e5 * EPS);
    TEST(logp[1] < FLOWI_R(-1e11)); /* the third component's, though the second sits here */
    TEST_NEAR(logp[2], log(0.25 + 0.375 * exp(-100.0 / 8)) - log_two_pi / 2, 20 * EPS);
    flow_mixture_logprob(&m, logp, &beyond, 1);
    flow_mixture_score(&m, score, &beyond, 1);
    TEST_NEAR(logp[0], -HUGE_VAL, 0);
    TEST_NEAR(score[0] / beyond, -1, 4 * EPS); /* the first component's, whose variance is 1 */
    flow_mixture_free(&m);
}

/* d = 64, where each coordinate is alone: the sum of 64 one-dimensional log-densities. */
static void test_mixture_of_one_in_64_dimensions(void) {
    static flow_real cov[64 * 64], mean[64], x[64], weight[1] = {2};
    flow_mixture m;
    flow_real logp;
    double want = 0;
    int j;
    for (j = 0; j < 64; j++) {
        const double variance = 0.1 * (j + 1);
        cov[65 * j] = FLOWI_R(variance);
        mean[j] = (flow_real)j;
        x[j] = (flow_real)(j + 1);
        want -= (1 / variance + log(variance) + log_two_pi) / 2;
    }
    TEST_ERR(flow_mixture_init(&m, weight, mean, cov, 1, 64), FLOW_OK);
    flow_mixture_logprob(&m, &logp, x, 1);
    TEST_NEAR(logp, want, 2000 * EPS);
    flow_mixture_free(&m);
}

/* ---- samples of mixtures --------------------------------------------------------------------- */

/* The sample is made of the draws in the documented order: component, then z, then m + L z. */
static void test_mixture_sample_draws(void) {
    flow_mixture m;
    flow_rng rng = test_rng(9), twin = rng, before;
    flow_real x[3 * 50], z[3];
    int label[50], i, j;
    random_mixture(&m, &rng, 3, 3);
    twin = before = rng;
    flow_mixture_sample(&m, &rng, x, label, 50);
    TEST_EQ_INT(draws_between(before, &rng), 50 * (1 + 4));
    for (i = 0; i < 50; i++) {
        const int k = flow_rng_categorical(&twin, m.weight, 3);
        const flow_real *l = m.chol + 9 * k;
        TEST_EQ_INT(label[i], k);
        flow_normal_sample(&twin, z, 1, 3);
        for (j = 0; j < 3; j++) {
            const double want =
                (double)(l[3 * j] * z[0] + l[3 * j + 1] * z[1] + l[3 * j + 2] * z[2]);
            TEST_NEAR(x[3 * i + j], (double)m.mean[3 * k + j] + want, 30 * EPS);
        }
    }
    flow_mixture_sample(&m, &before, z, NULL, 1); /* no label wanted: the same point */
    TEST(memcmp(z, x, sizeof z) == 0);
    flow_mixture_free(&m);
}

/* The points of one component among those of the plane's mixture, and how many. */
static int points_of(int component, flow_real *to, const flow_real *x, const int *label) {
    int i, count = 0;
    for (i = 0; i < N; i++) {
        if (label[i] != component) continue;
        to[2 * count] = x[2 * i];
        to[2 * count + 1] = x[2 * i + 1];
        count++;
    }
    return count;
}

/* A label that does not belong to its point, L' for L, a covariance taken for its root. */
static void test_mixture_sample_distribution(void) {
    static flow_real x[2 * N], y[2 * N], white[N];
    static int label[N];
    flow_mixture m;
    flow_rng rng = test_rng(10);
    int i, k;
    TEST_ERR(plane_init(&m), FLOW_OK);
    flow_mixture_sample(&m, &rng, x, label, N);
    for (k = 0; k < 2; k++) {
        const double mx = (double)plane_mean[2 * k], my = (double)plane_mean[2 * k + 1];
        const flow_real *c = plane_cov + 4 * k;
        const int n = points_of(k, y, x, label);
        TEST_NEAR(n, (k == 0 ? 0.75 : 0.25) * N, 6 * sqrt(0.1875 * N));
        TEST_MEAN(y, n, 2, mx);
        TEST_MEAN(y + 1, n, 2, my);
        TEST_VARIANCE(y, n, 2, mx, (double)c[0]);
        TEST_VARIANCE(y + 1, n, 2, my, (double)c[3]);
        TEST_COVARIANCE(y, mx, y + 1, my, n, 2, (double)c[1]);
        for (i = 0; i < n; i++) /* x + y is normal too */
            white[i] = FLOWI_R(((double)y[2 * i] + (double)y[2 * i + 1] - mx - my) /
                               sqrt((double)(c[0] + 2 * c[1] + c[3])));
        TEST(ks_accepts(white, n, normal_cdf, NULL));
    }
    flow_mixture_free(&m);
}

/* Samples and log-density that are not of the same p: E log p is the negative entropy, which for a
 * single Gaussian is (d/2)(1 + log 2 pi) + log|L|. */
static void test_mixture_entropy(void) {
    static flow_real x[5 * N], logp[N];
    flow_mixture m;
    flow_rng rng = test_rng(11);
    double entropy = 2.5 * (1 + log_two_pi);
    int j;
    random_mixture(&m, &rng, 1, 5);
    for (j = 0; j < 5; j++) entropy += log((double)m.chol[6 * j]);
    flow_mixture_sample(&m, &rng, x, NULL, N);
    flow_mixture_logprob(&m, logp, x, N);
    TEST_MEAN(logp, N, 1, -entropy);
    flow_mixture_free(&m);
}

/* ---- what a mixture refuses ------------------------------------------------------------------ */

/* The error of a mixture of two in the plane with one number replaced; nothing stays allocated. */
static int init_with(int array, int index, flow_real value) {
    flow_real weight[2], mean[4], cov[8], *arrays[3];
    flow_mixture m;
    const long live = test_state.live;
    int error;
    memcpy(weight, plane_weight, sizeof weight);
    memcpy(mean, plane_mean, sizeof mean);
    memcpy(cov, plane_cov, sizeof cov);
    arrays[0] = weight;
    arrays[1] = mean;
    arrays[2] = cov;
    arrays[array][index] = value;
    error = flow_mixture_init(&m, weight, mean, cov, 2, 2);
    if (error < 0) TEST_EQ_INT(test_state.live, live);
    if (error < 0) TEST(m.weight == NULL);
    flow_mixture_free(&m);
    return error;
}

/* A NaN, an infinity or an indefinite covariance, anywhere, that is taken for a mixture; a negative
 * weight that others outweigh, or that none is there to outweigh. */
static void test_mixture_errors(void) {
    const flow_real infinity = FLOWI_INFINITY, nan = infinity - infinity, negative[2] = {-1, -1};
    flow_mixture m;
    int i;
    for (i = 0; i < 2; i++) TEST_ERR(init_with(0, i, nan), FLOW_E_FINITE);
    for (i = 0; i < 2; i++) TEST_ERR(init_with(0, i, infinity), FLOW_E_FINITE);
    for (i = 0; i < 4; i++) TEST_ERR(init_with(1, i, nan), FLOW_E_FINITE);
    for (i = 0; i < 4; i++) TEST_ERR(init_with(1, i, -infinity), FLOW_E_FINITE);
    for (i = 0; i < 8; i++) TEST_ERR(init_with(2, i, nan), FLOW_E_FINITE);
    TEST_ERR(init_with(0, 1, -6), FLOW_E_FINITE); /* the weights' sum is 0 */
    TEST_ERR(init_with(0, 0, -1), FLOW_E_FINITE); /* {-1, 2} */
    TEST_ERR(init_with(0, 1, -1), FLOW_E_FINITE);
    TEST_ERR(flow_mixture_init(&m, negative, plane_mean, plane_cov, 2, 2), FLOW_E_FINITE);
    TEST_ERR(init_with(0, 0, 0), FLOW_OK);        /* one of them may be */
    TEST_ERR(init_with(2, 0, -2), FLOW_E_SINGULAR);
    TEST_ERR(init_with(2, 3, FLOWI_R(0.125)), FLOW_E_SINGULAR); /* 2 * 0.125 = 0.5^2 */
    TEST_ERR(init_with(2, 7, FLOWI_R(0.125)), FLOW_E_SINGULAR);
}

/* An allocation that fails unseen, and mistakes of the caller. */
static void test_mixture_memory(void) {
    const flow_real one[1] = {1};
    flow_mixture m;
    TEST_EVERY_ALLOC(plane_init(&m), flow_mixture_free(&m));
    TEST_ASSERT_TRIPS(flow_mixture_init(NULL, one, one, one, 1, 1));
    TEST_ASSERT_TRIPS(flow_mixture_init(&m, NULL, one, one, 1, 1));
    TEST_ASSERT_TRIPS(flow_mixture_init(&m, one, NULL, one, 1, 1));
    TEST_ASSERT_TRIPS(flow_mixture_init(&m, one, one, NULL, 1, 1));
    TEST_ASSERT_TRIPS(flow_mixture_init(&m, one, one, one, 0, 1));
    TEST_ASSERT_TRIPS(flow_mixture_init(&m, one, one, one, 1, 0));
}

/* ---- Bernoulli ------------------------------------------------------------------------------- */

/* 0 for 1, p for 1 - p, an end that is not certain, a draw too many. */
static void test_bernoulli_sample(void) {
    static int y[N];
    flow_rng rng = test_rng(12), twin = rng;
    int i, ones = 0;
    flow_bernoulli_sample(&rng, y, FLOWI_R(0.3), N);
    for (i = 0; i < N; i++) {
        TEST_EQ_INT(y[i], flow_rng_uniform(&twin) < FLOWI_R(0.3) ? 1 : 0);
        ones += y[i];
    }
    TEST_EQ_INT(draws_between(twin, &rng), 0);
    TEST_NEAR(ones, 0.3 * N, 6 * sqrt(0.21 * N));
    flow_bernoulli_sample(&rng, y, 0, N);
    for (i = ones = 0; i < N; i++) ones += y[i];
    TEST_EQ_INT(ones, 0);
    flow_bernoulli_sample(&rng, y, 1, N);
    for (i = ones = 0; i < N; i++) ones += y[i];
    TEST_EQ_INT(ones, N);
    TEST_ASSERT_TRIPS(flow_bernoulli_sample(&rng, y, FLOWI_R(-0.01), 1));
    TEST_ASSERT_TRIPS(flow_bernoulli_sample(&rng, y, FLOWI_R(1.01), 1));
}

/* 0 log 0 that becomes a NaN; a 1 - p that loses the digits of a small p. */
static void test_bernoulli_logprob(void) {
    static const int y[2] = {0, 1};
    flow_real logp[2];
    double p;
    for (p = 0.05; p < 1; p += 0.05) {
        flow_bernoulli_logprob(logp, y, FLOWI_R(p), 2);
        TEST_NEAR(exp((double)logp[1]), p, 8 * EPS);
        TEST_NEAR(exp((double)logp[0]), 1 - p, 8 * EPS);
    }
    flow_bernoulli_logprob(logp, y, 0, 2);
    TEST_NEAR(logp[0], 0, 0);
    TEST_NEAR(logp[1], -HUGE_VAL, 0);
    flow_bernoulli_logprob(logp, y, 1, 2);
    TEST_NEAR(logp[0], -HUGE_VAL, 0);
    TEST_NEAR(logp[1], 0, 0);
    flow_bernoulli_logprob(logp, y, FLOWI_EPS / 64, 2);
    TEST_NEAR(logp[0], -EPS / 64, EPS * EPS);
}

/* A score of the wrong sign: against differences of the log-probability in p. */
static void test_bernoulli_score(void) {
    static const int y[2] = {1, 0};
    double p;
    for (p = 0.1; p < 0.95; p += 0.1) {
        flow_real score[2], up[2], down[2];
        const flow_real h = FLOWI_R(STEP * 0.1);
        int i;
        flow_bernoulli_score(score, y, FLOWI_R(p), 2);
        flow_bernoulli_logprob(up, y, FLOWI_R(p) + h, 2);
        flow_bernoulli_logprob(down, y, FLOWI_R(p) - h, 2);
        for (i = 0; i < 2; i++) {
            const double slope = (double)(up[i] - down[i]) / (2 * (double)h);
            TEST_NEAR(score[i], slope, 300 * STEP * STEP / least_of(p, 1 - p));
        }
        TEST_NEAR(p * (double)score[0] + (1 - p) * (double)score[1], 0, 20 * EPS); /* its mean */
    }
}

int main(void) {
    test_section("uniform");
    test_uniform_sample();
    test_uniform_logprob();
    test_uniform_integral_and_score();
    test_section("normal");
    test_normal_pairs();
    test_normal_sample_shape();
    test_normal_distribution();
    test_normal_logprob();
    test_normal_score();
    test_section("mixture");
    test_mixture_logprob();
    test_mixture_integral();
    test_mixture_score();
    test_mixture_far_away();
    test_mixture_of_one_in_64_dimensions();
    test_mixture_sample_draws();
    test_mixture_sample_distribution();
    test_mixture_entropy();
    test_mixture_errors();
    test_mixture_memory();
    test_section("Bernoulli");
    test_bernoulli_sample();
    test_bernoulli_logprob();
    test_bernoulli_score();
    return test_done();
}
