/* 11_flow_matching.c - tests of section 11 of flow.h: the path, the loss, and the closed-form
 * velocities, held against direct integration of what they are said to be the mean of. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define N 6     /* points at which a field is asked */
#define MOST 64 /* the largest dimension */

/* Up, down, twice the same: a velocity must not lean on what it knew of another time. */
static const flow_real some_times[N] = {FLOWI_R(0.5), FLOWI_R(0.1), FLOWI_R(0.8),
                                        FLOWI_R(0.8), FLOWI_R(0.5), 0};

/* ---- the path -------------------------------------------------------------------------------- */

/* alpha and sigma as the papers write them: beta integrated by Simpson's rule, which is exact for
 * it; VE as a geometric mean of its ends. */
static void twin_path(int path, double t, double *alpha, double *sigma) {
    const double s = 1 - t, half_pi = 2 * atan(1.0);
    const double integral = s / 6 * (0.1 + 4 * (0.1 + 19.9 * s / 2) + (0.1 + 19.9 * s));
    *alpha = path == FLOW_LINEAR ? t : path == FLOW_COSINE ? sin(half_pi * t)
           : path == FLOW_VP ? exp(-integral / 2) : 1;
    *sigma = path == FLOW_LINEAR ? s : path == FLOW_COSINE ? cos(half_pi * t)
           : path == FLOW_VP ? sqrt(1 - exp(-integral)) : pow(0.01, t) * pow(25, s);
}

/* A derivative of the wrong sign, ends exchanged: t = 0 is noise, t = 1 is data. */
static void test_path_values_and_slopes(void) {
    int path, k;
    for (path = 0; path < FLOW_PATH_COUNT; path++) {
        for (k = 0; k <= 16; k++) {
            const double t = k / 16.0, h = 1e-5;
            const flow_path p = flow_path_at(path, (flow_real)t);
            double a, s, up[2], down[2];
            twin_path(path, t, &a, &s);
            TEST_NEAR(p.alpha, a, 100 * EPS);
            TEST_NEAR(p.sigma, path == FLOW_VP && k == 16 ? 1e-3 : s, 1e-9 + 500 * EPS);
            if (k == 0 || k == 16) continue;
            twin_path(path, t + h, &up[0], &up[1]);
            twin_path(path, t - h, &down[0], &down[1]);
            TEST_NEAR(p.dalpha, (up[0] - down[0]) / (2 * h), 1e-7 + 500 * EPS);
            TEST_NEAR(p.dsigma, (up[1] - down[1]) / (2 * h), 1e-5 + 2000 * EPS);
        }
    }
    TEST_ASSERT_TRIPS((void)flow_path_at(-1, 0));
    TEST_ASSERT_TRIPS((void)flow_path_at(FLOW_PATH_COUNT, 0));
    TEST_ASSERT_TRIPS((void)flow_path_name(FLOW_PATH_COUNT));
    TEST(strcmp(flow_path_name(FLOW_LINEAR), "linear") == 0);
    TEST(strcmp(flow_path_name(FLOW_VE), "VE") == 0);
}

/* The ends: noise and data where a path has them; derivatives that are finite there. */
static void test_path_ends(void) {
    const flow_path vp = flow_path_at(FLOW_VP, 1);
    int path;
    for (path = 0; path < FLOW_PATH_COUNT; path++) {
        const flow_path noise = flow_path_at(path, 0), data = flow_path_at(path, 1);
        TEST(data.alpha == 1);
        TEST(fabs((double)data.sigma) <=
             (path == FLOW_VE ? 0.0101 : path == FLOW_VP ? 1.001e-3 : EPS));
        TEST(path == FLOW_VE || fabs((double)noise.alpha) < 0.0067);
        TEST_NEAR(noise.sigma, path == FLOW_VE ? 25 : 1, path == FLOW_VE ? 1e-4 : 3e-5);
        TEST(flowi_finite(noise.dalpha) && flowi_finite(noise.dsigma));
        TEST(flowi_finite(data.dalpha) && flowi_finite(data.dsigma));
    }
    TEST_NEAR(vp.dalpha, 0.05, 10 * EPS);
    TEST_NEAR(vp.dsigma, -50, 1e-3); /* beta(0)/2/0.001 */
    TEST_NEAR(flow_path_at(FLOW_VP, FLOWI_R(1 - 1e-4)).dsigma, -0.05 / sqrt(1e-5) , 1);
}

/* Noise and data exchanged, one time for the whole batch, a path not its own. */
static void test_path_sample(void) {
    flow_real x0[N * 3], x1[N * 3], xt[N * 3], ut[N * 3];
    flow_rng rng = test_rng(1);
    int i, path;
    flow_normal_sample(&rng, x0, N, 3);
    flow_normal_sample(&rng, x1, N, 3);
    for (path = 0; path < FLOW_PATH_COUNT; path++) {
        flow_path_sample(path, xt, ut, x0, x1, some_times, N, 3);
        for (i = 0; i < N * 3; i++) {
            const flow_path p = flow_path_at(path, some_times[i / 3]);
            const double a = (double)x0[i], b = (double)x1[i];
            TEST_NEAR(xt[i], (double)p.alpha * b + (double)p.sigma * a, 500 * EPS);
            TEST_NEAR(ut[i], (double)p.dalpha * b + (double)p.dsigma * a, 2000 * EPS);
        }
    }
    xt[0] = 7;
    flow_path_sample(FLOW_LINEAR, xt, ut, x0, x1, some_times, 0, 3);
    TEST_NEAR(xt[0], 7, 0);
}

/* A prediction in the place of another, a sign, alpha for sigma: all four of one pair. */
static void test_convert(void) {
    flow_real p[4][N * 2], x[N * 2], t[N], y[N * 2];
    flow_rng rng = test_rng(2);
    int path, from, to, i;
    for (i = 0; i < N; i++) t[i] = (flow_real)(i + 1) / (N + 1);
    flow_normal_sample(&rng, p[FLOW_NOISE], N, 2);
    flow_normal_sample(&rng, p[FLOW_DATA], N, 2);
    for (path = 0; path < FLOW_PATH_COUNT; path++) {
        flow_path_sample(path, x, p[FLOW_VELOCITY], p[FLOW_NOISE], p[FLOW_DATA], t, N, 2);
        for (i = 0; i < N * 2; i++)
            p[FLOW_SCORE][i] = -p[FLOW_NOISE][i] / flow_path_at(path, t[i / 2]).sigma;
        for (from = 0; from < 4; from++) {
            for (to = 0; to < 4; to++) {
                memcpy(y, p[from], sizeof y);
                TEST_ERR(flow_path_convert(path, to, y, from, y, x, t, N, 2), FLOW_OK);
                TEST_NEAR_ALL(y, p[to], N * 2, 1e5 * EPS);
            }
        }
    }
    TEST_ASSERT_TRIPS(flow_path_convert(FLOW_LINEAR, 4, y, 0, y, x, t, N, 2));
    TEST_ASSERT_TRIPS(flow_path_convert(FLOW_LINEAR, 0, y, -1, y, x, t, N, 2));
}

/* At the ends of the linear path: what is determined there, and what is not. */
static void test_convert_ends(void) {
    const flow_real t[2] = {0, 1}, x = FLOWI_R(0.5), p = 2;
    flow_real y = 0;
    int from, to;
    for (from = 0; from < 4; from++) {
        for (to = 0; to < 4; to++) {
            const int same = from == to, of_noise = from == FLOW_NOISE || from == FLOW_SCORE;
            const int noise = same || !of_noise || to == FLOW_NOISE || to == FLOW_SCORE;
            const int data = same || (to != FLOW_SCORE && from != FLOW_DATA);
            TEST_ERR(flow_path_convert(FLOW_LINEAR, to, &y, from, &p, &x, t, 1, 1),
                     noise ? FLOW_OK : FLOW_E_SINGULAR);
            TEST_ERR(flow_path_convert(FLOW_LINEAR, to, &y, from, &p, &x, t + 1, 1, 1),
                     data ? FLOW_OK : FLOW_E_SINGULAR);
        }
    }
    TEST_ERR(flow_path_convert(FLOW_LINEAR, FLOW_DATA, &y, FLOW_VELOCITY, &p, &x, t, 1, 1),
             FLOW_OK);
    TEST_NEAR(y, 2.5, EPS); /* x0 = x, x1 = x0 + v */
    TEST_ERR(flow_path_convert(FLOW_LINEAR, FLOW_NOISE, &y, FLOW_VELOCITY, &p, &x, t + 1, 1, 1),
             FLOW_OK);
    TEST_NEAR(y, -1.5, EPS);
}

/* Quotients by a sigma or alpha that is 0 but for rounding, passed off as predictions: the ends of
 * the cosine path. */
static void test_convert_ends_of_cosine(void) {
    const flow_real t[2] = {0, 1}, x = FLOWI_R(0.5), p = 2;
    flow_real y = 0;
    int from;
    TEST_ERR(flow_path_convert(FLOW_COSINE, FLOW_DATA, &y, FLOW_NOISE, &p, &x, t, 1, 1),
             FLOW_E_SINGULAR);
    TEST_ERR(flow_path_convert(FLOW_COSINE, FLOW_NOISE, &y, FLOW_DATA, &p, &x, t + 1, 1, 1),
             FLOW_E_SINGULAR);
    TEST_ERR(flow_path_convert(FLOW_COSINE, FLOW_VELOCITY, &y, FLOW_DATA, &p, &x, t + 1, 1, 1),
             FLOW_E_SINGULAR);
    for (from = 0; from < 4; from++)
        if (from != FLOW_SCORE)
            TEST_ERR(flow_path_convert(FLOW_COSINE, FLOW_SCORE, &y, from, &p, &x, t + 1, 1, 1),
                     FLOW_E_SINGULAR);
}

/* ---- the loss -------------------------------------------------------------------------------- */

#define D 2
#define COND 1
#define ROWS 4

typedef struct {
    flow_net net;
    flow_real x[ROWS * D], t[ROWS], c[ROWS], u[ROWS * D];
} loss_case;

static void loss_case_init(loss_case *q) {
    flow_rng rng = test_rng(2);
    TEST_ERR(flow_net_init(&q->net, D, COND, 5, 1, FLOW_TANH, ROWS + 2, &rng), FLOW_OK);
    flow_normal_sample(&rng, q->x, ROWS, D);
    flow_normal_sample(&rng, q->t, ROWS, 1);
    flow_normal_sample(&rng, q->c, ROWS, COND);
    flow_normal_sample(&rng, q->u, ROWS, D);
}

static int run_loss(loss_case *q, flow_real *loss, int n) {
    return flow_cfm_loss(&q->net, loss, q->x, q->t, q->c, q->u, n);
}

/* A mean over numbers instead of samples, a difference not squared, a condition left out. */
static void test_loss_value(void) {
    flow_real v[ROWS * D], loss = 0;
    double sum = 0;
    loss_case q;
    int i;
    loss_case_init(&q);
    flow_net_forward(&q.net, v, q.x, q.t, q.c, ROWS);
    for (i = 0; i < ROWS * D; i++) sum += pow((double)v[i] - (double)q.u[i], 2);
    TEST_ERR(run_loss(&q, &loss, ROWS), FLOW_OK);
    TEST_NEAR(loss, sum / ROWS, 100 * EPS);
    TEST_ERR(run_loss(&q, &loss, 1), FLOW_OK);
    for (sum = 0, i = 0; i < D; i++) sum += pow((double)v[i] - (double)q.u[i], 2);
    TEST_NEAR(loss, sum, 100 * EPS);
    flow_net_free(&q.net);
}

