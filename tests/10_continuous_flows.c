/* 10_continuous_flows.c - tests of section 10 of flow.h: the divergence of a field, exact and by
 * Hutchinson, the transport of points and of their log-density, and training by likelihood. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define MOST 64 /* the largest dimension */
#define N 13    /* samples: with batches of 5, two full ones and a rest */

/* ---- fields ---------------------------------------------------------------------------------- */

/* v_j = a_j x_j^2 + b x_(j+1) sin t: nonlinear, coupled, different in every coordinate and at
 * every time, with div v = sum_j 2 a_j x_j (b adds to it in one dimension, where j+1 is j). */
typedef struct {
    int d;
    double a, b;
} swirl;

static double swirl_a(const swirl *w, int j) {
    return w->a * (1 + 0.1 * j);
}

static int swirl_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    const swirl *w = (const swirl *)ctx;
    const int d = w->d;
    int i, j;
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++) {
            const double xj = (double)x[i * d + j], next = (double)x[i * d + (j + 1) % d];
            v[i * d + j] = FLOWI_R(swirl_a(w, j) * xj * xj + w->b * next * sin((double)t[i]));
        }
    return FLOW_OK;
}

static int swirl_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                         const flow_real *t, const flow_real *s, int n, int k, flow_real *kept) {
    const swirl *w = (const swirl *)ctx;
    const int d = w->d;
    int i, j, l;
    (void)kept;
    for (l = 0; l < k; l++)
        for (i = 0; i < n; i++)
            for (j = 0; j < d; j++) {
                const flow_real *at = s + (l * n + i) * d;
                const double xj = (double)x[i * d + j], next = (double)at[(j + 1) % d];
                jv[(l * n + i) * d + j] = FLOWI_R(2 * swirl_a(w, j) * xj * (double)at[j] +
                                                  w->b * next * sin((double)t[i]));
            }
    return swirl_velocity(ctx, v, x, t, n);
}

static double swirl_divergence(const swirl *w, const flow_real *x, flow_real t) {
    double div = w->d == 1 ? w->b * sin((double)t) : 0;
    int j;
    for (j = 0; j < w->d; j++) div += 2 * swirl_a(w, j) * (double)x[j];
    return div;
}

static flow_field field_of(swirl *w, int with_tangent) {
    flow_field f = flow_field_of(w->d, swirl_velocity, w);
    if (with_tangent) f.tangent = swirl_tangent;
    return f;
}

/* v = A x with A = [[1, 2], [-3, 0.5]]: log p changes by -trace A = -1.5 in a unit of time. */
static int linear_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    int i;
    (void)ctx, (void)t;
    for (i = 0; i < n; i++) {
        const flow_real x0 = x[2 * i], x1 = x[2 * i + 1];
        v[2 * i] = x0 + 2 * x1;
        v[2 * i + 1] = -3 * x0 + x1 / 2;
    }
    return FLOW_OK;
}

static flow_field linear_field(void) {
    return flow_field_of(2, linear_velocity, NULL);
}

/* (1/k) sum_j s_j'A s_j for tangents s_j of sample i, [k*n*2] */
static double linear_estimate(const flow_real *s, int i, int n, int k) {
    double sum = 0;
    int j;
    for (j = 0; j < k; j++) {
        const double s0 = (double)s[(j * n + i) * 2], s1 = (double)s[(j * n + i) * 2 + 1];
        sum += s0 * (s0 + 2 * s1) + s1 * (s1 / 2 - 3 * s0);
    }
    return sum / k;
}

/* A field that fails at its bad_call-th call, by a code or, with FLOW_OK, by a NaN. */
typedef struct {
    int calls, bad_call, bad_code;
} trap;

static int trap_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    trap *w = (trap *)ctx;
    const int bad = ++w->calls == w->bad_call;
    int i;
    (void)x, (void)t;
    for (i = 0; i < 2 * n; i++) v[i] = bad ? FLOWI_INFINITY - FLOWI_INFINITY : 1;
    return bad ? w->bad_code : FLOW_OK;
}

/* ---- divergence ------------------------------------------------------------------------------ */

static void draw_points(int seed, flow_real *x, flow_real *t, int n, int d) {
    flow_rng rng = test_rng(seed);
    flow_normal_sample(&rng, x, n, d);
    flow_uniform_sample(&rng, t, 0, 1, n, 1);
}

/* The diagonal of another matrix, tangents or samples mixed up, one time for all samples; in
 * differences: a wrong step, one-sided, not divided by 2h. */
static void test_divergence(void) {
    static const int dims[4] = {1, 2, 3, MOST};
    static flow_real x[N * MOST], v[N * MOST], want[N * MOST];
    flow_real t[N], div[N], again[N];
    int k, i, exact;
    for (k = 0; k < 4; k++)
        for (exact = 0; exact < 2; exact++) {
            swirl w = {dims[k], 0.3, 0.7};
            const double tol = exact ? 100 * EPS : 30 * pow(EPS, 2.0 / 3);
            flow_cnf c;
            draw_points(1, x, t, N, w.d);
            TEST_ERR(flow_cnf_init(&c, field_of(&w, exact), FLOW_RK4, 10, 5), FLOW_OK);
            TEST_ERR(flow_cnf_divergence(&c, v, div, x, t, N), FLOW_OK);
            TEST_ERR(flow_cnf_divergence(&c, NULL, again, x, t, N), FLOW_OK);
            swirl_velocity(&w, want, x, t, N);
            TEST_NEAR_ALL(v, want, N * w.d, 0);
            TEST_NEAR_ALL(div, again, N, 0);
            for (i = 0; i < N; i++)
                TEST_NEAR(div[i], swirl_divergence(&w, x + i * w.d, t[i]), tol * w.d);
            flow_cnf_free(&c);
        }
}

/* ---- transport ------------------------------------------------------------------------------- */

/* A lost sign of time or of the divergence, a stale time: dx/dt = cos(t) x multiplies x by
 * e^(sin t1 - sin t0), and log p loses d times that exponent, in either direction. */
static int breathe(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    const int d = *(const int *)ctx;
    int i;
    for (i = 0; i < n * d; i++) v[i] = FLOWI_R(cos((double)t[i / d])) * x[i];
    return FLOW_OK;
}

static void test_transport_closed_form(void) {
    static const int dims[3] = {1, 2, MOST};
    static flow_real x[N * MOST], moved[N * MOST];
    int k, i, back;
    for (k = 0; k < 6; k++) {
        int d = dims[k / 2];
        const double t0 = k % 2 ? 0.9 : 0.2, t1 = k % 2 ? 0.2 : 0.9, growth = sin(t1) - sin(t0);
        flow_real t[N], logp[N], before[N];
        flow_field f;
        flow_cnf c;
        f = flow_field_of(d, breathe, &d);
        draw_points(2, x, t, N, d);
        TEST_ERR(flow_cnf_init(&c, f, FLOW_DOPRI5, 20, 5), FLOW_OK);
        for (back = 0; back < 2; back++) { /* without log p, then with it */
            memcpy(moved, x, sizeof x);
            for (i = 0; i < N; i++) logp[i] = before[i] = t[i];
            TEST_ERR(
                flow_cnf_transport(&c, moved, back ? logp : NULL, (flow_real)t0, (flow_real)t1, N),
                FLOW_OK);
            for (i = 0; i < N * d; i++)
                TEST_NEAR(moved[i], exp(growth) * (double)x[i], 1e-9 + 200 * EPS);
            for (i = 0; i < N; i++)
                TEST_NEAR(logp[i], (double)before[i] - back * d * growth,
                          d * (1e-8 + 30 * pow(EPS, 2.0 / 3)));
        }
        flow_cnf_free(&c);
    }
}

