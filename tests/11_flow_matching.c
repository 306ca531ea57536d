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

/* A derivative of the wrong sign, ends exchanged: t = 0 is noise, t = 1 is data. */
static void test_path_ends_and_slopes(void) {
    int path, k;
    for (path = 0; path < FLOW_PATH_COUNT; path++) {
        const flow_path noise = flow_path_at(path, 0), data = flow_path_at(path, 1);
        TEST(noise.alpha == 0 && noise.sigma == 1 && data.alpha == 1 && data.sigma == 0);
        for (k = 1; k < 8; k++) {
            const flow_real t = FLOWI_R(k / 8.0), h = FLOWI_R(1.0 / 64);
            const flow_path p = flow_path_at(path, t);
            const flow_path up = flow_path_at(path, t + h), down = flow_path_at(path, t - h);
            TEST_NEAR(p.dalpha, (up.alpha - down.alpha) / (2 * h), 1e-3);
            TEST_NEAR(p.dsigma, (up.sigma - down.sigma) / (2 * h), 1e-3);
        }
    }
    TEST_NEAR(flow_path_at(FLOW_LINEAR, FLOWI_R(0.25)).alpha, 0.25, 0);
    TEST_NEAR(flow_path_at(FLOW_LINEAR, FLOWI_R(0.25)).sigma, 0.75, 0);
    TEST_ASSERT_TRIPS((void)flow_path_at(-1, 0));
    TEST_ASSERT_TRIPS((void)flow_path_at(FLOW_PATH_COUNT, 0));
}

/* Noise and data exchanged, one time for the whole batch. */
static void test_path_sample(void) {
    flow_real x0[N * 3], x1[N * 3], xt[N * 3], ut[N * 3];
    flow_rng rng = test_rng(1);
    int i;
    flow_normal_sample(&rng, x0, N, 3);
    flow_normal_sample(&rng, x1, N, 3);
    flow_path_sample(FLOW_LINEAR, xt, ut, x0, x1, some_times, N, 3);
    for (i = 0; i < N * 3; i++) {
        const double t = (double)some_times[i / 3], a = (double)x0[i], b = (double)x1[i];
        TEST_NEAR(xt[i], (1 - t) * a + t * b, 8 * EPS);
        TEST_NEAR(ut[i], b - a, 8 * EPS);
    }
    xt[0] = 7;
    flow_path_sample(FLOW_LINEAR, xt, ut, x0, x1, some_times, 0, 3);
    TEST_NEAR(xt[0], 7, 0);
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
    once = flowi_new((size_t)q.net.params);
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
 *   p_t(x) = integral of p(x1) N(x0)/(1 - t)^d dx1,  v* = that of (x1 - x0) p(x1) N(x0)/(1 - t)^d/p_t
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
        TEST_ERR(f.tangent(f.ctx, v, jv, x + 2 * i, &t, basis, 1, 2), FLOW_OK);
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
        TEST_ERR(f.tangent(f.ctx, v, jv, x, times, s, 2, 1), FLOW_E_SINGULAR);
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
    TEST_ERR(f.tangent(f.ctx, v, jv, x, t, s, N, K), FLOW_OK);
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
    test_path_ends_and_slopes();
    test_path_sample();
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
    test_section("errors and memory");
    test_nan();
    test_memory();
    return test_done();
}