/* A factor of 2 or 1/n lost, a wrong sign, a gradient that replaces what was there. */
static void test_loss_gradient(void) {
    const flow_real h = (flow_real)STEP;
    flow_real *once, up = 0, down = 0;
    loss_case q;
    int i;
    loss_case_init(&q);
    TEST_ERR(run_loss(&q, &up, ROWS), FLOW_OK);
    once = flowi_new(q.net.params);
    memcpy(once, q.net.grad, (size_t)q.net.params * sizeof *once);
    TEST_ERR(run_loss(&q, &up, ROWS), FLOW_OK);
    for (i = 0; i < q.net.params; i++) TEST_NEAR(q.net.grad[i], 2 * once[i], 100 * EPS);
    for (i = 0; i < q.net.params; i++) {
        const flow_real kept = q.net.theta[i];
        q.net.theta[i] = kept + h;
        TEST_ERR(run_loss(&q, &up, ROWS), FLOW_OK);
        q.net.theta[i] = kept - h;
        TEST_ERR(run_loss(&q, &down, ROWS), FLOW_OK);
        q.net.theta[i] = kept;
        TEST_NEAR(once[i], (up - down) / (2 * h), 50 * STEP * STEP);
    }
    flow_release(once);
    flow_net_free(&q.net);
}

/* A mean over nothing, a NaN or an overflow that reaches the gradient. */
static void test_loss_errors(void) {
    flow_real loss = 7, *bad[5];
    loss_case q;
    int i;
    loss_case_init(&q);
    TEST_ERR(run_loss(&q, &loss, 0), FLOW_E_EMPTY);
    TEST_ERR(run_loss(&q, &loss, -1), FLOW_E_EMPTY);
    bad[0] = &q.x[3], bad[1] = &q.t[1], bad[2] = &q.c[2], bad[3] = &q.u[5];
    bad[4] = &q.net.theta[4];
    for (i = 0; i < 5; i++) {
        const flow_real kept = *bad[i];
        *bad[i] = FLOWI_INFINITY - FLOWI_INFINITY;
        TEST_ERR(run_loss(&q, &loss, ROWS), FLOW_E_FINITE);
        *bad[i] = kept;
    }
    q.u[0] = FLOWI_R(1e30) * FLOWI_R(1e8); /* finite, but its square is not, in float */
    if (EPS < 1e-10) q.u[0] = FLOWI_INFINITY;
    TEST_ERR(run_loss(&q, &loss, ROWS), FLOW_E_FINITE);
    for (i = 0; i < q.net.params; i++) TEST(q.net.grad[i] == 0);
    TEST_ASSERT_TRIPS(run_loss(&q, &loss, ROWS + 3));
    flow_net_free(&q.net);
}

/* ---- mixtures: the twin integrates over all data points -------------------------------------- */

/* A mixture of two in one or two dimensions, with unequal weights and full covariances. */
static void example_mixture(flow_mixture *m, int d) {
    static const flow_real weight[2] = {1, 3};
    static const flow_real mean1[2] = {-1, FLOWI_R(1.5)}, cov1[2] = {FLOWI_R(0.25), 1};
    static const flow_real mean2[4] = {-1, FLOWI_R(0.5), 1, -1};
    static const flow_real cov2[8] = {
        1, FLOWI_R(0.5), FLOWI_R(0.5), FLOWI_R(0.75), FLOWI_R(0.5), FLOWI_R(-0.25), FLOWI_R(-0.25),
        1};
    TEST_ERR(flow_mixture_init(m, weight, d == 1 ? mean1 : mean2, d == 1 ? cov1 : cov2, 2, d),
             FLOW_OK);
}

/* (x - m)'C^-1 (x - m) by the inverse of a 1 x 1 or 2 x 2 matrix; *det = det C */
static double twin_distance(const double *x, const flow_real *m, const flow_real *c, int d,
                            double *det) {
    const double a = x[0] - (double)m[0], b = d == 1 ? 0 : x[1] - (double)m[1];
    const double c00 = (double)c[0], c01 = d == 1 ? 0 : (double)c[1],
                 c11 = d == 1 ? 1 : (double)c[3];
    *det = c00 * c11 - c01 * c01;
    return (a * a * c11 - 2 * a * b * c01 + b * b * c00) / *det;
}

static double twin_density(const flow_mixture *m, const double *x) {
    const int d = m->d;
    double p = 0;
    int k;
    for (k = 0; k < m->k; k++) {
        double det, q = twin_distance(x, m->mean + k * d, m->cov + k * d * d, d, &det);
        p += (double)m->weight[k] * exp(-q / 2) / sqrt(pow(8 * atan(1.0), d) * det);
    }
    return p;
}

/* The meaning of p_t and v*, as it stands: with x = (1 - t) x0 + t x1,
 *   q(x1) = p(x1) N(x0)/(1 - t)^d,  p_t(x) = integral of q dx1,  v* = that of (x1 - x0) q/p_t
 * by the sum over a grid, which converges faster than any power. Returns p_t(x). */
static double twin_velocity(const flow_mixture *m, double *v, const flow_real *x, double t) {
    const int d = m->d, side = 160;
    const double h = 16.0 / side, scale = pow(h / ((1 - t) * sqrt(8 * atan(1.0))), d);
    double p = 0, x0[2], x1[2];
    int i, j;
    v[0] = v[1] = 0;
    for (i = 0; i < (d == 1 ? side : side * side); i++) {
        double weight, square = 0;
        x1[0] = -8 + h * (i % side + 0.5);
        x1[1] = -8 + h * (i / side + 0.5);
        for (j = 0; j < d; j++) {
            x0[j] = ((double)x[j] - t * x1[j]) / (1 - t);
            square += x0[j] * x0[j];
        }
        weight = square < 100 ? scale * twin_density(m, x1) * exp(-square / 2) : 0;
        for (j = 0; j < d; j++) v[j] += weight * (x1[j] - x0[j]);
        p += weight;
    }
    for (j = 0; j < d; j++) v[j] /= p;
    return p;
}

static void draw_points(int seed, flow_real *x, int n, int d) {
    flow_rng rng = test_rng(seed);
    flow_normal_sample(&rng, x, n, d);
}

/* A wrong posterior, a lost alpha or sigma, a derivative of the wrong sign, a wrong weight; the
 * factor of another time used again. */
static void test_mixture_velocity(void) {
    flow_real x[N * 2], v[N * 2];
    double want[2];
    flow_mixture m;
    flow_marginal g;
    flow_field f;
    int d, i;
    for (d = 1; d <= 2; d++) {
        example_mixture(&m, d);
        TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
        f = flow_marginal_field(&g);
        TEST_EQ_INT(f.d, d);
        draw_points(10 + d, x, N, d);
        TEST_ERR(f.velocity(f.ctx, v, x, some_times, N), FLOW_OK);
        for (i = 0; i < N; i++) {
            twin_velocity(&m, want, x + i * d, (double)some_times[i]);
            TEST_NEAR_ALL(v + i * d, want, d, 1e-9 + 500 * EPS);
        }
        TEST_ERR(f.velocity(f.ctx, v, x, some_times + 3, 1), FLOW_OK); /* last asked at 0 */
        twin_velocity(&m, want, x, (double)some_times[3]);
        TEST_NEAR_ALL(v, want, d, 1e-9 + 500 * EPS);
        flow_marginal_free(&g);
        flow_mixture_free(&m);
    }
}

/* p_t with a mean not moved, sigma for sigma^2, an off-diagonal sigma; ends that are not noise and
 * data; the original changed. */
static void test_mixture_at(void) {
    flow_real x[N * 2], logp[N], want[N];
    double v[2];
    flow_mixture m, pt;
    int d, i;
    for (d = 1; d <= 2; d++) {
        example_mixture(&m, d);
        draw_points(20 + d, x, N, d);
        for (i = 0; i < N; i++) {
            TEST_ERR(flow_mixture_at(&pt, &m, FLOW_LINEAR, some_times[i]), FLOW_OK);
            flow_mixture_logprob(&pt, logp, x + i * d, 1);
            TEST_NEAR(logp[0], log(twin_velocity(&m, v, x + i * d, (double)some_times[i])),
                      1e-9 + 500 * EPS);
            flow_mixture_free(&pt);
        }
        TEST_ERR(flow_mixture_at(&pt, &m, FLOW_LINEAR, 0), FLOW_OK);
        flow_mixture_logprob(&pt, logp, x, N);
        flow_normal_logprob(want, x, N, d);
        TEST_NEAR_ALL(logp, want, N, 50 * EPS);
        flow_mixture_free(&pt);
        TEST_ERR(flow_mixture_at(&pt, &m, FLOW_LINEAR, 1), FLOW_OK);
        flow_mixture_logprob(&pt, logp, x, N);
        flow_mixture_logprob(&m, want, x, N);
        TEST_NEAR_ALL(logp, want, N, 50 * EPS);
        flow_mixture_free(&pt);
        flow_mixture_free(&m);
    }
}

/* A field whose mass is not p_t's: d log p/dt + v grad log p + div v = 0, the continuity equation
 * divided by p, at random points and times. */
static void test_continuity(void) {
    const flow_real h = (flow_real)STEP;
    flow_real x[N * 2], score[2], v[2], jv[4], basis[4] = {1, 0, 0, 1};
    flow_mixture m, pt;
    flow_marginal g;
    flow_field f;
    int i, back;
    example_mixture(&m, 2);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    f = flow_marginal_field(&g);
    draw_points(30, x, N, 2);
    for (i = 0; i < N; i++) {
        const flow_real t = FLOWI_R(0.15 * (i + 1));
        flow_real logp[2];
        for (back = 0; back < 2; back++) {
            TEST_ERR(flow_mixture_at(&pt, &m, FLOW_LINEAR, back ? t - h : t + h), FLOW_OK);
            flow_mixture_logprob(&pt, &logp[back], x + 2 * i, 1);
            flow_mixture_free(&pt);
        }
        TEST_ERR(flow_mixture_at(&pt, &m, FLOW_LINEAR, t), FLOW_OK);
        flow_mixture_score(&pt, score, x + 2 * i, 1);
        flow_mixture_free(&pt);
        TEST_ERR(f.tangent(f.ctx, v, jv, x + 2 * i, &t, basis, 1, 2, NULL), FLOW_OK);
        TEST_NEAR((logp[0] - logp[1]) / (2 * h),
                  -(v[0] * score[0] + v[1] * score[1]) - (jv[0] + jv[3]), 300 * STEP * STEP);
    }
    flow_marginal_free(&g);
    flow_mixture_free(&m);
}

/* The ends: at t = 0 the mean of the data less x, at t = 1 (where sigma is 0) x itself. A weight
 * of 0 that counts, or that makes a NaN. */