/* Off-diagonal terms in the divergence: for v = A x, log p loses the trace of A. */
static void test_trace(void) {
    flow_real x[4] = {1, 2, -1, FLOWI_R(0.5)}, logp[2] = {0, 3};
    flow_cnf c;
    TEST_ERR(flow_cnf_init(&c, linear_field(), FLOW_RK4, 40, 2), FLOW_OK);
    TEST_ERR(flow_cnf_transport(&c, x, logp, 0, 2, 2), FLOW_OK);
    TEST_NEAR(logp[0], -3, 1e-8 + 30 * pow(EPS, 2.0 / 3));
    TEST_NEAR(logp[1], 0, 1e-8 + 30 * pow(EPS, 2.0 / 3));
    flow_cnf_free(&c);
}

/* A way back that is not the way there. */
static void test_there_and_back(void) {
    swirl w = {3, 0.3, 0.7};
    flow_real x[N * 3], moved[N * 3], logp[N] = {0}, zero[N] = {0}, t[N];
    flow_cnf c;
    int i;
    draw_points(3, x, t, N, 3);
    for (i = 0; i < N * 3; i++) moved[i] = x[i] /= 4; /* far out, x' = x^2 runs off to infinity */
    TEST_ERR(flow_cnf_init(&c, field_of(&w, 1), FLOW_DOPRI5, 60, 5), FLOW_OK);
    TEST_ERR(flow_cnf_transport(&c, moved, logp, 0, 1, N), FLOW_OK);
    TEST(fabs((double)moved[0] - (double)x[0]) > 1e-3 && fabs((double)logp[0]) > 1e-3);
    TEST_ERR(flow_cnf_transport(&c, moved, logp, 1, 0, N), FLOW_OK);
    TEST_NEAR_ALL(moved, x, N * 3, 1e-9 + 200 * EPS);
    TEST_NEAR_ALL(logp, zero, N, 1e-9 + 200 * EPS);
    flow_cnf_free(&c);
}

/* A sample whose result depends on its place in a batch; no samples; t0 = t1; other steps. */
static void test_batches(void) {
    static const int batches[3] = {1, 5, 20};
    swirl w = {3, 0.05, 0.7};
    flow_real x[N * 3], first[N * 3], moved[N * 3], logp[N], first_logp[N], t[N];
    int k;
    draw_points(4, x, t, N, 3);
    for (k = 0; k < 3; k++) {
        flow_cnf c;
        memcpy(moved, x, sizeof x);
        memcpy(logp, t, sizeof t);
        TEST_ERR(flow_cnf_init(&c, field_of(&w, 1), FLOW_RK4, 99, batches[k]), FLOW_OK);
        c.steps = 4;
        TEST_ERR(flow_cnf_transport(&c, moved, logp, 0, 1, N), FLOW_OK);
        TEST_EQ_INT(c.ode.evals, 4 * 4 * ((N + batches[k] - 1) / batches[k]));
        if (k == 0) memcpy(first, moved, sizeof moved);
        if (k == 0) memcpy(first_logp, logp, sizeof logp);
        TEST_ERR(flow_cnf_transport(&c, moved, logp, 0, 1, 0), FLOW_OK);
        TEST_ERR(flow_cnf_transport(&c, moved, logp, 1, 1, N), FLOW_OK);
        TEST_NEAR_ALL(moved, first, N * 3, 0);
        TEST_NEAR_ALL(logp, first_logp, N, 0);
        flow_cnf_free(&c);
    }
}

/* ---- densities and samples ------------------------------------------------------------------- */

static flow_cnf *cnf_of_integrand;

static int cnf_logprob(void *ctx, flow_real *logp, const flow_real *x, int n) {
    (void)ctx;
    return flow_cnf_logprob(cnf_of_integrand, logp, x, n);
}

/* A divergence with the wrong sign or factor, in any flow: p = p_1 must integrate to 1. */
static void test_density_integrates_to_one(void) {
    int d;
    for (d = 1; d <= 2; d++) {
        swirl w = {d, 0, 0.9};
        flow_real mass = 0;
        flow_cnf c;
        w.a = 0.02; /* so weak that nothing runs off to infinity within the box */
        TEST_ERR(flow_cnf_init(&c, field_of(&w, 1), FLOW_RK4, 12, 16), FLOW_OK);
        cnf_of_integrand = &c;
        TEST_ERR(flow_quadrature(&mass, cnf_logprob, NULL, -9, 9, 40, d), FLOW_OK);
        TEST_NEAR(mass, 1, 2e-5);
        flow_cnf_free(&c);
    }
}

/* log p with the normalisation of a wrong dimension, or the integral added with a wrong sign: along
 * the exact field of a mixture, log p_1 is the mixture's own. */
static void check_exact_density(int k, int d, int method, int steps, double tol) {
    const flow_real weight[2] = {1, 3};
    static flow_real mean[2 * MOST], cov[2 * MOST * MOST], x[N * MOST];
    flow_real logp[N], want[N];
    flow_rng rng = test_rng(5);
    flow_mixture m;
    flow_marginal g;
    flow_cnf c;
    int i, j;
    flow_normal_sample(&rng, mean, k, d);
    for (i = 0; i < k; i++)
        for (j = 0; j < d * d; j++)
            cov[i * d * d + j] = j % (d + 1) == 0 ? FLOWI_R(0.4 + 0.3 * i) : FLOWI_R(0.3 / d);
    TEST_ERR(flow_mixture_init(&m, weight, mean, cov, k, d), FLOW_OK);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    TEST_ERR(flow_cnf_init(&c, flow_marginal_field(&g), method, steps, 5), FLOW_OK);
    flow_mixture_sample(&m, &rng, x, NULL, N);
    flow_mixture_logprob(&m, want, x, N);
    TEST_ERR(flow_cnf_logprob(&c, logp, x, d < MOST ? N : 1), FLOW_OK);
    TEST_NEAR_ALL(logp, want, d < MOST ? N : 1, tol);
    flow_cnf_free(&c);
    flow_marginal_free(&g);
    flow_mixture_free(&m);
}

static void test_exact_density(void) {
    check_exact_density(2, 1, FLOW_DOPRI5, 40, 1e-6 + 1e3 * EPS);
    check_exact_density(2, 2, FLOW_DOPRI5, 40, 1e-6 + 1e3 * EPS);
    check_exact_density(1, MOST, FLOW_RK4, 12, 1e-2 + 1e4 * EPS);
}

static flow_real mixture_cdf(void *ctx, flow_real x) {
    const flow_mixture *m = (const flow_mixture *)ctx;
    double p = 0;
    int k;
    for (k = 0; k < m->k; k++)
        p += (double)m->weight[k] *
             erfc(-((double)x - (double)m->mean[k]) / sqrt(2 * (double)m->cov[k])) / 2;
    return FLOWI_R(p);
}

/* Samples that are not those of p_1, draws that are not those documented: of all at once, not of an
 * odd number batch by batch. */
static void test_sample(void) {
    static flow_real x[2000], z[2000];
    const flow_real weight[2] = {1, 3}, mean[2] = {-2, 1}, cov[2] = {FLOWI_R(0.25), 1};
    flow_rng rng = test_rng(6), twin = rng;
    flow_mixture m;
    flow_marginal g;
    flow_cnf c;
    TEST_ERR(flow_mixture_init(&m, weight, mean, cov, 2, 1), FLOW_OK);
    TEST_ERR(flow_marginal_of_mixture(&g, &m, FLOW_LINEAR), FLOW_OK);
    TEST_ERR(flow_cnf_init(&c, flow_marginal_field(&g), FLOW_RK4, 20, 299), FLOW_OK);
    TEST_ERR(flow_cnf_sample(&c, &rng, x, 2000), FLOW_OK);
    TEST(ks_accepts(x, 2000, mixture_cdf, &m));
    flow_normal_sample(&twin, z, 2000, 1);
    TEST_ERR(flow_cnf_transport(&c, z, NULL, 0, 1, 2000), FLOW_OK);
    TEST_NEAR_ALL(x, z, 2000, 0);
    TEST_EQ_INT(draws_between(rng, &twin), 0);
    flow_cnf_free(&c);
    flow_marginal_free(&g);
    flow_mixture_free(&m);
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* An error of the field, or a NaN from it, that is swallowed by one of the four functions: 2 Heun
 * steps of 2 points a batch, 2 evaluations each, of which log p makes 1 + 2 d = 5 calls. */
static void test_field_errors(void) {
    int bad, code;
    for (bad = 1; bad <= 8; bad++)
        for (code = 0; code >= -99; code -= 99) {
            flow_real x[6] = {0}, t[3] = {0}, logp[3];
            flow_rng rng = test_rng(7);
            flow_field f = linear_field();
            flow_cnf c;
            trap w;
            w.calls = 0, w.bad_call = bad, w.bad_code = code;
            f.velocity = trap_velocity, f.ctx = &w;
            TEST_ERR(flow_cnf_init(&c, f, FLOW_HEUN, 2, 2), FLOW_OK);
            TEST_ERR(flow_cnf_transport(&c, x, NULL, 0, 1, 3), code ? code : FLOW_E_FINITE);
            w.calls = 0;
            TEST_ERR(flow_cnf_sample(&c, &rng, x, 3), code ? code : FLOW_E_FINITE);
            w.calls = 0;
            TEST_ERR(flow_cnf_logprob(&c, logp, x, 3), code ? code : FLOW_E_FINITE);
            w.calls = 0;
            TEST_ERR(flow_cnf_divergence(&c, NULL, logp, x, t, 3), code);
            flow_cnf_free(&c);
        }
}

static int trap_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                        const flow_real *t, const flow_real *s, int n, int k, flow_real *kept) {
    (void)ctx, (void)v, (void)jv, (void)x, (void)t, (void)s, (void)n, (void)k, (void)kept;
    return -99;
}

/* An error of the tangents that is swallowed; points that are not finite; no steps. */
static void test_other_errors(void) {
    flow_real x[2] = {0, 0}, t[1] = {0}, logp[1] = {0};
    flow_field f = linear_field();
    flow_rng rng = test_rng(8);
    flow_cnf c;
    f.tangent = trap_tangent;
    TEST_ERR(flow_cnf_init(&c, f, FLOW_RK4, 1, 1), FLOW_OK);
    TEST_ERR(flow_cnf_divergence(&c, NULL, logp, x, t, 1), -99);
    TEST_ERR(flow_cnf_logprob(&c, logp, x, 1), -99);
    TEST_ERR(flow_cnf_transport(&c, x, logp, 0, 1, 1), -99);
    TEST_ERR(flow_cnf_transport(&c, x, NULL, 0, 1, 1), FLOW_OK);
    x[1] = FLOWI_INFINITY - FLOWI_INFINITY;
    TEST_ERR(flow_cnf_transport(&c, x, NULL, 0, 1, 1), FLOW_E_FINITE);
    TEST_ERR(flow_cnf_logprob(&c, logp, x, 1), FLOW_E_FINITE);
    c.steps = 0;
    x[1] = 0;
    TEST_ERR(flow_cnf_transport(&c, x, NULL, 0, 1, 1), FLOW_E_EMPTY);
    TEST_ERR(flow_cnf_sample(&c, &rng, x, 1), FLOW_E_EMPTY);
    TEST_ERR(flow_cnf_logprob(&c, logp, x, 1), FLOW_E_EMPTY);
    c.tol = 1; /* nor for adaptive steps */
    TEST_ERR(flow_cnf_transport(&c, x, NULL, 0, 1, 1), FLOW_E_EMPTY);
    flow_cnf_free(&c);
}

/* A leak, an array too short for one of the two kinds of field, a mistake that goes unnoticed. */
static void test_memory(void) {
    static const int dims[3] = {1, 3, MOST};
    static flow_real x[4 * MOST];
    int k, exact;
    for (k = 0; k < 6; k++) {
        swirl w = {dims[k / 2], 0.01, 0.1};
        flow_real logp[4], t[4];
        flow_cnf c;
        exact = k % 2;
        TEST_EVERY_ALLOC(flow_cnf_init(&c, field_of(&w, exact), FLOW_HEUN, 1, 4),
                         flow_cnf_free(&c));
        TEST_ERR(flow_cnf_init(&c, field_of(&w, exact), FLOW_HEUN, 1, 4), FLOW_OK);
        TEST_EQ_INT(c.bytes, sizeof(flow_real) *
                                 ((size_t)(2 * flowi_min(w.d, 8) + 6) * 4 * (size_t)w.d + 3 * 4 +
                                  (2 + 2) * 4 * ((size_t)w.d + 1)));
        draw_points(9, x, t, 4, w.d);
        TEST_ERR(flow_cnf_logprob(&c, logp, x, 4), FLOW_OK);
        TEST_ERR(flow_cnf_transport(&c, x, logp, 0, 1, 4), FLOW_OK);
        TEST_ASSERT_TRIPS(flow_cnf_transport(&c, x, logp, 0, 1, -1));
        flow_cnf_free(&c);
        flow_cnf_free(&c);
        TEST_ASSERT_TRIPS(flow_cnf_transport(&c, x, logp, 0, 1, 1));
        TEST_ASSERT_TRIPS(flow_cnf_init(&c, field_of(&w, exact), FLOW_HEUN, 1, 0));
        TEST_ASSERT_TRIPS(flow_cnf_init(NULL, field_of(&w, exact), FLOW_HEUN, 1, 1));
    }
    TEST_ASSERT_TRIPS((void)flow_field_of(0, linear_velocity, NULL));
    TEST_ASSERT_TRIPS((void)flow_field_of(2, NULL, NULL));
}

/* Memory of a tangent for each dimension, where eight would do: too much for images. */
static void test_memory_of_many_dimensions(void) {
    size_t bytes[2];
    int k;
    for (k = 0; k < 2; k++) {
        flow_cnf c;
        TEST_ERR(flow_cnf_init(&c, flow_field_of(100 << k, linear_velocity, NULL), FLOW_HEUN, 1, 4),
                 FLOW_OK);
        bytes[k] = c.bytes;
        flow_cnf_free(&c);
    }
    TEST(bytes[1] <= 2 * bytes[0]);
}

/* ---- the field of a network ------------------------------------------------------------------ */

/* Batches that begin at the wrong row, tangents of another sample, another network's dimension. */
static void test_net_field(void) {
    flow_rng rng = test_rng(10);
    flow_real x[N * 3], t[N], s[2 * N * 3], v[N * 3], again[N * 3], jv[2 * N * 3], want[2 * N * 3];
    flow_net large, small;
    flow_field f;
    draw_points(11, x, t, N, 3);
    flow_normal_sample(&rng, s, 2 * N, 3);
    TEST_ERR(flow_net_init(&large, 3, 0, 8, 2, FLOW_TANH, N, &rng), FLOW_OK);
    TEST_ERR(flow_net_init(&small, 3, 0, 8, 2, FLOW_TANH, 5, &rng), FLOW_OK);
    memcpy(small.theta, large.theta, (size_t)large.params * sizeof(flow_real));
    f = flow_net_field(&small);
    TEST_EQ_INT(f.d, 3);
    flow_net_forward(&large, v, x, t, NULL, N);
    flow_net_tangent(&large, want, s, N, 2);
    TEST_ERR(f.velocity(f.ctx, again, x, t, N), FLOW_OK);
    TEST_NEAR_ALL(again, v, N * 3, 0);
    memset(again, 0, sizeof again);
    TEST_ERR(f.tangent(f.ctx, again, jv, x, t, s, N, 2, NULL), FLOW_OK);
    TEST_NEAR_ALL(again, v, N * 3, 0);
    TEST_NEAR_ALL(jv, want, 2 * N * 3, 0);
    flow_net_free(&large);
    flow_net_free(&small);
    TEST_ERR(flow_net_init(&small, 3, 1, 8, 2, FLOW_TANH, 5, &rng), FLOW_OK);
    TEST_ASSERT_TRIPS((void)flow_net_field(&small));
    flow_net_free(&small);
}