static void test_mixture_velocity_ends(void) {
    const flow_real weight[2] = {0, 1}, times[2] = {0, 1}, x[4] = {1, -2, FLOWI_R(0.5), 3};
    flow_real v[4];
    flow_mixture m, one;
    flow_marginal g;
    int j;
    example_mixture(&m, 2);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    TEST_ERR(flow_marginal_field(&g).velocity(&g, v, x, times, 2), FLOW_OK);
    for (j = 0; j < 2; j++) {
        TEST_NEAR(v[j], 0.25 * (double)m.mean[j] + 0.75 * (double)m.mean[2 + j] - (double)x[j],
                  50 * EPS);
        TEST_NEAR(v[2 + j], x[2 + j], 50 * EPS);
    }
    flow_marginal_free(&g);
    TEST_ERR(flow_mixture_init(&one, weight, m.mean, m.cov, 2, 2), FLOW_OK);
    TEST_ERR(flow_marginal_of_mixture(&g, &one, FLOW_LINEAR), FLOW_OK);
    TEST_ERR(flow_marginal_field(&g).velocity(&g, v, x, times, 1), FLOW_OK);
    for (j = 0; j < 2; j++) TEST_NEAR(v[j], m.mean[2 + j] - x[j], 50 * EPS);
    flow_marginal_free(&g);
    flow_mixture_free(&one);
    flow_mixture_free(&m);
}

/* ---- finite data ----------------------------------------------------------------------------- */

/* sum_i lambda_i (x_i - x)/(1 - t), lambda_i in proportion to N((x - t x_i)/(1 - t)) */
static void twin_data_velocity(double *v, const flow_real *data, int count, const flow_real *x,
                               double t, int d) {
    double least = HUGE_VAL, sum = 0;
    int i, j, pass;
    for (j = 0; j < d; j++) v[j] = 0;
    for (pass = 0; pass < 2; pass++) /* the nearest first: its exponent is taken from all */
        for (i = 0; i < count; i++) {
            double square = 0, weight;
            for (j = 0; j < d; j++)
                square += pow(((double)x[j] - t * (double)data[i * d + j]) / (1 - t), 2);
            if (pass == 0) least = fmin(least, square);
            if (pass == 0) continue;
            weight = exp((least - square) / 2);
            for (j = 0; j < d; j++)
                v[j] += weight * ((double)data[i * d + j] - (double)x[j]) / (1 - t);
            sum += weight;
        }
    for (j = 0; j < d; j++) v[j] /= sum;
}

/* A wrong distance, a softmax of the wrong temperature, t lost in a factor. */
static void test_data_velocity(void) {
    static const int dims[4] = {1, 2, 3, MOST}, counts[2] = {1, 7};
    static flow_real data[7 * MOST], x[N * MOST], v[N * MOST];
    double want[MOST];
    int k, i;
    for (k = 0; k < 8; k++) {
        const int d = dims[k / 2], count = counts[k % 2];
        flow_marginal g;
        flow_field f;
        draw_points(40, data, 7, d);
        draw_points(41, x, N, d);
        TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, count, d), FLOW_OK);
        f = flow_marginal_field(&g);
        TEST_EQ_INT(f.d, d);
        TEST_ERR(f.velocity(f.ctx, v, x, some_times, N), FLOW_OK);
        for (i = 0; i < N; i++) {
            twin_data_velocity(want, data, count, x + i * d, (double)some_times[i], d);
            TEST_NEAR_ALL(v + i * d, want, d, 5e3 * EPS);
        }
        flow_marginal_free(&g);
    }
}

/* Just before t = 1 the nearest data point draws alone, with 1/(1 - t); at t = 1 there is no
 * velocity: an error, even if the time of only one sample is 1. */
static void test_data_velocity_near_one(void) {
    const flow_real data[4] = {0, 1, -1, FLOWI_R(0.5)}, s[4] = {1, 0, 1, 0};
    const flow_real x[4] = {FLOWI_R(0.25), 1, 0, 0}, nan = FLOWI_INFINITY - FLOWI_INFINITY;
    const flow_real bad[4] = {1, 1 - FLOWI_EPS / 2, FLOWI_R(1.5), nan},
                    near[1] = {1 - 2 * FLOWI_EPS};
    flow_real v[4], jv[4], times[2] = {FLOWI_R(0.5), 1};
    flow_marginal g;
    flow_field f;
    int i;
    TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, 2, 2), FLOW_OK);
    f = flow_marginal_field(&g);
    TEST_ERR(f.velocity(f.ctx, v, x, near, 1), FLOW_OK);
    TEST_NEAR((double)v[0] * 2 * EPS, -0.25, 1e-3);
    TEST_NEAR((double)v[1] * 2 * EPS, 0, 1e-3);
    for (i = 0; i < 4; i++) {
        times[1] = bad[i];
        TEST_ERR(f.velocity(f.ctx, v, x, times, 2), FLOW_E_SINGULAR);
        TEST_ERR(f.velocity(f.ctx, v, x, times + 1, 1), FLOW_E_SINGULAR);
        TEST_ERR(f.tangent(f.ctx, v, jv, x, times, s, 2, 1, NULL), FLOW_E_SINGULAR);
    }
    flow_marginal_free(&g);
}

/* ---- both fields ----------------------------------------------------------------------------- */

/* The tangents against central differences of the velocity: k tangents of N samples. */
static void check_tangents(flow_field f, int seed) {
    enum { K = 2 };
    const flow_real h = (flow_real)STEP;
    const int d = f.d;
    static flow_real x[N * MOST], s[K * N * MOST], v[N * MOST], jv[K * N * MOST], xh[N * MOST];
    static flow_real up[N * MOST], down[N * MOST];
    flow_real t[N];
    int i, j;
    for (i = 0; i < N; i++) t[i] = some_times[i] / 2; /* near 1 the posterior is too sharp */
    draw_points(seed, x, N, d);
    draw_points(seed + 1, s, K * N, d);
    for (i = 0; i < K * N * d; i++) s[i] /= FLOWI_R(sqrt(d)); /* of length about 1 */
    TEST_ERR(f.velocity(f.ctx, up, x, t, N), FLOW_OK);
    TEST_ERR(f.tangent(f.ctx, v, jv, x, t, s, N, K, NULL), FLOW_OK);
    TEST_NEAR_ALL(v, up, N * d, 0);
    for (j = 0; j < K; j++) {
        const flow_real *sj = s + j * N * d;
        for (i = 0; i < N * d; i++) xh[i] = x[i] + h * sj[i];
        TEST_ERR(f.velocity(f.ctx, up, xh, t, N), FLOW_OK);
        for (i = 0; i < N * d; i++) xh[i] = x[i] - h * sj[i];
        TEST_ERR(f.velocity(f.ctx, down, xh, t, N), FLOW_OK);
        for (i = 0; i < N * d; i++)
            TEST_NEAR(jv[j * N * d + i], (up[i] - down[i]) / (2 * h), 2e3 * STEP * STEP);
    }
}

/* A term of the product rule forgotten: the posteriors move with x as well. */
static void test_tangents(void) {
    static const int dims[4] = {1, 2, 5, MOST};
    static flow_real data[7 * MOST], mean[2 * MOST], cov[2 * MOST * MOST];
    const flow_real weight[2] = {1, 3};
    int k, j;
    for (k = 0; k < 4; k++) {
        const int d = dims[k];
        flow_mixture m;
        flow_marginal g;
        draw_points(50, data, 7, d);
        draw_points(51, mean, 2, d);
        for (j = 0; j < 2 * d * d; j++)
            cov[j] = j % (d * d) % (d + 1) ? FLOWI_R(0.3 / d) : FLOWI_R(j < d * d ? 0.5 : 1);
        TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, 7, d), FLOW_OK);
        check_tangents(flow_marginal_field(&g), 52);
        flow_marginal_free(&g);
        TEST_ERR(flow_mixture_init(&m, weight, mean, cov, 2, d), FLOW_OK);
        TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
        check_tangents(flow_marginal_field(&g), 54);
        flow_marginal_free(&g);
        flow_mixture_free(&m);
    }
}

/* What remains of the loss when the velocity is v*: from N(0, 1) to N(0, 1) it is
 * E|u|^2 - E|v*|^2 = 2 - v*(1, t)^2 (t^2 + (1-t)^2), integrated over t: pi/2 a dimension. */
static flow_real remaining(void *ctx, flow_real t) {
    const flow_field *f = (const flow_field *)ctx;
    const flow_real x = 1;
    flow_real v = 0;
    TEST_ERR(f->velocity(f->ctx, &v, &x, &t, 1), FLOW_OK);
    return 2 - v * v * (t * t + (1 - t) * (1 - t));
}

static void test_least_loss(void) {
    const flow_real one = 1, zero = 0;
    flow_real floor = 0;
    flow_mixture m;
    flow_marginal g;
    flow_field f;
    TEST_ERR(flow_mixture_init(&m, &one, &zero, &one, 1, 1), FLOW_OK);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    f = flow_marginal_field(&g);
    TEST_ERR(flow_integrate(&floor, remaining, &f, 0, 1), FLOW_OK);
    TEST_NEAR(floor, 2 * atan(1.0), 1e-9 + 100 * EPS);
    flow_marginal_free(&g);
    flow_mixture_free(&m);
}

/* A field that is not the mean of u_t given x_t: then u - v* goes together with some function of
 * x_t. Path, mixture and field must agree on which end is noise. */
static void test_velocity_is_conditional_mean(void) {
    enum { SAMPLES = 20000 };
    static flow_real x0[SAMPLES], x1[SAMPLES], t[SAMPLES], xt[SAMPLES], u[SAMPLES], v[SAMPLES];
    static flow_real miss[SAMPLES], probe[SAMPLES];
    flow_rng rng = test_rng(60);
    flow_mixture m;
    flow_marginal g;
    int i, k;
    example_mixture(&m, 1);
    flow_normal_sample(&rng, x0, SAMPLES, 1);
    flow_mixture_sample(&m, &rng, x1, NULL, SAMPLES);
    flow_uniform_sample(&rng, t, 0, 1, SAMPLES, 1);
    flow_path_sample(FLOW_LINEAR, xt, u, x0, x1, t, SAMPLES, 1);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    TEST_ERR(flow_marginal_field(&g).velocity(&g, v, xt, t, SAMPLES), FLOW_OK);
    for (i = 0; i < SAMPLES; i++) miss[i] = u[i] - v[i];
    for (k = 0; k < 4; k++) {
        for (i = 0; i < SAMPLES; i++)
            probe[i] = k == 0 ? 1 : k == 1 ? xt[i] : k == 2 ? v[i] : xt[i] * (1 - 2 * t[i]);
        TEST_COVARIANCE(miss, 0, probe, 0, SAMPLES, 1, 0);
    }
    flow_marginal_free(&g);
    flow_mixture_free(&m);
}

/* ---- all paths: the score is known on its own ------------------------------------------------ */

/* A velocity whose score, by conversion, is not that of the mixture's p_t: any error of one path's
 * alpha, sigma or derivatives, of the closed form, of the conversion. */
static void test_score_of_velocity(void) {
    const flow_real t[3] = {FLOWI_R(0.2), FLOWI_R(0.6), FLOWI_R(0.9)};
    flow_real x[3 * 2], v[3 * 2], want[2];
    flow_mixture m, pt;
    flow_marginal g;
    flow_field f;
    int path, i;
    example_mixture(&m, 2);
    draw_points(40, x, 3, 2);
    for (path = 0; path < FLOW_PATH_COUNT; path++) {
        TEST_ERR(flow_marginal_of_mixture(&g, &m, path), FLOW_OK);
        f = flow_marginal_field(&g);
        TEST_ERR(f.velocity(f.ctx, v, x, t, 3), FLOW_OK);
        TEST_ERR(flow_path_convert(path, FLOW_SCORE, v, FLOW_VELOCITY, v, x, t, 3, 2), FLOW_OK);
        for (i = 0; i < 3; i++) {
            TEST_ERR(flow_mixture_at(&pt, &m, path, t[i]), FLOW_OK);
            flow_mixture_score(&pt, want, x + 2 * i, 1);
            TEST_NEAR_ALL(v + 2 * i, want, 2, 1e-9 + 1e5 * EPS);
            flow_mixture_free(&pt);
        }
        flow_marginal_free(&g);
    }
    flow_mixture_free(&m);
}