/* ---- Hutchinson's estimate ------------------------------------------------------------------- */

#define PROBES 3
#define COUNT (PROBES * N * MOST)

/* s'(dv/dx)s taken with the wrong tangent, a sum instead of a mean: the estimate, by hand, from the
 * probes that were drawn; once more over many draws, that it is right on average. */
static void test_hutchinson_divergence(void) {
    enum { AGAIN = 400 };
    static flow_real off[AGAIN * N];
    flow_real x[N * 2], v[N * 2], t[N], div[N];
    int kind, i, k;
    draw_points(12, x, t, N, 2);
    for (kind = FLOW_RADEMACHER; kind <= FLOW_GAUSSIAN; kind++) {
        flow_rng rng = test_rng(13);
        flow_cnf c;
        TEST_ERR(flow_cnf_init_hutchinson(&c, linear_field(), FLOW_RK4, 1, N, kind, PROBES, &rng),
                 FLOW_OK);
        for (k = 0; k < AGAIN; k++) {
            TEST_ERR(flow_cnf_divergence(&c, v, div, x, t, N), FLOW_OK);
            for (i = 0; i < N; i++) off[k * N + i] = div[i] - FLOWI_R(1.5); /* the trace */
        }
        for (i = 0; i < N; i++)
            TEST_NEAR(div[i], linear_estimate(c.basis, i, N, PROBES), 300 * STEP * STEP);
        TEST_NEAR(mean_of(off, AGAIN * N, 1), 0, /* three standard errors */
                  3 * sqrt(product_of(off, 0, off, 0, AGAIN * N, 1) / (AGAIN * N)));
        flow_cnf_free(&c);
    }
}

/* Probes that are not +1 or -1, or not normal, or that go together. */
static void test_probes(void) {
    static flow_real x[N * MOST];
    flow_real t[N], div[N];
    int kind, i, ones = 0;
    draw_points(14, x, t, N, MOST);
    for (kind = FLOW_RADEMACHER; kind <= FLOW_GAUSSIAN; kind++) {
        swirl w = {MOST, 0.3, 0.7};
        flow_rng rng = test_rng(15);
        flow_cnf c;
        TEST_ERR(flow_cnf_init_hutchinson(&c, field_of(&w, 1), FLOW_RK4, 1, N, kind, PROBES, &rng),
                 FLOW_OK);
        TEST_ERR(flow_cnf_divergence(&c, NULL, div, x, t, N), FLOW_OK);
        TEST_MEAN(c.basis, COUNT, 1, 0);
        TEST_COVARIANCE(c.basis, 0, c.basis + 1, 0, COUNT - 1, 1, 0);
        TEST_COVARIANCE(c.basis, 0, c.basis + N * MOST, 0, COUNT - N * MOST, 1, 0);
        if (kind == FLOW_GAUSSIAN) TEST(ks_accepts(c.basis, COUNT, normal_cdf, NULL));
        for (i = 0; i < COUNT && kind == FLOW_RADEMACHER; i++)
            ones += c.basis[i] == 1 || c.basis[i] == -1;
        flow_cnf_free(&c);
    }
    TEST_EQ_INT(ones, COUNT);
}

/* New probes in every step or stage, which is no estimate of any flow's divergence: along v = A x a
 * solve with the same probes throughout adds -(t1 - t0) times one number to log p. */
static void test_probes_last_a_solve(void) {
    const double tol = 300 * STEP * STEP;
    int kind, i;
    for (kind = FLOW_RADEMACHER; kind <= FLOW_GAUSSIAN; kind++) {
        flow_rng rng = test_rng(16), before = rng;
        flow_real x[N * 2], t[N], logp[N] = {0};
        flow_cnf c;
        draw_points(17, x, t, N, 2);
        TEST_ERR(flow_cnf_init_hutchinson(&c, linear_field(), FLOW_HEUN, 7, N, kind, PROBES, &rng),
                 FLOW_OK);
        TEST_ERR(flow_cnf_transport(&c, x, NULL, 0, FLOWI_R(0.5), N), FLOW_OK);
        TEST_EQ_INT(draws_between(before, &rng), 0); /* no log p, no probes */
        TEST_ERR(flow_cnf_transport(&c, x, logp, 0, FLOWI_R(0.5), N), FLOW_OK);
        TEST_EQ_INT(draws_between(before, &rng), PROBES * N * 2);
        for (i = 0; i < N; i++)
            TEST_NEAR(logp[i], -linear_estimate(c.basis, i, N, PROBES) / 2, tol);
        flow_cnf_free(&c);
    }
}

/* Probes of one batch used for the next, or kept for the next call; one stream of normal pairs for
 * all probes: 5 points in batches of 2, 2 and 1 with 2 probes each, in three dimensions. */
static void test_probes_of_every_batch(void) {
    int kind, round;
    for (kind = FLOW_RADEMACHER; kind <= FLOW_GAUSSIAN; kind++) {
        const int draws = kind == FLOW_GAUSSIAN ? 2 * (6 + 6 + 4) : 2 * 15;
        swirl w = {3, 0.01, 0.7};
        flow_real x[15] = {0}, logp[5] = {0}, t[5] = {0};
        flow_rng rng = test_rng(25), before;
        flow_cnf c;
        TEST_ERR(flow_cnf_init_hutchinson(&c, field_of(&w, 1), FLOW_EULER, 2, 2, kind, 2, &rng),
                 FLOW_OK);
        for (round = 0; round < 2; round++) {
            before = rng;
            TEST_ERR(flow_cnf_transport(&c, x, logp, 0, 1, 5), FLOW_OK);
            TEST_EQ_INT(draws_between(before, &rng), draws);
            before = rng;
            TEST_ERR(flow_cnf_divergence(&c, NULL, logp, x, t, 5), FLOW_OK);
            TEST_EQ_INT(draws_between(before, &rng), draws);
        }
        flow_cnf_free(&c);
    }
}

/* No probes, no generator, no memory; a kind of probe that there is not. */
static void test_hutchinson_init(void) {
    const flow_field f = linear_field();
    flow_rng rng = test_rng(22);
    flow_cnf c;
    TEST_ERR(flow_cnf_init_hutchinson(&c, f, FLOW_RK4, 1, 4, FLOW_GAUSSIAN, 0, &rng), FLOW_E_EMPTY);
    TEST_EVERY_ALLOC(flow_cnf_init_hutchinson(&c, f, FLOW_RK4, 1, 4, FLOW_GAUSSIAN, 2, &rng),
                     flow_cnf_free(&c));
    TEST_ASSERT_TRIPS(flow_cnf_init_hutchinson(&c, f, FLOW_RK4, 1, 4, FLOW_GAUSSIAN + 1, 2, &rng));
    TEST_ASSERT_TRIPS(flow_cnf_init_hutchinson(&c, f, FLOW_RK4, 1, 4, FLOW_EXACT, 2, &rng));
    TEST_ASSERT_TRIPS(flow_cnf_init_hutchinson(&c, f, FLOW_RK4, 1, 4, FLOW_GAUSSIAN, 2, NULL));
}

/* ---- adaptive steps -------------------------------------------------------------------------- */

/* A tolerance that is not handed on to the solver. */
static void test_adaptive_transport(void) {
    const double tol = EPS < 1e-10 ? 1e-9 : 1e-5, growth = sin(1.0);
    int d = 3, i;
    flow_real x[N * 3], moved[N * 3], logp[N] = {0}, t[N];
    flow_cnf c;
    draw_points(18, x, t, N, d);
    memcpy(moved, x, sizeof x);
    TEST_ERR(flow_cnf_init(&c, flow_field_of(d, breathe, &d), FLOW_DOPRI5, 1, N), FLOW_OK);
    c.tol = (flow_real)tol;
    TEST_ERR(flow_cnf_transport(&c, moved, logp, 0, 1, N), FLOW_OK);
    TEST(c.ode.accepted > 3 && c.ode.atol == c.tol && c.ode.rtol == c.tol);
    for (i = 0; i < N * d; i++) TEST_NEAR(moved[i], exp(growth) * (double)x[i], 100 * tol);
    for (i = 0; i < N; i++) TEST_NEAR(logp[i], -d * growth, 100 * tol + 30 * STEP * STEP);
    flow_cnf_free(&c);
}

/* ---- gradients ------------------------------------------------------------------------------- */

/* A velocity network at BATCH - 1 points with up to 19 tangents, and the loss that its field's
 * backward pass differentiates: sum dv'v + sum djv'(dv/dx)s. */
#define BATCH 4
#define MANY 19
typedef struct {
    flow_net net;
    flow_field field;
    int n, k;
    flow_real x[BATCH * 2], t[BATCH], dv[BATCH * 2], s[MANY * BATCH * 2], djv[MANY * BATCH * 2];
} pulled;

static double pulled_loss(void *ctx) {
    pulled *q = (pulled *)ctx;
    flow_real v[BATCH * 2], jv[MANY * BATCH * 2];
    double loss = 0;
    int i;
    TEST_ERR(q->field.tangent(q->field.ctx, v, jv, q->x, q->t, q->s, q->n, q->k, NULL), FLOW_OK);
    for (i = 0; i < q->n * 2; i++) loss += (double)q->dv[i] * (double)v[i];
    for (i = 0; i < q->k * q->n * 2; i++) loss += (double)q->djv[i] * (double)jv[i];
    return loss;
}

static int run_pull(pulled *q, flow_real *dx) {
    return q->field.backward(q->field.ctx, dx, q->dv, q->djv, q->x, q->t, q->s, q->n, q->k, NULL);
}

/* What tangent leaves is not what backward finds: kept is too short (test_free sees it) or written
 * for other places, v or jv come out otherwise, something is looked for in the network's own cache
 * after all, where other points have been meanwhile. dx and grad without kept are given. */
static void check_kept_pull(pulled *q, const flow_real *dx, const flow_real *grad) {
    const flow_field *f = &q->field;
    const int keeps = f->keeps(f->ctx, q->k);
    flow_real *kept = (flow_real *)test_malloc((size_t)(q->n * keeps) * sizeof *kept);
    flow_real v[BATCH * 2], jv[MANY * BATCH * 2], w[BATCH * 2], jw[MANY * BATCH * 2];
    flow_real again[BATCH * 2];
    int i;
    TEST_EQ_INT(keeps, (3 + q->k) * 2 * 6);
    TEST_ERR(f->tangent(f->ctx, w, jw, q->x, q->t, q->s, q->n, q->k, NULL), FLOW_OK);
    TEST_ERR(f->tangent(f->ctx, v, jv, q->x, q->t, q->s, q->n, q->k, kept), FLOW_OK);
    TEST_NEAR_ALL(v, w, q->n * 2, 0);
    TEST_NEAR_ALL(jv, jw, q->k * q->n * 2, 0);
    TEST_ERR(f->tangent(f->ctx, w, jw, q->dv, q->t, q->djv, q->n, q->k, NULL), FLOW_OK);
    for (i = 0; i < flow_mlp_cache(&q->net.mlp, BATCH); i++) q->net.cache[i] = 7;
    for (i = 0; i < q->net.params; i++) q->net.grad[i] = 0;
    TEST_ERR(f->backward(f->ctx, again, q->dv, q->djv, q->x, q->t, q->s, q->n, q->k, kept),
             FLOW_OK);
    TEST_NEAR_ALL(again, dx, q->n * 2, 0);
    TEST_NEAR_ALL(q->net.grad, grad, q->net.params, 0);
    kept[0] += 1; /* which nobody sees who computes it again */
    for (i = 0; i < q->net.params; i++) q->net.grad[i] = 0;
    TEST_ERR(f->backward(f->ctx, again, q->dv, q->djv, q->x, q->t, q->s, q->n, q->k, kept),
             FLOW_OK);
    TEST(memcmp(q->net.grad, grad, (size_t)q->net.params * sizeof *grad) != 0);
    test_free(kept);
}

/* Tangents beyond the eight that go through the network at once, or none; dv counted with each
 * eight; dx not set to zero; grad overwritten. */
static void test_net_backward(void) {
    static const int counts[6] = {0, 1, 7, 8, 9, MANY};
    flow_rng rng = test_rng(19);
    static pulled q;
    flow_real dx[BATCH * 2], *once;
    int i, k;
    q.n = BATCH - 1;
    TEST_ERR(flow_net_init(&q.net, 2, 0, 6, 2, FLOW_SILU, BATCH, &rng), FLOW_OK);
    q.field = flow_net_field(&q.net);
    TEST(q.field.grad == q.net.grad && q.field.params == q.net.params);
    once = flowi_new(q.net.params);
    for (k = 0; k < 6; k++) {
        q.k = counts[k];
        draw_points(20, q.x, q.t, BATCH, 2);
        flow_normal_sample(&rng, q.dv, BATCH, 2);
        flow_normal_sample(&rng, q.s, MANY * BATCH, 2);
        flow_normal_sample(&rng, q.djv, MANY * BATCH, 2);
        for (i = 0; i < q.net.params; i++) q.net.grad[i] = 0;
        dx[q.n * 2] = 7;
        TEST_ERR(run_pull(&q, dx), FLOW_OK);
        TEST(dx[q.n * 2] == 7);
        TEST(gradient_error(pulled_loss, &q, q.x, dx, q.n * 2, 99) < 50 * STEP * STEP);
        memcpy(once, q.net.grad, (size_t)q.net.params * sizeof *once);
        TEST(gradient_error(pulled_loss, &q, q.net.theta, once, q.net.params, 99) <
             50 * STEP * STEP);
        TEST_ERR(run_pull(&q, dx), FLOW_OK);
        for (i = 0; i < q.net.params; i++) q.net.grad[i] -= once[i];
        TEST_NEAR_ALL(q.net.grad, once, q.net.params, 1e4 * EPS);
        check_kept_pull(&q, dx, once);
    }
    q.n = BATCH;
    TEST_ERR(run_pull(&q, dx), FLOW_OK);
    q.n = BATCH + 1;
    TEST_ASSERT_TRIPS(run_pull(&q, dx));
    flow_release(once);
    flow_net_free(&q.net);
}

/* ---- maximum likelihood ---------------------------------------------------------------------- */

/* A flow whose velocity is a network, its data, and the state from which its probes are drawn. In
 * WIDE dimensions there are more exact tangents than go together. */
#define WIDE 11
static const int dimensions[3] = {1, 2, WIDE};
typedef struct {
    flow_net net;
    flow_cnf c;
    flow_rng rng, start;
    flow_real x[BATCH * WIDE];
    int n;
} model;

static void model_init(model *q, int d, int method, int steps, int kind, int gradient) {
    flow_rng rng = test_rng(21);
    flow_field f;
    int i;
    TEST_ERR(flow_net_init(&q->net, d, 0, 6, 1, FLOW_TANH, BATCH, &rng), FLOW_OK);
    f = flow_net_field(&q->net);
    flow_normal_sample(&rng, q->x, BATCH, d);
    q->rng = q->start = rng;
    q->n = BATCH - 1;
    if (kind == FLOW_EXACT)
        TEST_ERR(flow_cnf_init(&q->c, f, method, steps, BATCH), FLOW_OK);
    else
        TEST_ERR(flow_cnf_init_hutchinson(&q->c, f, method, steps, BATCH, kind, PROBES, &q->rng),
                 FLOW_OK);
    TEST_ERR(flow_cnf_train(&q->c, gradient), FLOW_OK);
    for (i = 0; i < q->net.params; i++) TEST(q->net.grad[i] == 0);
}

static void model_free(model *q) {
    flow_cnf_free(&q->c);
    flow_net_free(&q->net);
}