/* Finite data on every path: the posterior mean of the data by direct summation. */
static void test_data_of_velocity(void) {
    const flow_real data[3] = {-1, FLOWI_R(0.5), 2}, t[2] = {FLOWI_R(0.3), FLOWI_R(0.7)};
    const flow_real x[2] = {FLOWI_R(0.4), FLOWI_R(-0.2)};
    flow_marginal g;
    int path, i, k;
    for (path = 0; path < FLOW_PATH_COUNT; path++) {
        flow_real v[2];
        flow_field f;
        TEST_ERR(flow_marginal_of_data(&g, data, path, 3, 1), FLOW_OK);
        f = flow_marginal_field(&g);
        TEST_ERR(f.velocity(f.ctx, v, x, t, 2), FLOW_OK);
        TEST_ERR(flow_path_convert(path, FLOW_DATA, v, FLOW_VELOCITY, v, x, t, 2, 1), FLOW_OK);
        for (i = 0; i < 2; i++) {
            double alpha, sigma, sum = 0, mean = 0;
            twin_path(path, (double)t[i], &alpha, &sigma);
            for (k = 0; k < 3; k++) {
                const double off = ((double)x[i] - alpha * (double)data[k]) / sigma;
                sum += exp(-off * off / 2);
                mean += exp(-off * off / 2) * (double)data[k];
            }
            TEST_NEAR(v[i], mean / sum, 1e-9 + 1e5 * EPS);
        }
        flow_marginal_free(&g);
    }
}

/* ---- couplings ------------------------------------------------------------------------------- */

/* The least total of all permutations of n rows, by trying them all. */
static double least_total(const flow_real *cost, int n, int row, unsigned used) {
    double least = HUGE_VAL;
    int j;
    if (row == n) return 0;
    for (j = 0; j < n; j++) {
        double rest;
        if (used & (1u << j)) continue;
        rest = (double)cost[row * n + j] + least_total(cost, n, row + 1, used | (1u << j));
        if (rest < least) least = rest;
    }
    return least;
}

/* x0 after the call is a permutation, the one that match says, with the total that it says. */
static void check_pairs(const flow_ot *o, const flow_real *before, const flow_real *x0,
                        const flow_real *x1, int n, int once) {
    int seen[512] = {0}, i;
    double total = 0;
    for (i = 0; i < n; i++) {
        const int from = o->match[i];
        if (!TEST(from >= 0 && from < n)) return;
        seen[from]++;
        TEST_NEAR_ALL(x0 + 2 * i, before + 2 * from, 2, 0);
        total += (double)flowi_square_distance(x0 + 2 * i, x1 + 2 * i, 2) / n;
    }
    for (i = 0; i < n && once; i++) TEST_EQ_INT(seen[i], 1);
    if (once) TEST_NEAR(o->total, total, 100 * n * EPS);
}

/* A pairing that is not the best; rows lost or doubled; x1 touched; a batch not full. */
static void test_ot_exact(void) {
    flow_real x0[16], x1[16], before[16], kept[16];
    flow_rng rng = test_rng(50);
    flow_ot o;
    int n, k;
    TEST_ERR(flow_ot_init(&o, 8, 2), FLOW_OK);
    for (k = 0; k < 24; k++) {
        n = 1 + k % 8;
        flow_normal_sample(&rng, x0, n, 2);
        flow_normal_sample(&rng, x1, n, 2);
        memcpy(before, x0, sizeof x0);
        memcpy(kept, x1, sizeof x1);
        TEST_ERR(flow_ot_exact(&o, x0, x1, n), FLOW_OK);
        check_pairs(&o, before, x0, x1, n, 1);
        TEST_NEAR(o.total, least_total(o.plan, n, 0, 0) / n, 100 * EPS);
        TEST_NEAR_ALL(x1, kept, 2 * n, 0);
    }
    flow_ot_free(&o);
}

/* A certificate that no assignment of 512 rows is better: numbers u_i, w_j whose sums are nowhere
 * above cost_ij bound every total from below. They come from Bellman and Ford's relaxation of the
 * chosen assignment alone, which would go on for ever if some exchange lowered the total. */
static void test_ot_certificate(void) {
    static flow_real x0[1024], x1[1024], w[512], u[512];
    const int n = 512;
    flow_rng rng = test_rng(51);
    double bound = 0, worst = 0;
    int i, k, round, moved = 1;
    flow_ot o;
    TEST_ERR(flow_ot_init(&o, n, 2), FLOW_OK);
    flow_normal_sample(&rng, x0, n, 2);
    flow_toy_sample(FLOW_TOY_8GAUSSIANS, &rng, x1, NULL, n);
    TEST_ERR(flow_ot_exact(&o, x0, x1, n), FLOW_OK);
    for (i = 0; i < n; i++) w[i] = 0;
    for (round = 0; round < n && moved; round++) {
        for (moved = 0, i = 0; i < n; i++) {
            const flow_real *row = o.plan + i * n;
            u[i] = row[o.match[i]] - w[o.match[i]];
            for (k = 0; k < n; k++) {
                if (row[k] - u[i] >= w[k] - 200 * FLOWI_EPS) continue;
                w[k] = row[k] - u[i];
                moved = 1;
            }
        }
    }
    TEST(!moved);
    for (i = 0; i < n; i++) {
        u[i] = o.plan[i * n + o.match[i]] - w[o.match[i]];
        bound += ((double)u[i] + (double)w[i]) / n;
        for (k = 0; k < n; k++)
            worst = fmax(worst, (double)u[i] + (double)w[k] - (double)o.plan[i * n + k]);
    }
    TEST(worst <= 1e4 * EPS);
    TEST_NEAR(o.total, bound, 1e4 * EPS);
    flow_ot_free(&o);
}

/* Ties, equal points, costs of very different size: the auction must end, the result be exact. */
static void test_ot_degenerate(void) {
    flow_real x0[16], x1[16];
    flow_ot o;
    int k, i;
    TEST_ERR(flow_ot_init(&o, 8, 2), FLOW_OK);
    for (k = 0; k < 4; k++) {
        const flow_real far[4] = {0, 1, FLOWI_R(1e6), FLOWI_R(1e-15)};
        for (i = 0; i < 16; i++) {
            x0[i] = k == 0 ? 1 : (flow_real)(i % 3) * far[k];
            x1[i] = k == 0 ? 1 : (flow_real)(i % 5) + far[k];
        }
        TEST_ERR(flow_ot_exact(&o, x0, x1, 8), FLOW_OK);
        TEST_NEAR(o.total, least_total(o.plan, 8, 0, 0) / 8, 1e3 * EPS * (double)(1 + o.total));
    }
    flow_ot_free(&o);
}

/* A plan that is none: with an epsilon below the rounding of the duals no iteration moves them. */
static void test_sinkhorn_lost_epsilon(void) {
    flow_real x0[128], x1[128], kept;
    flow_rng rng = test_rng(65);
    flow_ot o;
    int k;
    TEST_ERR(flow_ot_init(&o, 64, 2), FLOW_OK);
    flow_normal_sample(&rng, x0, 64, 2);
    flow_normal_sample(&rng, x1, 64, 2);
    x1[0] = 100;
    kept = x0[7];
    o.most = 300;
    for (k = 1; k < 1000; k *= 3) {
        TEST(flow_ot_sinkhorn(&o, &rng, x0, x1, FLOWI_R(EPS / k), 64) < 0);
        TEST(x0[7] == kept);
    }
    flow_ot_free(&o);
}

static void test_ot_errors(void) {
    flow_real x0[4] = {1, 2, 3, 4}, x1[4] = {4, 3, 2, 1}, huge = FLOWI_R(1e30);
    flow_rng rng = test_rng(52);
    flow_ot o;
    TEST_EVERY_ALLOC(flow_ot_init(&o, 3, 2), flow_ot_free(&o));
    if (sizeof(size_t) == 4) TEST_ERR(flow_ot_init(&o, 65536, 1), FLOW_E_MEMORY); /* 2^32 pairs */
    TEST_ERR(flow_ot_init(&o, 2, 2), FLOW_OK);
    TEST_NEAR(o.tol, 1e-3, EPS);
    TEST_EQ_INT(o.most, 10000);
    TEST_ERR(flow_ot_exact(&o, x0, x1, 0), FLOW_E_EMPTY);
    TEST_ERR(flow_ot_sinkhorn(&o, &rng, x0, x1, 1, 0), FLOW_E_EMPTY);
    if (EPS < 1e-10) huge = huge * huge * huge * huge * huge * FLOWI_R(1e8);
    x0[3] = huge; /* finite, its square is not */
    TEST_ERR(flow_ot_exact(&o, x0, x1, 2), FLOW_E_FINITE);
    TEST_ERR(flow_ot_sinkhorn(&o, &rng, x0, x1, 1, 2), FLOW_E_FINITE);
    TEST(x0[0] == 1 && x0[1] == 2 && x0[2] == 3 && x0[3] == huge);
    x0[3] = 4;
    o.most = 0;
    TEST_ERR(flow_ot_sinkhorn(&o, &rng, x0, x1, 1, 2), FLOW_E_CONVERGE);
    TEST(x0[0] == 1 && x0[3] == 4);
    TEST_ASSERT_TRIPS(flow_ot_exact(&o, x0, x1, 3));
    TEST_ASSERT_TRIPS(flow_ot_sinkhorn(&o, &rng, x0, x1, 0, 2));
    TEST_ASSERT_TRIPS(flow_ot_init(&o, 0, 2));
    flow_ot_free(&o);
    flow_ot_free(&o);
    TEST(o.plan == NULL);
}

/* What makes the plan unique: its sums over rows and columns, and that log pi_ij + cost_ij/epsilon
 * is a sum f_i + g_j. */
static void check_plan(const flow_ot *o, const flow_real *cost, double epsilon, int n) {
    double columns = 0, total = 0;
    int i, j;
    for (i = 0; i < n; i++) {
        double row = 0, column = 0;
        for (j = 0; j < n; j++) {
            const flow_real *p = o->plan;
            const double l = log((double)p[i * n + j]) + (double)cost[i * n + j] / epsilon;
            const double l0 = log((double)p[i * n]) + (double)cost[i * n] / epsilon;
            const double m = log((double)p[j]) + (double)cost[j] / epsilon;
            const double m0 = log((double)p[0]) + (double)cost[0] / epsilon;
            row += (double)p[i * n + j];
            column += (double)p[j * n + i];
            total += (double)p[i * n + j] * (double)cost[i * n + j];
            if (p[i * n + j] * p[i * n] * p[j] * p[0] > 0) /* not underflown */
                TEST_NEAR(l - l0, m - m0, 1e4 * EPS / epsilon);
        }
        TEST_NEAR(row, 1.0 / n, 1e3 * EPS);
        columns += fabs(column - 1.0 / n);
    }
    TEST(columns <= (double)o->tol + 1e3 * EPS / epsilon);
    TEST_NEAR(o->total, total, 1e3 * EPS);
}

/* A plan that is not Sinkhorn's; one that does not become the best assignment: its cost exceeds
 * that by epsilon log n at most, the entropy of the best plan. */