/* -(1/n) sum log p, always with the same probes. */
static double model_loss(void *ctx) {
    model *q = (model *)ctx;
    flow_real logp[BATCH];
    double sum = 0;
    int i;
    q->rng = q->start;
    TEST_ERR(flow_cnf_logprob(&q->c, logp, q->x, q->n), FLOW_OK);
    for (i = 0; i < q->n; i++) sum += (double)logp[i];
    return -sum / q->n;
}

/* Checks the loss against logprob, and its gradient against logprob's differences, to within tol;
 * that a second call adds the same once more; that a larger batch before them leaves nothing. */
static void check_likelihood(model *q, double tol) {
    flow_real loss = 0, *once = flowi_new(q->net.params);
    const size_t bytes = (size_t)q->net.params * sizeof *once;
    int i;
    TEST_ERR(flow_cnf_nll(&q->c, &loss, q->x, BATCH), FLOW_OK);
    for (i = 0; i < q->net.params; i++) q->net.grad[i] = 0;
    q->rng = q->start;
    TEST_ERR(flow_cnf_nll(&q->c, &loss, q->x, q->n), FLOW_OK);
    memcpy(once, q->net.grad, bytes);
    q->rng = q->start;
    TEST_ERR(flow_cnf_nll(&q->c, &loss, q->x, q->n), FLOW_OK);
    for (i = 0; i < q->net.params; i++) q->net.grad[i] -= once[i];
    TEST_NEAR_ALL(q->net.grad, once, q->net.params, 1e3 * EPS);
    TEST_NEAR(loss, model_loss(q), 1e3 * EPS);
    TEST(gradient_error(model_loss, q, q->net.theta, once, q->net.params, 999) < tol);
    flow_release(once);
}

/* Back through every step: exact, however coarse the steps, for every method and divergence. */
static void test_backprop(void) {
    int method, kind, k;
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (kind = FLOW_EXACT; kind <= FLOW_GAUSSIAN; kind++)
            for (k = 0; k < 3; k++) {
                model q;
                model_init(&q, dimensions[k], method, 3, kind, FLOW_BACKPROP);
                check_likelihood(&q, 100 * STEP * STEP);
                model_free(&q);
            }
}

/* Memory for more steps than are taken: the gradient is that of the steps taken. */
static void test_backprop_of_fewer_steps(void) {
    model q;
    model_init(&q, 2, FLOW_RK4, 7, FLOW_EXACT, FLOW_BACKPROP);
    q.c.steps = 2;
    check_likelihood(&q, 100 * STEP * STEP);
    q.c.steps = 7;
    check_likelihood(&q, 100 * STEP * STEP);
    model_free(&q);
}

/* A backward without tangents, whose differences use the same scratch. */
static void test_backprop_of_differences(void) {
    model q;
    model_init(&q, WIDE, FLOW_HEUN, 3, FLOW_EXACT, FLOW_BACKPROP);
    q.c.field.tangent = NULL;
    check_likelihood(&q, sizeof(flow_real) == sizeof(double) ? 1e-4 : 0.3);
    model_free(&q);
}

/* The gradient and, at `bits`, the loss and dL/dx of a network of its own; at first with another n
 * and more steps. Returns evaluations a step. */
static int gradient_of(int gradient, const int *shape, flow_real *grad, flow_real *bits) {
    const int d = shape[0], depth = shape[1], act = shape[2], kind = shape[4];
    flow_rng rng = test_rng(23), probes = test_rng(24);
    flow_real x[BATCH * WIDE];
    flow_net net;
    flow_cnf c;
    int i;
    TEST_ERR(flow_net_init(&net, d, 0, 5, depth, act, BATCH, &rng), FLOW_OK);
    flow_normal_sample(&rng, x, BATCH, d);
    if (kind == FLOW_EXACT)
        flow_cnf_init(&c, flow_net_field(&net), shape[3], 3, BATCH);
    else
        flow_cnf_init_hutchinson(&c, flow_net_field(&net), shape[3], 3, BATCH, kind, shape[5],
                                 &probes);
    TEST_ERR(flow_cnf_train(&c, gradient), FLOW_OK);
    TEST_ERR(flow_cnf_nll(&c, bits, x, BATCH), FLOW_OK);
    c.steps = 2;
    c.ode.evals = 0;
    TEST_ERR(flow_cnf_nll(&c, bits, x, BATCH - 1), FLOW_OK);
    memcpy(grad, net.grad, (size_t)net.params * sizeof *grad);
    for (i = 0; i < (BATCH - 1) * d; i++) bits[1 + i] = c.lambda[i];
    i = (int)c.ode.evals / 2;
    flow_cnf_free(&c);
    flow_net_free(&net);
    return i;
}

/* What is kept is not what is computed again, in any bit: methods, divergences, shapes, and more
 * probes than go through the network at once. Or it is not kept at all: then there are more
 * evaluations. */
static void test_checkpoints(void) {
    static const int dims[4] = {1, 2, 3, 9};
    enum { MOST_PARAMS = (WIDE + 2) * 5 + 2 * 6 * 5 + 6 * WIDE };
    int i, probes = 1;
    for (i = 0; i < 4 * 4 * FLOW_ACT_COUNT * FLOW_ODE_COUNT * 3; i++) {
        const int shape[6] = {dims[i % 4], i / 4 % 4, i / 16 % FLOW_ACT_COUNT,
                              i / (16 * FLOW_ACT_COUNT) % FLOW_ODE_COUNT,
                              i / (16 * FLOW_ACT_COUNT * FLOW_ODE_COUNT), probes};
        flow_real grad[2][MOST_PARAMS] = {{0}}, bits[2][1 + BATCH * WIDE] = {{0}};
        const int stages = flow_ode_tableau(shape[3])->stages;
        TEST_EQ_INT(gradient_of(FLOW_BACKPROP, shape, grad[0], bits[0]), stages);
        TEST_EQ_INT(gradient_of(FLOW_CHECKPOINT, shape, grad[1], bits[1]), 2 * stages - 1);
        TEST(memcmp(grad[0], grad[1], sizeof grad[0]) == 0);
        TEST(memcmp(bits[0], bits[1], sizeof bits[0]) == 0);
        probes = probes % MANY + 3;
    }
}

static int still_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    int i;
    (void)ctx, (void)x, (void)t;
    for (i = 0; i < 2 * n; i++) v[i] = 0;
    return FLOW_OK;
}

/* A field that stands still, leaves `keeps` reals a sample that tell the evaluation, and looks
 * whether all of them come back, the last evaluation's first. */
typedef struct {
    int keeps, calls, back, wanted;
} notebook;

static int notebook_keeps(void *ctx, int k) {
    const notebook *w = (const notebook *)ctx;
    return w->keeps + k;
}

static int notebook_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                            const flow_real *t, const flow_real *s, int n, int k, flow_real *kept) {
    notebook *w = (notebook *)ctx;
    const int count = n * (w->keeps + k);
    int i;
    (void)s;
    TEST_EQ_INT(kept != NULL, w->wanted);
    for (i = 0; i < k * 2 * n; i++) jv[i] = 0;
    for (i = 0; kept && i < count; i++) kept[i] = (flow_real)(1000 * w->calls + i);
    w->calls++;
    return still_velocity(ctx, v, x, t, n);
}

static int notebook_backward(void *ctx, flow_real *dx, const flow_real *dv, const flow_real *djv,
                             const flow_real *x, const flow_real *t, const flow_real *s, int n,
                             int k, flow_real *kept) {
    notebook *w = (notebook *)ctx;
    const int count = n * (w->keeps + k);
    int i;
    (void)djv, (void)x, (void)t, (void)s;
    w->back++;
    TEST_EQ_INT(kept != NULL, w->wanted);
    for (i = 0; kept && i < count; i++)
        TEST(kept[i] == (flow_real)(1000 * (w->calls - w->back) + i));
    for (i = 0; i < 2 * n; i++) dx[i] = dv[i];
    return FLOW_OK;
}

/* An evaluation's notes that overlap another's, or are handed to it; kept without being asked for:
 * with checkpoints or the adjoint, in a solve for log p, or by a field that keeps nothing. */
static void test_what_is_kept(void) {
    int gradient, asked, n;
    for (gradient = FLOW_BACKPROP; gradient <= FLOW_ADJOINT; gradient++)
        for (asked = 0; asked < 2; asked++) {
            flow_real x[6] = {1, 2, 3, 4, 5, 6}, logp[3], grad[1] = {0}, loss = 0;
            flow_field f = flow_field_of(2, still_velocity, NULL);
            notebook w;
            flow_cnf c;
            w.keeps = 5, w.wanted = asked && gradient == FLOW_BACKPROP;
            f.ctx = &w, f.grad = grad, f.params = 1;
            f.tangent = notebook_tangent, f.backward = notebook_backward;
            if (asked) f.keeps = notebook_keeps;
            TEST_ERR(flow_cnf_init(&c, f, FLOW_RK4, 3, 3), FLOW_OK);
            TEST_ERR(flow_cnf_train(&c, gradient), FLOW_OK);
            for (n = 3; n > 0; n--) {
                w.calls = w.back = 0;
                TEST_ERR(flow_cnf_nll(&c, &loss, x, n), FLOW_OK);
                TEST_EQ_INT(w.back, 12);
            }
            w.wanted = 0;
            TEST_ERR(flow_cnf_logprob(&c, logp, x, 3), FLOW_OK);
            flow_cnf_free(&c);
        }
}

/* The adjoint equation with a wrong sign or a term left out: exact as far as the steps are. */
static void test_adjoint(void) {
    int kind, k, adaptive;
    for (kind = FLOW_EXACT; kind <= FLOW_GAUSSIAN; kind++)
        for (k = 0; k < 3; k++)
            for (adaptive = 0; adaptive < 2; adaptive++) {
                model q;
                model_init(&q, dimensions[k], adaptive ? FLOW_DOPRI5 : FLOW_RK4, 20, kind,
                           FLOW_ADJOINT);
                if (adaptive) q.c.tol = EPS < 1e-10 ? FLOWI_R(1e-9) : FLOWI_R(1e-5);
                check_likelihood(&q, 1e-6 + 100 * STEP * STEP);
                model_free(&q);
            }
}

/* Steps of the way back that are not the tolerance's: with one, c.steps has no say. */
static void test_adjoint_follows_the_tolerance(void) {
    flow_real *kept = NULL, loss[2] = {0};
    model q;
    int k, i;
    for (k = 0; k < 2; k++) {
        model_init(&q, 2, FLOW_DOPRI5, k ? 50 : 1, FLOW_EXACT, FLOW_ADJOINT);
        for (i = 0; i < q.net.params; i++) q.net.theta[i] *= 3;
        q.c.tol = EPS < 1e-10 ? FLOWI_R(1e-8) : FLOWI_R(1e-4);
        TEST_ERR(flow_cnf_nll(&q.c, &loss[k], q.x, BATCH), FLOW_OK);
        if (!kept) kept = flowi_new(q.net.params);
        if (k == 0) memcpy(kept, q.net.grad, (size_t)q.net.params * sizeof *kept);
        TEST_NEAR_ALL(q.net.grad, kept, q.net.params, 0);
        model_free(&q);
    }
    TEST_NEAR(loss[0], loss[1], 0);
    flow_release(kept);
}

/* Bytes that training takes for a network of width 6; what the object says must be what it took. */
static size_t training_memory(int gradient, int steps) {
    model q;
    size_t taken;
    long before;
    model_init(&q, 2, FLOW_RK4, steps, FLOW_EXACT, gradient);
    flow_cnf_free(&q.c);
    before = test_state.bytes;
    TEST_ERR(flow_cnf_init(&q.c, flow_net_field(&q.net), FLOW_RK4, steps, BATCH), FLOW_OK);
    TEST_EQ_INT(q.c.bytes, test_state.bytes - before);
    before = test_state.bytes;
    TEST_ERR(flow_cnf_train(&q.c, gradient), FLOW_OK);
    taken = q.c.training_bytes;
    TEST_EQ_INT(taken, test_state.bytes - before);
    TEST_ASSERT_TRIPS(flow_cnf_train(&q.c, gradient)); /* again */
    model_free(&q);
    return taken;
}

/* Memory that is not what the header promises: a step keeps evaluations with what a hidden layer of
 * width 6 leaves of 2 tangents, states, or nothing. */
static void test_training_memory(void) {
    size_t few[3], many[3];
    int k;
    for (k = 0; k < 3; k++) {
        few[k] = training_memory(FLOW_BACKPROP + k, 20);
        many[k] = training_memory(FLOW_BACKPROP + k, 40);
    }
    TEST_EQ_INT(many[0] - few[0], 20 * 4 * BATCH * (3 + 4 * 6) * sizeof(flow_real));
    TEST_EQ_INT(many[1] - few[1], 20 * BATCH * 3 * sizeof(flow_real));
    TEST_EQ_INT(many[2], few[2]);
}

/* An object that training cannot be had for is given back, so that a failure leaves nothing. */
static int train_or_free(flow_cnf *c, int gradient) {
    const int err = flow_cnf_train(c, gradient);
    if (err < 0) flow_cnf_free(c);
    return err;
}

/* Memory that is kept though there is not enough of it; a flow that a failure spoils. */
static void test_training_memory_fails(void) {
    int gradient, k;
    for (gradient = FLOW_BACKPROP; gradient <= FLOW_ADJOINT; gradient++) {
        flow_real loss = 0;
        model q;
        long live;
        model_init(&q, 2, FLOW_RK4, 2, FLOW_EXACT, gradient);
        flow_cnf_free(&q.c);
        TEST_ERR(flow_cnf_init(&q.c, flow_net_field(&q.net), FLOW_RK4, 2, BATCH), FLOW_OK);
        live = test_state.live;
        for (k = 1; k <= (gradient == FLOW_ADJOINT ? 2 : 1); k++) {
            test_alloc_fail_at(k);
            TEST_ERR(flow_cnf_train(&q.c, gradient), FLOW_E_MEMORY);
            TEST_EQ_INT(test_state.live, live);
        }
        test_alloc_fail_at(0);
        TEST_ERR(flow_cnf_train(&q.c, gradient), FLOW_OK);
        TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, q.n), FLOW_OK);
        model_free(&q);
    }
}

/* Counts that an int cannot hold. */
static void test_too_large(void) {
    flow_rng rng = test_rng(64);
    flow_field f;
    flow_net net;
    flow_cnf c;
    TEST_ERR(flow_net_init(&net, 1, 0, 1, 1, FLOW_TANH, 1, &rng), FLOW_OK);
    f = flow_net_field(&net);
    TEST_ERR(flow_cnf_init(&c, f, FLOW_EULER, 1, 1 << 30), FLOW_E_MEMORY);
    TEST_ERR(flow_cnf_init_hutchinson(&c, f, FLOW_EULER, 1, 1 << 14, FLOW_GAUSSIAN, 1 << 16, &rng),
             FLOW_E_MEMORY);
    f.params = INT_MAX - 1;
    TEST_ERR(flow_cnf_init(&c, f, FLOW_EULER, 1, 1), FLOW_OK);
    TEST_ERR(flow_cnf_train(&c, FLOW_ADJOINT), FLOW_E_MEMORY);
    flow_cnf_free(&c);
    flow_net_free(&net);
}