static void test_sinkhorn(void) {
    enum { n = 8 };
    flow_real x0[2 * n], x1[2 * n], before[2 * n], cost[n * n], exact;
    flow_rng rng = test_rng(53);
    flow_ot o;
    int k;
    TEST_ERR(flow_ot_init(&o, n, 2), FLOW_OK);
    flow_normal_sample(&rng, x0, n, 2);
    flow_normal_sample(&rng, x1, n, 2);
    memcpy(before, x0, sizeof x0);
    TEST_ERR(flow_ot_exact(&o, x0, x1, n), FLOW_OK);
    exact = o.total;
    memcpy(cost, o.plan, sizeof cost);
    o.tol = FLOWI_R(1e-4);
    for (k = 0; k < 6; k++) {
        const double epsilon = pow(0.4, k), slack = 1e-4 * largest(cost, n * n);
        memcpy(x0, before, sizeof x0);
        TEST_ERR(flow_ot_sinkhorn(&o, &rng, x0, x1, (flow_real)epsilon, n), FLOW_OK);
        check_pairs(&o, before, x0, x1, n, 0);
        check_plan(&o, cost, epsilon, n);
        TEST((double)o.total >= (double)exact - slack);
        TEST((double)o.total <= (double)exact + epsilon * log((double)n) + slack);
    }
    flow_ot_free(&o);
}

/* Partners drawn from something other than the plan; draws not as documented. */
static void test_sinkhorn_draws(void) {
    enum { n = 3, MANY = 20000 };
    flow_real x0[2 * n], x1[2 * n], before[2 * n];
    int count[n * n] = {0}, i, k;
    flow_rng rng = test_rng(54), start;
    flow_ot o;
    TEST_ERR(flow_ot_init(&o, n, 2), FLOW_OK);
    flow_normal_sample(&rng, before, n, 2);
    flow_normal_sample(&rng, x1, n, 2);
    for (k = 0; k < MANY; k++) {
        memcpy(x0, before, sizeof x0);
        start = rng;
        if (flow_ot_sinkhorn(&o, &rng, x0, x1, 2, n) != FLOW_OK) break;
        if (k == 0) TEST_EQ_INT(draws_between(start, &rng), n);
        for (i = 0; i < n; i++) count[i * n + o.match[i]]++;
    }
    TEST_EQ_INT(k, MANY);
    for (i = 0; i < n * n; i++) {
        const double p = n * (double)o.plan[i];
        TEST_NEAR(count[i] / (double)MANY, p, 6 * sqrt(p * (1 - p) / MANY) + 1e-6);
    }
    flow_ot_free(&o);
}

/* Duals of the last call, which may be infinite, or in the places of a full batch: a used coupling
 * gives what a fresh one gives. */
static void check_sinkhorn_again(double epsilon) {
    flow_real x0[6], y0[6], x1[6], a[10] = {0}, b[10] = {0};
    flow_rng rng = test_rng(55), twin;
    flow_ot used, fresh;
    int i;
    TEST_ERR(flow_ot_init(&used, 5, 2), FLOW_OK);
    TEST_ERR(flow_ot_init(&fresh, 5, 2), FLOW_OK);
    a[0] = EPS < 1e-10 ? FLOWI_R(1e150) : FLOWI_R(1e18);
    TEST(flow_ot_sinkhorn(&used, &rng, a, b, FLOWI_R(1e-10), 5) < 0);
    flow_normal_sample(&rng, x0, 3, 2);
    flow_normal_sample(&rng, x1, 3, 2);
    memcpy(y0, x0, sizeof x0);
    twin = rng;
    TEST_ERR(flow_ot_sinkhorn(&used, &rng, x0, x1, FLOWI_R(epsilon), 3), FLOW_OK);
    TEST_ERR(flow_ot_sinkhorn(&fresh, &twin, y0, x1, FLOWI_R(epsilon), 3), FLOW_OK);
    TEST_NEAR(used.total, fresh.total, 0);
    TEST_NEAR_ALL(x0, y0, 6, 0);
    for (i = 0; i < 9; i += 3)
        TEST_NEAR(used.plan[i] + used.plan[i + 1] + used.plan[i + 2], 1.0 / 3, 10 * EPS);
    flow_ot_free(&used);
    flow_ot_free(&fresh);
}

static void test_sinkhorn_again(void) {
    check_sinkhorn_again(0.5);
    check_sinkhorn_again(100); /* more than the mean cost: no way down from there */
}

/* A sum of the plan that is not finite, which no iteration mends. */
static void test_sinkhorn_overflow(void) {
    flow_real far = EPS < 1e-10 ? FLOWI_R(1e150) : FLOWI_R(1e18), zero = 0;
    flow_rng rng = test_rng(56);
    flow_ot o;
    TEST_ERR(flow_ot_init(&o, 2, 1), FLOW_OK);
    TEST_ERR(flow_ot_sinkhorn(&o, &rng, &far, &zero, FLOWI_R(1e-10), 1), FLOW_E_FINITE);
    flow_ot_free(&o);
}

/* ---- conditions and guidance ----------------------------------------------------------------- */

static void test_onehot(void) {
    const int label[4] = {2, -1, 0, 3};
    const flow_real want[12] = {0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0};
    flow_real c[12];
    memset(c, 0xFF, sizeof c);
    flow_onehot(c, label, 4, 3);
    TEST_NEAR_ALL(c, want, 12, 0);
}

/* Another share lost, a label changed, a draw saved where there is no label to lose. */
static void test_label_dropout(void) {
    static int label[10000];
    flow_rng rng = test_rng(60), start = rng;
    int i, lost = 0, changed = 0;
    for (i = 0; i < 10000; i++) label[i] = i % 7;
    flow_label_dropout(&rng, label, FLOWI_R(0.2), 10000);
    TEST_EQ_INT(draws_between(start, &rng), 10000);
    for (i = 0; i < 10000; i++) {
        lost += label[i] == -1;
        changed += label[i] != -1 && label[i] != i % 7;
    }
    TEST_EQ_INT(changed, 0);
    TEST_NEAR(lost / 10000.0, 0.2, 6 * sqrt(0.2 * 0.8 / 10000));
    start = rng;
    flow_label_dropout(&rng, label, 0, 10000);
    TEST_EQ_INT(draws_between(start, &rng), 10000);
    for (i = 0; i < 10000; i++) lost -= label[i] == -1;
    TEST_EQ_INT(lost, 0);
}

#define MANY 7 /* more than a batch of the network */

/* The condition of another row, a rest of the last batch, a NULL that is not zero. */
static void test_given(void) {
    const flow_real c[2] = {FLOWI_R(0.5), -1};
    flow_real x[MANY * D], t[MANY], rows[3 * 2], v[MANY * D], want[MANY * D];
    flow_real s[2 * MANY * D], jv[2 * MANY * D];
    flow_rng rng = test_rng(61);
    flow_given g;
    flow_field f;
    flow_net net;
    int i, k;
    TEST_ERR(flow_net_init(&net, D, 2, 5, 1, FLOW_TANH, 3, &rng), FLOW_OK);
    flow_normal_sample(&rng, x, MANY, D);
    flow_normal_sample(&rng, s, 2 * MANY, D);
    for (i = 0; i < MANY; i++) t[i] = (flow_real)i / MANY;
    g.net = &net;
    f = flow_given_field(&g);
    TEST_EQ_INT(f.d, D);
    for (k = 0; k < 2; k++) {
        g.c = k ? c : NULL;
        for (i = 0; i < 6; i++) rows[i] = k ? c[i % 2] : 0;
        for (i = 0; i < MANY; i += 3)
            flow_net_forward(&net, want + i * D, x + i * D, t + i, rows, flowi_min(3, MANY - i));
        TEST_ERR(f.velocity(f.ctx, v, x, t, MANY), FLOW_OK);
        TEST_NEAR_ALL(v, want, MANY * D, 0);
        TEST_ERR(f.tangent(f.ctx, v, jv, x, t, s, MANY, 2, NULL), FLOW_OK);
        TEST_NEAR_ALL(v, want, MANY * D, 0);
        for (i = 0; i < 2 * MANY; i++) { /* tangent i / MANY of sample i % MANY, by itself */
            const int at = i % MANY;
            flow_net_forward(&net, want, x + at * D, t + at, rows, 1);
            flow_net_tangent(&net, want, s + i * D, 1, 1);
            TEST_NEAR_ALL(jv + i * D, want, D, 10 * EPS);
        }
    }
    flow_net_free(&net);
}

/* Fields of formulas, so that guidance is not tested by itself: v = sin(x) + t, x^2 - 2 t. */
static int field_calls[2];
static int sine_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    int i;
    field_calls[0]++;
    for (i = 0; i < n * D; i++) v[i] = flowi_sin(x[i]) + t[i / D];
    return ctx ? *(int *)ctx : FLOW_OK;
}
static int square_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    int i;
    field_calls[1]++;
    for (i = 0; i < n * D; i++) v[i] = x[i] * x[i] - 2 * t[i / D];
    return *(int *)ctx;
}
static int sine_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                        const flow_real *t, const flow_real *s, int n, int k, flow_real *kept) {
    int i;
    (void)kept;
    for (i = 0; i < k * n * D; i++) jv[i] = flowi_cos(x[i % (n * D)]) * s[i];
    return sine_velocity(ctx, v, x, t, n);
}
static int square_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                          const flow_real *t, const flow_real *s, int n, int k, flow_real *kept) {
    int i;
    (void)kept;
    for (i = 0; i < k * n * D; i++) jv[i] = 2 * x[i % (n * D)] * s[i];
    return square_velocity(ctx, v, x, t, n);
}

/* What guidance makes of the two at x and t. */
static double guided(double w, flow_real x, flow_real t) {
    const double one = sin((double)x) + (double)t, two = (double)(x * x) - 2 * (double)t;
    return two + w * (one - two);
}

/* The two exchanged, a weight of the wrong side, one evaluated for nothing, at the times of another
 * batch, a tangent left out, or promised where one has none. */
static void test_guidance(void) {
    const flow_real weights[4] = {0, 1, FLOWI_R(2.5), FLOWI_R(0.5)};
    flow_real x[MANY * D], t[MANY], s[2 * MANY * D], v[MANY * D], jv[2 * MANY * D];
    flow_rng rng = test_rng(62);
    int first = FLOW_OK, status = FLOW_OK, i, k;
    flow_field f[2], g_field;
    flow_guidance g;
    f[0] = flow_field_of(D, sine_velocity, &first);
    f[1] = flow_field_of(D, square_velocity, &status);
    f[0].tangent = sine_tangent;
    f[1].tangent = square_tangent;
    flow_normal_sample(&rng, x, MANY, D);
    flow_normal_sample(&rng, s, 2 * MANY, D);
    for (i = 0; i < MANY; i++) t[i] = (flow_real)i / MANY;
    for (k = 0; k < 4; k++) {
        const double w = (double)weights[k];
        TEST_ERR(flow_guidance_init(&g, f[0], f[1], weights[k], 3), FLOW_OK);
        g_field = flow_guidance_field(&g);
        field_calls[0] = field_calls[1] = 0;
        TEST_ERR(g_field.velocity(g_field.ctx, v, x, t, MANY), FLOW_OK);
        TEST((field_calls[0] == 0) == (k == 0) && (field_calls[1] == 0) == (k == 1));
        for (i = 0; i < MANY * D; i++) TEST_NEAR(v[i], guided(w, x[i], t[i / D]), 100 * EPS);
        TEST_ERR(g_field.tangent(g_field.ctx, v, jv, x, t, s, MANY, 2, NULL), FLOW_OK);
        for (i = 0; i < 2 * MANY * D; i++) {
            const double xi = (double)x[i % (MANY * D)], one = cos(xi), two = 2 * xi;
            TEST_NEAR(jv[i], (two + w * (one - two)) * (double)s[i], 200 * EPS);
        }
        for (i = 0; i < MANY * D; i++) TEST_NEAR(v[i], guided(w, x[i], t[i / D]), 100 * EPS);
        status = FLOW_E_SINGULAR;
        TEST_ERR(g_field.velocity(g_field.ctx, v, x, t, MANY), k == 1 ? FLOW_OK : status);
        TEST_ERR(g_field.tangent(g_field.ctx, v, jv, x, t, s, MANY, 1, NULL),
                 k == 1 ? FLOW_OK : status);
        status = FLOW_OK;
        first = FLOW_E_MEMORY;
        TEST_ERR(g_field.velocity(g_field.ctx, v, x, t, MANY), k == 0 ? FLOW_OK : first);
        TEST_ERR(g_field.tangent(g_field.ctx, v, jv, x, t, s, MANY, 2, NULL),
                 k == 0 ? FLOW_OK : first);
        first = FLOW_OK;
        flow_guidance_free(&g);
    }
    f[1].tangent = NULL;
    TEST_EVERY_ALLOC(flow_guidance_init(&g, f[0], f[1], 1, 3), flow_guidance_free(&g));
    TEST_ERR(flow_guidance_init(&g, f[0], f[1], 1, 3), FLOW_OK);
    TEST(flow_guidance_field(&g).tangent == NULL);
    flow_guidance_free(&g);
    flow_guidance_free(&g);
    TEST_ERR(flow_guidance_init(&g, f[1], f[0], 1, 3), FLOW_OK);
    TEST(flow_guidance_field(&g).tangent == NULL);
    flow_guidance_free(&g);
    TEST_ASSERT_TRIPS(flow_guidance_init(&g, f[0], f[1], 1, 0));
}

/* ---- samples with noise on the way ----------------------------------------------------------- */

/* One Gaussian N(1, 0.5) on the linear path, where v is affine: the mean and variance of Euler and
 * Maruyama's samples obey a recursion that this test computes in its own way. Returns them. */
static void twin_sde(double noise, int steps, double *mean, double *variance) {
    int k;
    *mean = 0, *variance = 1;
    for (k = 0; k < steps; k++) {
        const double t = (double)k / steps, h = 1.0 / steps, spread = (1 - t) * (1 - t) + t * t / 2;
        /* v = m + slope (x - t m), E x0 = (1 - t) (x - t m)/spread, m = 1 */
        const double slope = (t / 2 - (1 - t)) / spread - noise * (1 - t) / spread;
        *mean += h * (1 + slope * (*mean - t));
        *variance = *variance * (1 + h * slope) * (1 + h * slope) + 2 * noise * (1 - t) * h;
    }
}

static void test_sde(void) {
    enum { SAMPLES = 20000 };
    static flow_real x[SAMPLES], y[SAMPLES];
    const flow_real one = 1, cov = FLOWI_R(0.5), noises[3] = {0, FLOWI_R(0.5), 2};
    flow_rng rng = test_rng(70);
    flow_mixture m;
    flow_marginal g;
    flow_cnf c;
    int k;
    TEST_ERR(flow_mixture_init(&m, &one, &one, &cov, 1, 1), FLOW_OK);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    TEST_ERR(flow_cnf_init(&c, flow_marginal_field(&g), FLOW_EULER, 20, 300), FLOW_OK);
    for (k = 0; k < 3; k++) {
        double mean, variance;
        flow_normal_sample(&rng, x, SAMPLES, 1);
        memcpy(y, x, sizeof y);
        TEST_ERR(flow_sde_transport(&c, &rng, x, FLOW_LINEAR, noises[k], 0, 1, SAMPLES), FLOW_OK);
        twin_sde((double)noises[k], 20, &mean, &variance);
        TEST_NEAR(mean_of(x, SAMPLES, 1), mean, 6 * sqrt(variance / SAMPLES));
        TEST_NEAR(product_of(x, mean, x, mean, SAMPLES, 1), variance,
                  6 * variance * sqrt(2.0 / SAMPLES));
        if (k > 0) continue;
        TEST_ERR(flow_cnf_transport(&c, y, NULL, 0, 1, SAMPLES), FLOW_OK);
        TEST_NEAR_ALL(x, y, SAMPLES, 100 * EPS);
    }
    for (k = 0; k < 3; k++) { /* the recursion's own end: the data */
        double mean, variance;
        twin_sde((double)noises[k], 20000, &mean, &variance);
        TEST_NEAR(mean, 1, 1e-3);
        TEST_NEAR(variance, 0.5, 1e-3);
    }
    flow_cnf_free(&c);
    flow_marginal_free(&g);
    flow_mixture_free(&m);
}

/* Part of the way, draws not as documented, a path that is not the field's, errors. */
static void test_sde_misuse(void) {
    flow_real x[MANY * D], y[MANY * D];
    flow_rng rng = test_rng(71), start;
    int status = FLOW_E_SINGULAR;
    flow_cnf c;
    flow_normal_sample(&rng, x, MANY, D);
    memcpy(y, x, sizeof x);
    TEST_ERR(flow_cnf_init(&c, flow_field_of(D, sine_velocity, NULL), FLOW_EULER, 2, 3), FLOW_OK);
    start = rng;
    TEST_ERR(flow_sde_transport(&c, &rng, x, FLOW_COSINE, 1, FLOWI_R(0.2), FLOWI_R(0.6), MANY),
             FLOW_OK);
    TEST_EQ_INT(draws_between(start, &rng), 2 * (2 * 6 + 2));
    memcpy(x, y, sizeof x);
    start = rng;
    TEST_ERR(flow_sde_transport(&c, &rng, x, FLOW_LINEAR, 0, FLOWI_R(0.2), FLOWI_R(0.6), MANY),
             FLOW_OK);
    TEST_EQ_INT(draws_between(start, &rng), 2 * (2 * 6 + 2)); /* without noise as well */
    TEST_ERR(flow_cnf_transport(&c, y, NULL, FLOWI_R(0.2), FLOWI_R(0.6), MANY), FLOW_OK);
    TEST_NEAR_ALL(x, y, MANY * D, 10 * EPS);
    c.steps = 0;
    TEST_ERR(flow_sde_transport(&c, &rng, x, FLOW_LINEAR, 0, 0, 1, MANY), FLOW_E_EMPTY);
    c.steps = 2;
    TEST_ASSERT_TRIPS(flow_sde_transport(&c, &rng, x, FLOW_LINEAR, -1, 0, 1, 1));
    TEST_ASSERT_TRIPS(flow_sde_transport(&c, &rng, x, FLOW_LINEAR, 1, 1, 0, 1));
    x[0] = FLOWI_INFINITY;
    TEST_ERR(flow_sde_transport(&c, &rng, x, FLOW_LINEAR, 1, 0, 1, 1), FLOW_E_FINITE);
    c.field = flow_field_of(D, square_velocity, &status);
    TEST_ERR(flow_sde_transport(&c, &rng, y, FLOW_LINEAR, 1, 0, 1, 1), FLOW_E_SINGULAR);
    flow_cnf_free(&c);
}

/* Noise drawn row by row: in three dimensions 5 points in batches of 2, 2 and 1 take 6, 6 and 4
 * draws a step. */
static void test_sde_draws(void) {
    const flow_real data[3] = {0};
    flow_rng rng = test_rng(72), start = rng;
    flow_real x[15] = {0};
    flow_marginal g;
    flow_cnf c;
    TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, 1, 3), FLOW_OK);
    TEST_ERR(flow_cnf_init(&c, flow_marginal_field(&g), FLOW_EULER, 2, 2), FLOW_OK);
    TEST_ERR(flow_sde_transport(&c, &rng, x, FLOW_LINEAR, 1, FLOWI_R(0.25), FLOWI_R(0.75), 5),
             FLOW_OK);
    TEST_EQ_INT(draws_between(start, &rng), 2 * (6 + 6 + 4));
    flow_cnf_free(&c);
    flow_marginal_free(&g);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

#define TOKENS 3
#define LENGTH 2
#define STATES 16 /* of two tokens with the mask */

static const int token_data[3 * LENGTH] = {0, 1, 2, 2, 0, 2};
static const flow_real token_weight[3] = {1, 2, 3};

static flow_tokens token_spec(int source) {
    flow_tokens s;
    s.length = LENGTH;
    s.tokens = TOKENS;
    s.source = source;
    return s;
}

static flow_token_set token_set(int source) {
    flow_token_set q;
    q.s = token_spec(source);
    q.data = token_data;
    q.weight = token_weight;
    q.count = 3;
    return q;
}

/* p_t(x | y) of one token, as the path is defined. */
static double token_path(int source, int x, int y, double t) {
    const double noise = source == FLOW_MASK ? x == TOKENS : x < TOKENS ? 1.0 / TOKENS : 0;
    return t * (x == y) + (1 - t) * noise;
}

/* p_t(x), and with l >= 0 the part of it where token l of the data is k. */
static double token_mass(int source, const int *x, double t, int l, int k) {
    double mass = 0;
    int i, j;
    for (i = 0; i < 3; i++) {
        double p = (double)token_weight[i] / 6;
        for (j = 0; j < LENGTH; j++) p *= token_path(source, x[j], token_data[i * LENGTH + j], t);
        if (l < 0 || token_data[i * LENGTH + l] == k) mass += p;
    }
    return mass;
}

static void test_tokens_noise_and_path(void) {
    enum { SEQUENCES = 10000 };
    static int x0[SEQUENCES * LENGTH], x1[SEQUENCES * LENGTH], xt[SEQUENCES * LENGTH];
    static flow_real t[SEQUENCES];
    int i, k, source, kept, other, count[TOKENS + 1];
    for (source = FLOW_MASK; source <= FLOW_UNIFORM; source++) {
        const flow_tokens s = token_spec(source);
        flow_rng rng = test_rng(80), start = rng;
        memset(count, 0, sizeof count);
        flow_tokens_noise(&s, &rng, x0, SEQUENCES);
        for (i = 0; i < SEQUENCES * LENGTH; i++)
            if (x0[i] >= 0 && x0[i] <= TOKENS) count[x0[i]]++;
        TEST_EQ_INT(count[0] + count[1] + count[2] + count[3], SEQUENCES * LENGTH);
        for (k = 0; k <= TOKENS; k++)
            TEST_NEAR(count[k] / (double)(SEQUENCES * LENGTH), token_path(source, k, -1, 0),
                      source == FLOW_MASK ? 0 : 6 * sqrt(0.25 / (SEQUENCES * LENGTH)));
        if (source == FLOW_MASK) TEST_EQ_INT(draws_between(start, &rng), 0);
        start = rng;
        for (i = 0; i < SEQUENCES * LENGTH; i++) x1[i] = 7 + i % 5;
        for (i = 0; i < SEQUENCES; i++) t[i] = i < 3000 ? 0 : i < 6000 ? 1 : FLOWI_R(0.3);
        flow_tokens_path(&s, &rng, xt, x0, x1, t, SEQUENCES);
        TEST_EQ_INT(draws_between(start, &rng), SEQUENCES * LENGTH);
        TEST(memcmp(xt, x0, 6000 * sizeof *xt) == 0);
        TEST(memcmp(xt + 6000, x1 + 6000, 6000 * sizeof *xt) == 0);
        for (kept = other = 0, i = 12000; i < SEQUENCES * LENGTH; i++) {
            kept += xt[i] == x1[i];
            other += xt[i] != x1[i] && xt[i] != x0[i];
        }
        TEST_EQ_INT(other, 0);
        TEST_NEAR(kept / 8000.0, 0.3, 6 * sqrt(0.21 / 8000));
    }
}