/* A leak; no steps, no probes, no data; data or parameters that are not finite. */
static void test_training_errors(void) {
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_real loss = 0;
    int gradient;
    for (gradient = FLOW_BACKPROP; gradient <= FLOW_ADJOINT; gradient++) {
        model q;
        model_init(&q, 2, FLOW_RK4, 2, FLOW_EXACT, gradient);
        TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, 0), FLOW_E_EMPTY);
        TEST_ASSERT_TRIPS(flow_cnf_nll(&q.c, &loss, q.x, BATCH + 1));
        q.c.steps = 0;
        TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, 1), FLOW_E_EMPTY);
        q.c.steps = 3;
        if (gradient != FLOW_ADJOINT) TEST_ASSERT_TRIPS(flow_cnf_nll(&q.c, &loss, q.x, 1));
        else TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, 0), FLOW_E_EMPTY);
        q.c.steps = 2;
        q.x[1] = nan;
        TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, 2), FLOW_E_FINITE);
        q.x[1] = EPS < 1e-10 ? FLOWI_R(1e200) : FLOWI_R(1e30); /* its square is infinite */
        TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, 2), FLOW_E_FINITE);
        q.x[1] = 0;
        TEST(q.net.grad[0] == 0);
        q.net.theta[0] = nan;
        TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, 2), FLOW_E_FINITE);
        q.net.theta[0] = 0;
        flow_cnf_free(&q.c);
        TEST_EVERY_ALLOC((flow_cnf_init(&q.c, flow_net_field(&q.net), FLOW_RK4, 2, BATCH)
                              ? FLOW_E_MEMORY
                              : train_or_free(&q.c, gradient)),
                         flow_cnf_free(&q.c));
        TEST_ERR(flow_cnf_init(&q.c, flow_net_field(&q.net), FLOW_RK4, 0, BATCH), FLOW_OK);
        TEST_ERR(flow_cnf_train(&q.c, gradient), FLOW_E_EMPTY);
        TEST_ASSERT_TRIPS(flow_cnf_nll(&q.c, &loss, q.x, 2)); /* not trained for */
        q.c.steps = 1;
        TEST_ERR(flow_cnf_train(&q.c, gradient), FLOW_OK);
        TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, 2), FLOW_OK);
        flow_cnf_free(&q.c);
        TEST_ERR(flow_cnf_init(&q.c, flow_net_field(&q.net), FLOW_RK4, 1, BATCH), FLOW_OK);
        TEST_ASSERT_TRIPS(flow_cnf_train(&q.c, 0));
        TEST_ASSERT_TRIPS(flow_cnf_train(&q.c, FLOW_ADJOINT + 1));
        model_free(&q);
    }
}

/* A gradient that the adjoint leaves half summed when its solver gives up. */
static void test_adjoint_gives_up(void) {
    flow_real loss = 0;
    model q;
    int i;
    model_init(&q, 2, FLOW_DOPRI5, 2, FLOW_EXACT, FLOW_ADJOINT);
    q.c.tol = FLOWI_R(1e-4);
    for (i = 0; i < q.net.params; i++) q.net.grad[i] = (flow_real)i;
    q.c.reverse.most = 2;
    TEST_ERR(flow_cnf_nll(&q.c, &loss, q.x, q.n), FLOW_E_CONVERGE);
    for (i = 0; i < q.net.params; i++) TEST(q.net.grad[i] == (flow_real)i);
    model_free(&q);
}

/* A velocity of 1 and a backward pass that fails at its bad_call-th call. */
static int trap_backward(void *ctx, flow_real *dx, const flow_real *dv, const flow_real *djv,
                         const flow_real *x, const flow_real *t, const flow_real *s, int n, int k,
                         flow_real *kept) {
    trap *w = (trap *)ctx;
    int i;
    (void)djv, (void)x, (void)t, (void)s, (void)k, (void)kept;
    for (i = 0; i < 2 * n; i++) dx[i] = dv[i];
    return ++w->calls == w->bad_call ? -99 : FLOW_OK;
}

/* An error of the backward pass, or of the velocity on either way, that is swallowed: 2 Heun steps
 * take 4 calls of the one; the other is called 5 times an evaluation on the way to noise, and again
 * on the way back with checkpoints or the adjoint, which must leave the gradient as it was. */
static void test_backward_errors(void) {
    int gradient, bad;
    for (gradient = FLOW_BACKPROP; gradient <= FLOW_ADJOINT; gradient++)
        for (bad = 1; bad <= 4; bad++) {
            flow_real x[4] = {1, 2, 3, 4}, grad[1] = {7}, loss = 0;
            flow_field f = flow_field_of(2, still_velocity, NULL);
            trap w;
            flow_cnf c;
            w.calls = 0, w.bad_call = bad, w.bad_code = -99;
            f.ctx = &w, f.backward = trap_backward, f.grad = grad, f.params = 1;
            TEST_ERR(flow_cnf_init(&c, f, FLOW_HEUN, 2, 2), FLOW_OK);
            TEST_ERR(flow_cnf_train(&c, gradient), FLOW_OK);
            TEST_ERR(flow_cnf_nll(&c, &loss, x, 2), -99);
            TEST(grad[0] == 7);
            c.field.velocity = trap_velocity;
            w.calls = 0, w.bad_call = 18 + bad;
            TEST_ERR(flow_cnf_nll(&c, &loss, x, 2), -99);
            w.calls = 0, w.bad_call = bad;
            TEST_ERR(flow_cnf_nll(&c, &loss, x, 2), -99);
            w.bad_call = 0; /* the path begins anew, however far the last one came */
            TEST_ERR(flow_cnf_nll(&c, &loss, x, 2), FLOW_OK);
            TEST_EQ_INT(c.taken, 0);
            flow_cnf_free(&c);
        }
}

static int wide_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n) {
    (void)ctx, (void)x, (void)t;
    memset(v, 0, (size_t)(n * WIDE) * sizeof *v);
    return FLOW_OK;
}

static int wide_backward(void *ctx, flow_real *dx, const flow_real *dv, const flow_real *djv,
                         const flow_real *x, const flow_real *t, const flow_real *s, int n, int k,
                         flow_real *kept) {
    (void)dv, (void)djv, (void)x, (void)t, (void)s, (void)k, (void)kept;
    memset(dx, 0, (size_t)(n * WIDE) * sizeof *dx);
    return (*(int *)ctx)++ == 0 ? -99 : FLOW_OK;
}

/* An error of the first eight tangents that the success of the rest covers up. */
static void test_backward_error_of_some_tangents(void) {
    flow_field f = flow_field_of(WIDE, wide_velocity, NULL);
    flow_real x[WIDE] = {0}, loss = 0;
    int gradient, calls;
    f.backward = wide_backward, f.ctx = &calls;
    for (gradient = FLOW_BACKPROP; gradient <= FLOW_ADJOINT; gradient++) {
        flow_cnf c;
        calls = 0;
        TEST_ERR(flow_cnf_init(&c, f, FLOW_EULER, 1, 1), FLOW_OK);
        TEST_ERR(flow_cnf_train(&c, gradient), FLOW_OK);
        TEST_ERR(flow_cnf_nll(&c, &loss, x, 1), -99);
        TEST_EQ_INT(calls, 1);
        flow_cnf_free(&c);
    }
}

int main(void) {
    test_section("divergence");
    test_divergence();
    test_section("transport");
    test_transport_closed_form();
    test_trace();
    test_there_and_back();
    test_batches();
    test_section("densities and samples");
    test_density_integrates_to_one();
    test_exact_density();
    test_sample();
    test_section("errors and memory");
    test_field_errors();
    test_other_errors();
    test_memory();
    test_memory_of_many_dimensions();
    test_section("the field of a network");
    test_net_field();
    test_section("Hutchinson");
    test_hutchinson_divergence();
    test_probes();
    test_probes_last_a_solve();
    test_probes_of_every_batch();
    test_hutchinson_init();
    test_section("adaptive steps");
    test_adaptive_transport();
    test_section("gradients");
    test_net_backward();
    test_backprop();
    test_backprop_of_fewer_steps();
    test_backprop_of_differences();
    test_checkpoints();
    test_what_is_kept();
    test_adjoint();
    test_adjoint_follows_the_tolerance();
    test_training_memory();
    test_training_memory_fails();
    test_training_errors();
    test_adjoint_gives_up();
    test_too_large();
    test_backward_errors();
    test_backward_error_of_some_tangents();
    return test_done();
}