/* One draw for a whole sequence, noise and data exchanged, an end of the draw on the wrong side; an
 * xt that may not be x0. */
static void test_tokens_path_by_its_draws(void) {
    enum { SEQUENCES = 100 };
    const flow_tokens s = token_spec(FLOW_UNIFORM);
    flow_rng rng = test_rng(85), twin = rng, again = rng;
    int x0[SEQUENCES * LENGTH], x1[SEQUENCES * LENGTH], xt[SEQUENCES * LENGTH], i;
    flow_real t[SEQUENCES];
    for (i = 0; i < SEQUENCES * LENGTH; i++) x0[i] = 0, x1[i] = 1;
    for (i = 0; i < SEQUENCES; i++) t[i] = FLOWI_R(i % 2 ? 0.3 : 0.6);
    flow_tokens_path(&s, &rng, xt, x0, x1, t, SEQUENCES);
    for (i = 0; i < SEQUENCES * LENGTH; i++)
        TEST_EQ_INT(xt[i], flow_rng_uniform(&twin) < t[i / LENGTH]);
    flow_tokens_path(&s, &again, x0, x0, x1, t, SEQUENCES);
    TEST(memcmp(x0, xt, sizeof xt) == 0);
}

/* Every state at every time, by the definition. */
static void test_token_posterior(void) {
    const flow_real times[4] = {0, FLOWI_R(0.3), FLOWI_R(0.9), 1};
    int source, i, k, l;
    for (source = FLOW_MASK; source <= FLOW_UNIFORM; source++) {
        flow_token_set q = token_set(source);
        for (i = 0; i < STATES * 4; i++) {
            const int x[LENGTH] = {i % 4, i / 4 % 4};
            const double mass = token_mass(source, x, (double)times[i / STATES], -1, 0);
            flow_real p[LENGTH * TOKENS];
            if (source == FLOW_UNIFORM && (x[0] == TOKENS || x[1] == TOKENS)) continue;
            TEST_ERR(flow_token_set_posterior(&q, p, x, times + i / STATES, 1), FLOW_OK);
            for (l = 0; l < LENGTH && mass > 0; l++)
                for (k = 0; k < TOKENS; k++)
                    TEST_NEAR(p[l * TOKENS + k],
                              token_mass(source, x, (double)times[i / STATES], l, k) / mass,
                              20 * EPS);
        }
    }
}

/* States that cannot be: {0, 0} is one token from {0, 1} and {0, 2}; no data begin with 1. No data
 * at all. */
static void test_token_posterior_impossible(void) {
    const int x[2 * LENGTH] = {0, 0, 1, TOKENS};
    const flow_real t[2] = {FLOWI_R(0.5), FLOWI_R(0.5)};
    const flow_real want[2 * LENGTH * TOKENS] = {1, 0, 0, 0, FLOWI_R(0.25), FLOWI_R(0.75),
                                                 FLOWI_R(4 / 6.0), 0, FLOWI_R(2 / 6.0),
                                                 0, FLOWI_R(1 / 6.0), FLOWI_R(5 / 6.0)};
    flow_token_set q = token_set(FLOW_MASK);
    flow_real p[2 * LENGTH * TOKENS];
    TEST_ERR(flow_token_set_posterior(&q, p, x, t, 2), FLOW_OK);
    TEST_NEAR_ALL(p, want, 2 * LENGTH * TOKENS, 10 * EPS);
    q.s.tokens = 1; /* of data that have more */
    TEST_ASSERT_TRIPS((void)flow_token_set_posterior(&q, p, x, t, 1));
    q.count = 0;
    TEST_ERR(flow_token_set_posterior(&q, p, x, t, 2), FLOW_E_EMPTY);
}

/* A long sequence far from all data: the weights must not all underflow. */
static void test_token_posterior_far(void) {
    static int data[2 * 2000], x[2000];
    static flow_real p[2000 * 4];
    const flow_real weight[2] = {1, 1}, t = FLOWI_R(0.999);
    flow_token_set q;
    int l;
    q.s.length = 2000, q.s.tokens = 4, q.s.source = FLOW_UNIFORM;
    q.data = data, q.weight = weight, q.count = 2;
    for (l = 0; l < 2000; l++) data[l] = 1, data[2000 + l] = l ? 2 : 3, x[l] = 0;
    x[0] = 3;
    TEST_ERR(flow_token_set_posterior(&q, p, x, &t, 1), FLOW_OK);
    TEST(p[4 + 2] > FLOWI_R(0.99) && p[4 + 1] < FLOWI_R(0.01));
    TEST_NEAR((double)p[4 + 1] / (double)p[4 + 2], 0.001 / (4 * 0.999 + 0.001), 1e-7);
}

/* Kolmogorov's equation: dp_t(y)/dt = sum_l sum_k p_t(y with token l = k) u_l(y_l | that). A rate
 * of the wrong sign or scale, a diagonal left out, a posterior of the wrong state. */
static void test_token_rates(void) {
    const double t = 0.4, h = 1e-4;
    const flow_real time = FLOWI_R(0.4);
    int source, i, k, l;
    for (source = FLOW_MASK; source <= FLOW_UNIFORM; source++) {
        flow_token_set q = token_set(source);
        for (i = 0; i < STATES; i++) {
            const int y[LENGTH] = {i % 4, i / 4};
            const double slope = (token_mass(source, y, t + h, -1, 0) -
                                  token_mass(source, y, t - h, -1, 0)) / (2 * h);
            double flux = 0;
            for (l = 0; l < LENGTH; l++) {
                for (k = 0; k <= TOKENS; k++) {
                    int x[LENGTH] = {y[0], y[1]};
                    flow_real p[LENGTH * TOKENS], u[LENGTH * (TOKENS + 1)];
                    x[l] = k;
                    if (token_mass(source, x, t, -1, 0) <= 0) continue;
                    TEST_ERR(flow_token_set_posterior(&q, p, x, &time, 1), FLOW_OK);
                    TEST_ERR(flow_tokens_rates(&q.s, u, p, x, &time, 1), FLOW_OK);
                    flux += token_mass(source, x, t, -1, 0) * (double)u[l * (TOKENS + 1) + y[l]];
                }
            }
            TEST_NEAR(flux, slope, 1e-8 + 100 * EPS);
        }
    }
}

static void test_token_rates_ends(void) {
    const flow_tokens s = token_spec(FLOW_MASK);
    const flow_real p[2 * LENGTH * TOKENS] = {1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0};
    const flow_real t[2] = {FLOWI_R(0.5), 1};
    const int x[2 * LENGTH] = {TOKENS, 1, 0, 1};
    const flow_real want[8] = {2, 0, 0, -2, 0, 0, 0, 0};
    flow_real u[2 * LENGTH * (TOKENS + 1)];
    TEST_ERR(flow_tokens_rates(&s, u, p, x, t, 1), FLOW_OK);
    TEST_NEAR_ALL(u, want, 8, 0);
    TEST_ERR(flow_tokens_rates(&s, u, p, x, t, 2), FLOW_E_SINGULAR);
}

/* What two tokens come to: the data's probabilities, but for sampling and for O(h). */
static void test_tokens_sample(void) {
    enum { SEQUENCES = 40000, STEPS = 64 };
    static int x[SEQUENCES * LENGTH];
    int source, i, k;
    for (source = FLOW_MASK; source <= FLOW_UNIFORM; source++) {
        flow_token_set q = token_set(source);
        flow_rng rng = test_rng(81);
        double count[9] = {0}, want[9] = {0}, apart = 0;
        TEST_ERR(flow_tokens_sample(&q.s, &rng, x, flow_token_set_posterior, &q, STEPS, SEQUENCES),
                 FLOW_OK);
        for (i = 0; i < SEQUENCES; i++)
            if (x[2 * i] < TOKENS && x[2 * i + 1] < TOKENS)
                count[x[2 * i] * 3 + x[2 * i + 1]] += 1.0 / SEQUENCES;
        for (k = 0; k < 3; k++)
            want[token_data[2 * k] * 3 + token_data[2 * k + 1]] += (double)token_weight[k] / 6;
        for (k = 0; k < 9; k++) apart += fabs(count[k] - want[k]) / 2;
        TEST(apart < 0.015 + 1.0 / STEPS);
    }
}

/* A posterior that looks at its times, the starts of 4 equal steps; that fails at one call, and
 * whose probabilities are all `value`. */
typedef struct {
    int calls, bad_call;
    flow_real value;
} witness;

static int witness_posterior(void *ctx, flow_real *p, const int *x, const flow_real *t, int n) {
    witness *w = (witness *)ctx;
    int i;
    for (i = 0; i < n * LENGTH && w->calls == 0; i++) TEST_EQ_INT(x[i], TOKENS); /* masks */
    for (i = 0; i < n; i++) TEST_NEAR(t[i], w->calls / 4.0, EPS);
    for (i = 0; i < n * LENGTH * TOKENS; i++) p[i] = w->value;
    return w->calls++ == w->bad_call ? FLOW_E_UNKNOWN : FLOW_OK;
}

/* Times of the ends of steps, a last step that leaves masks where rounding takes all probability
 * away, or makes one of it; an error that the next step covers up, a NaN. */
static void test_tokens_sample_steps(void) {
    const flow_tokens s = token_spec(FLOW_MASK);
    witness w = {0, -1, 0};
    flow_rng rng = test_rng(86);
    int x[5 * LENGTH], i;
    TEST_ERR(flow_tokens_sample(&s, &rng, x, witness_posterior, &w, 4, 5), FLOW_OK);
    TEST_EQ_INT(w.calls, 4);
    for (i = 0; i < 5 * LENGTH; i++) TEST_EQ_INT(x[i], TOKENS - 1);
    w.calls = w.bad_call = 0;
    TEST_ERR(flow_tokens_sample(&s, &rng, x, witness_posterior, &w, 4, 5), FLOW_E_UNKNOWN);
    w.calls = 0, w.bad_call = -1, w.value = FLOWI_INFINITY - FLOWI_INFINITY;
    TEST_ERR(flow_tokens_sample(&s, &rng, x, witness_posterior, &w, 4, 5), FLOW_E_FINITE);
    TEST_EQ_INT(w.calls, 1);
}

/* Much more missing than rounding takes away, and a last token of no probability. */
static int short_posterior(void *ctx, flow_real *p, const int *x, const flow_real *t, int n) {
    int i;
    (void)ctx, (void)x, (void)t;
    for (i = 0; i < n * LENGTH * TOKENS; i++)
        p[i] = i % TOKENS == TOKENS - 1 ? 0 : FLOWI_R(0.5 / TOKENS);
    return FLOW_OK;
}

static void test_tokens_sample_rounding(void) {
    const flow_tokens s = token_spec(FLOW_MASK);
    flow_rng rng = test_rng(87);
    int x[50 * LENGTH], i, count[TOKENS] = {0};
    TEST_ERR(flow_tokens_sample(&s, &rng, x, short_posterior, NULL, 1, 50), FLOW_OK);
    for (i = 0; i < 50 * LENGTH; i++) count[x[i]]++;
    TEST_EQ_INT(count[TOKENS - 1], 0);
    TEST(count[TOKENS - 2] > 25 * LENGTH && count[0] > 0);
}

static int no_posterior(void *ctx, flow_real *p, const int *x, const flow_real *t, int n) {
    (void)ctx, (void)p, (void)x, (void)t, (void)n;
    return FLOW_E_CONVERGE;
}

static void test_tokens_sample_errors(void) {
    flow_token_set q = token_set(FLOW_MASK);
    flow_rng rng = test_rng(82), start = rng;
    int x[5 * LENGTH];
    TEST_ERR(flow_tokens_sample(&q.s, &rng, x, flow_token_set_posterior, &q, 0, 5), FLOW_E_EMPTY);
    TEST_ERR(flow_tokens_sample(&q.s, &rng, x, no_posterior, NULL, 3, 5), FLOW_E_CONVERGE);
    rng = start;
    TEST_ERR(flow_tokens_sample(&q.s, &rng, x, flow_token_set_posterior, &q, 3, 5), FLOW_OK);
    TEST_EQ_INT(draws_between(start, &rng), 3 * 5 * LENGTH);
    TEST_EVERY_ALLOC(flow_tokens_sample(&q.s, &rng, x, flow_token_set_posterior, &q, 3, 5),
                     (void)0);
}

/* The network's softmax over a token's own logits, in batches; a mask that is seen as a token. */
static void test_token_net(void) {
    const int x[MANY * LENGTH] = {0, 1, 2, 3, 3, 3, 1, 1, 2, 0, 0, 3, 2, 2};
    flow_real t[MANY], p[MANY * LENGTH * TOKENS], row[LENGTH * TOKENS], v[LENGTH * TOKENS];
    flow_rng rng = test_rng(83);
    flow_token_net q;
    flow_net net;
    int i, k, l;
    q.s = token_spec(FLOW_MASK);
    q.net = &net;
    TEST_ERR(flow_net_init(&net, LENGTH * TOKENS, 0, 5, 1, FLOW_TANH, 3, &rng), FLOW_OK);
    for (i = 0; i < MANY; i++) t[i] = (flow_real)i / MANY;
    TEST_ERR(flow_token_net_posterior(&q, p, x, t, MANY), FLOW_OK);
    for (i = 0; i < MANY; i++) {
        for (l = 0; l < LENGTH * TOKENS; l++)
            row[l] = x[i * LENGTH + l / TOKENS] == l % TOKENS ? 1 : 0;
        flow_net_forward(&net, v, row, t + i, NULL, 1);
        for (l = 0; l < LENGTH; l++) {
            double sum = 0;
            for (k = 0; k < TOKENS; k++) sum += exp((double)v[l * TOKENS + k]);
            for (k = 0; k < TOKENS; k++)
                TEST_NEAR(p[(i * LENGTH + l) * TOKENS + k], exp((double)v[l * TOKENS + k]) / sum,
                          20 * EPS);
        }
    }
    flow_net_free(&net);
}

/* The loss by its definition and its gradient by differences: a sum for a mean, a sign. */
static const int token_x[3 * LENGTH] = {0, 3, 3, 3, 2, 1}, token_y[3 * LENGTH] = {0, 2, 1, 1, 2, 1};
static int token_loss(void *ctx, flow_real *loss, const flow_real *theta) {
    const flow_real t[3] = {FLOWI_R(0.3), 0, 1};
    (void)theta; /* the network's own */
    return flow_token_net_loss((flow_token_net *)ctx, loss, token_x, token_y, t, 3);
}
static void test_token_loss(void) {
    const flow_real t[3] = {FLOWI_R(0.3), 0, 1};
    flow_real p[3 * LENGTH * TOKENS], loss = 0, worst = 1, *grad;
    flow_rng rng = test_rng(84);
    flow_token_net q;
    double want = 0;
    flow_net net;
    int token_wrong[3 * LENGTH] = {0}, i, k;
    q.s = token_spec(FLOW_MASK);
    q.net = &net;
    TEST_ERR(flow_net_init(&net, LENGTH * TOKENS, 0, 5, 1, FLOW_TANH, 3, &rng), FLOW_OK);
    TEST_ERR(token_loss(&q, &loss, NULL), FLOW_OK);
    grad = flowi_new(net.params);
    memcpy(grad, net.grad, (size_t)net.params * sizeof *grad);
    TEST_ERR(flow_token_net_posterior(&q, p, token_x, t, 3), FLOW_OK);
    for (i = 0; i < 3 * LENGTH; i++) want -= log((double)p[i * TOKENS + token_y[i]]) / 3;
    TEST_NEAR(loss, want, 50 * EPS);
    TEST_ERR(flow_check_gradient(&worst, token_loss, &q, net.theta, grad, net.params,
                                 (flow_real)STEP), FLOW_OK);
    TEST((double)worst < 5e3 * STEP * STEP);
    TEST_ERR(flow_token_net_loss(&q, &loss, token_x, token_y, t, 0), FLOW_E_EMPTY);
    TEST_ASSERT_TRIPS(flow_token_net_loss(&q, &loss, token_x, token_y, t, 4));
    for (i = 0; i < 2; i++) { /* logits that are NaN, or all -infinity */
        for (k = 0; k < net.params; k++)
            net.theta[k] = k < net.params - net.d ? 0 : -FLOWI_INFINITY;
        if (i == 0) net.theta[0] = FLOWI_INFINITY - FLOWI_INFINITY;
        TEST_ERR(flow_token_net_loss(&q, &loss, token_x, token_y, t, 3), FLOW_E_FINITE);
        TEST_ERR(flow_token_net_posterior(&q, p, token_x, t, 3), FLOW_E_FINITE);
    }
    for (k = 0; k < net.params; k++) net.theta[k] = 0;
    token_wrong[0] = TOKENS;
    TEST_ASSERT_TRIPS(flow_token_net_loss(&q, &loss, token_x, token_wrong, t, 3));
    flow_release(grad);
    flow_net_free(&net);
}

/* ---- errors and memory ----------------------------------------------------------------------- */

/* A NaN in one sample's time that spoils its neighbours, or none at all; a NaN in x or in the data
 * that is lost on the way. */
static void test_nan(void) {
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_real x[2] = {1, 2}, t[2] = {FLOWI_R(0.5), nan}, data[2] = {1, nan}, v[2];
    flow_mixture m, pt;
    flow_marginal g;
    flow_field f;
    example_mixture(&m, 1);
    TEST_ERR(flow_mixture_at(&pt, &m, FLOW_LINEAR, nan), FLOW_E_FINITE);
    TEST_ERR(flow_mixture_at(&pt, &m, FLOW_VP, FLOWI_INFINITY), FLOW_E_FINITE);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    f = flow_marginal_field(&g);
    TEST_ERR(f.velocity(f.ctx, v, x, t, 2), FLOW_E_SINGULAR);
    TEST_ERR(f.velocity(f.ctx, v, x, t + 1, 1), FLOW_E_SINGULAR);
    t[1] = t[0], x[0] = nan;
    TEST_ERR(f.velocity(f.ctx, v, x, t, 2), FLOW_OK);
    TEST(v[0] != v[0] && v[1] == v[1]);
    flow_marginal_free(&g);
    m.cov[0] = -1;
    TEST_ERR(flow_mixture_at(&pt, &m, FLOW_LINEAR, 0), FLOW_E_SINGULAR);
    flow_mixture_free(&m);
    TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, 2, 1), FLOW_OK);
    f = flow_marginal_field(&g);
    TEST_ERR(f.velocity(f.ctx, v, x + 1, t, 1), FLOW_OK);
    TEST(v[0] != v[0]);
    flow_marginal_free(&g);
}

/* A leak, work that is too short (test_free sees it), a mistake that goes unnoticed. */
static void test_memory(void) {
    flow_real data[3] = {1, 2, 3};
    flow_mixture m, pt;
    flow_marginal g;
    example_mixture(&m, 2);
    memset(&g, 0xFF, sizeof g);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    TEST(g.mixture == &m && g.data == NULL && g.count == 0 && g.d == 2 && g.path == FLOW_LINEAR);
    flow_marginal_free(&g);
    memset(&g, 0xFF, sizeof g);
    TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, 3, 1), FLOW_OK);
    TEST(g.mixture == NULL && g.data == data && g.count == 3 && g.d == 1);
    flow_marginal_free(&g);
    TEST_EVERY_ALLOC(flow_mixture_at(&pt, &m, FLOW_LINEAR, FLOWI_R(0.5)), flow_mixture_free(&pt));
    TEST_EVERY_ALLOC(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), flow_marginal_free(&g));
    TEST_EVERY_ALLOC(flow_marginal_of_data(&g, data, FLOW_LINEAR, 3, 1), flow_marginal_free(&g));
    flow_marginal_free(&g);
    TEST(g.work == NULL && g.data == NULL);
    TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, 0, 1), FLOW_E_EMPTY);
    TEST_ERR(flow_marginal_of_data(&g, data, FLOW_LINEAR, -1, 1), FLOW_E_EMPTY);
    flow_marginal_free(&g);
    TEST_ASSERT_TRIPS(flow_marginal_of_data(&g, data, FLOW_LINEAR, 3, 0));
    TEST_ASSERT_TRIPS(flow_marginal_of_data(NULL, data, FLOW_LINEAR, 3, 1));
    TEST_ASSERT_TRIPS(flow_marginal_of_mixture(&g, NULL, FLOW_LINEAR));
    TEST_ASSERT_TRIPS(flow_marginal_of_mixture(NULL, &m, FLOW_LINEAR));
    memset(&pt, 0, sizeof pt);
    TEST_ASSERT_TRIPS(flow_marginal_of_mixture(&g, &pt, FLOW_LINEAR));
    flow_mixture_free(&m);
}

int main(void) {
    test_section("path");
    test_path_values_and_slopes();
    test_path_ends();
    test_path_sample();
    test_convert();
    test_convert_ends();
    test_convert_ends_of_cosine();
    test_section("loss");
    test_loss_value();
    test_loss_gradient();
    test_loss_errors();
    test_section("mixture");
    test_mixture_velocity();
    test_mixture_at();
    test_continuity();
    test_mixture_velocity_ends();
    test_section("finite data");
    test_data_velocity();
    test_data_velocity_near_one();
    test_section("both fields");
    test_tangents();
    test_least_loss();
    test_velocity_is_conditional_mean();
    test_section("all paths");
    test_score_of_velocity();
    test_data_of_velocity();
    test_section("couplings");
    test_ot_exact();
    test_ot_certificate();
    test_ot_degenerate();
    test_ot_errors();
    test_sinkhorn();
    test_sinkhorn_draws();
    test_sinkhorn_lost_epsilon();
    test_sinkhorn_again();
    test_sinkhorn_overflow();
    test_section("conditions and guidance");
    test_onehot();
    test_label_dropout();
    test_given();
    test_guidance();
    test_section("samples with noise");
    test_sde();
    test_sde_misuse();
    test_sde_draws();
    test_section("tokens");
    test_tokens_noise_and_path();
    test_tokens_path_by_its_draws();
    test_token_posterior();
    test_token_posterior_impossible();
    test_token_posterior_far();
    test_token_rates();
    test_token_rates_ends();
    test_tokens_sample();
    test_tokens_sample_steps();
    test_tokens_sample_rounding();
    test_tokens_sample_errors();
    test_token_net();
    test_token_loss();
    test_section("errors and memory");
    test_nan();
    test_memory();
    return test_done();
}
