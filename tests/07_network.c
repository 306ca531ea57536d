/* 07_network.c - tests of section 7 of flow.h: activations, the MLP's four passes, flow_net.
 *
 * The reference is a naive twin of the network in double, which carries each value together with
 * its derivative along one tangent. Gradients are compared with the twin's central differences. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define MOST 64 /* the widest layer here */

/* ---- activations ----------------------------------------------------------------------------- */

/* phi, phi', phi'' of z by libm, each in a form that loses no digits in the tails. */
static void twin_activation(int act, double z, double *phi) {
    const double l = 1.0507009873554805, m = 1.6732632423543772;
    const double s = 1 / (1 + exp(-z)), r = 1 / (1 + exp(z)); /* sigmoid z, 1 - sigmoid z */
    int j;
    phi[0] = phi[1] = phi[2] = 0;
    if (act == FLOW_TANH) {
        phi[0] = tanh(z);
        phi[1] = 1 / (cosh(z) * cosh(z));
        phi[2] = -2 * phi[0] * phi[1];
    } else if (act == FLOW_SILU || act == FLOW_LIPSWISH) {
        phi[0] = z * s;
        phi[1] = s + z * s * r;
        phi[2] = 2 * s * r + z * s * r * (r - s);
        for (j = 0; j < 3 && act == FLOW_LIPSWISH; j++) phi[j] /= 1.1;
    } else if (act == FLOW_SELU) {
        phi[0] = z > 0 ? l * z : l * m * expm1(z);
        phi[1] = z > 0 ? l : l * m * exp(z);
        phi[2] = z > 0 ? 0 : l * m * exp(z);
    } else if (act == FLOW_SOFTPLUS) {
        phi[0] = z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
        phi[1] = s;
        phi[2] = s * r;
    } else if (z > 0) {
        phi[0] = z;
        phi[1] = 1;
    }
}

/* A wrong formula, sign or constant, and digits lost near 0 or in a tail. */
static void test_activation_formulas(void) {
    int act, i, j;
    for (act = 0; act < FLOW_ACT_COUNT; act++)
        for (i = -200; i <= 200; i++) {
            const flow_real z = (flow_real)(i % 2 ? i * 0.4 : i * 1e-6);
            flow_real got[3];
            double want[3];
            flow_activation(act, &got[0], &got[1], &got[2], &z, 1);
            twin_activation(act, (double)z, want);
            TEST_NEAR(got[0], want[0], 8 * EPS * fabs(want[0]));
            for (j = 1; j < 3; j++) TEST_NEAR(got[j], want[j], 8 * EPS * (1 + fabs((double)z)));
        }
}

/* A derivative that is not the slope of what stands above it. */
static void test_activation_slopes(void) {
    int act, i, j;
    for (act = 0; act < FLOW_ACT_COUNT; act++)
        for (i = -50; i < 50; i++) {
            const flow_real z = (flow_real)(i + 0.5) / 8; /* 0, the kink, is not among them */
            const double h = 1e-5;
            double up[3], down[3];
            flow_real got[3];
            flow_activation(act, &got[0], &got[1], &got[2], &z, 1);
            twin_activation(act, (double)z + h, up);
            twin_activation(act, (double)z - h, down);
            for (j = 0; j < 2; j++)
                TEST_NEAR(got[j + 1], (up[j] - down[j]) / (2 * h), 1e-8 + 8 * EPS);
        }
}

/* An overflow far out, a derivative at the kink, a NaN that is swallowed. */
static void test_activation_special_values(void) {
    const flow_real far[4] = {FLOWI_R(1e3), FLOWI_R(-1e3), FLOWI_R(1e30), FLOWI_R(-1e30)};
    const flow_real zero = 0, nan = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_real a[4], da[4], dda[4];
    int act, i;
    for (act = 0; act < FLOW_ACT_COUNT; act++) {
        flow_activation(act, a, da, dda, far, 4);
        for (i = 0; i < 4; i++) {
            double want[3];
            twin_activation(act, (double)far[i], want);
            TEST_NEAR(a[i], want[0], 8 * EPS * fabs(want[0]));
            TEST_NEAR(da[i], want[1], 8 * EPS);
            TEST_NEAR(dda[i], 0, 8 * EPS);
        }
        flow_activation(act, a, NULL, NULL, &nan, 1);
        TEST(a[0] != a[0]);
    }
    flow_activation(FLOW_RELU, a, da, dda, &zero, 1);
    TEST(a[0] == 0 && da[0] == 0 && dda[0] == 0);
    flow_activation(FLOW_SELU, a, da, dda, &zero, 1);
    TEST_NEAR(da[0], 1.7580993408473766, 8 * EPS); /* from the left */
    TEST_NEAR(dda[0], 1.7580993408473766, 8 * EPS);
}

/* A remainder of a block that is skipped or written past, an output that must not be NULL or is
 * made of another one's place, a result that differs when it overwrites z. */
static void check_blocks(int act, flow_real *z, int n) {
    flow_real a[201], da[201], dda[201], one[3], da_in_place[201], dda_in_place[201];
    int i;
    a[n] = da[n] = dda[n] = -7;
    flow_activation(act, a, NULL, NULL, z, n);
    flow_activation(act, NULL, da, NULL, z, n);
    flow_activation(act, NULL, NULL, dda, z, n);
    TEST(a[n] < -6 && da[n] < -6 && dda[n] < -6);
    for (i = 0; i < n; i++) {
        flow_activation(act, &one[0], &one[1], &one[2], &z[i], 1);
        TEST(a[i] == one[0] && da[i] == one[1] && dda[i] == one[2]);
    }
    flow_activation(act, z, da_in_place, dda_in_place, z, n);
    TEST_NEAR_ALL(z, a, n, 0);
    TEST_NEAR_ALL(da_in_place, da, n, 0);
    TEST_NEAR_ALL(dda_in_place, dda, n, 0);
}

static void test_activation_blocks(void) {
    static const int lengths[] = {0, 1, 31, 63, 64, 65, 100, 127, 128, 129, 200};
    flow_real z[201];
    flow_rng rng = test_rng(1);
    int act, k;
    for (act = 0; act < FLOW_ACT_COUNT; act++)
        for (k = 0; k < 11; k++) {
            flow_normal_sample(&rng, z, 201, 1);
            check_blocks(act, z, lengths[k]);
        }
}

/* ---- the twin of the MLP --------------------------------------------------------------------- */

static double twin_least; /* the smallest |z| that a hidden unit has met: how near is a kink? */

/* One row: values a and their derivatives at along the tangent s, layer by layer. */
static void twin_row(const flow_mlp *m, const double *theta, double *y, double *jy, const double *x,
                     const double *s) {
    double a[MOST], at[MOST], phi[3];
    int i, j, l, in = m->in;
    for (l = 0; l <= m->depth; l++) {
        const int out = l < m->depth ? m->width : m->out;
        const double *from = l ? a : x, *from_t = l ? at : s, *bias = theta + in * out;
        for (i = 0; i < out; i++) {
            for (y[i] = bias[i], jy[i] = 0, j = 0; j < in; j++) {
                y[i] += theta[i * in + j] * from[j];
                jy[i] += theta[i * in + j] * from_t[j];
            }
        }
        for (i = 0; i < out && l < m->depth; i++) {
            twin_activation(m->act, y[i], phi);
            twin_least = fmin(twin_least, fabs(y[i]));
            a[i] = phi[0];
            at[i] = phi[1] * jy[i];
        }
        theta = bias + out;
        in = out;
    }
}

/* A network with everything that its passes take, drawn at random. */
typedef struct {
    flow_mlp mlp;
    int n, k, params;
    flow_real *theta, *x, *s, *dy, *djy, *cache;
    double *twin_theta, *twin_x, *twin_s;
} network;

static flow_real *new_reals(int count) {
    return (flow_real *)test_malloc((size_t)count * sizeof(flow_real));
}

static flow_real *draw(flow_rng *rng, int count, double scale) {
    flow_real *x = new_reals(count);
    int i;
    for (i = 0; i < count; i++) x[i] = (flow_real)(scale * (double)flow_rng_normal(rng));
    return x;
}

static double *in_double(const flow_real *x, int count) {
    double *y = (double *)test_malloc((size_t)count * sizeof(double));
    int i;
    for (i = 0; i < count; i++) y[i] = (double)x[i];
    return y;
}

static void network_draw(network *w, flow_rng *rng) {
    const flow_mlp *m = &w->mlp;
    w->params = flow_mlp_params(m);
    w->theta = draw(rng, w->params, 1 / sqrt(m->in > m->width ? m->in : m->width));
    w->x = draw(rng, w->n * m->in, 1);
    w->s = draw(rng, w->k * w->n * m->in, 1);
    w->dy = draw(rng, w->n * m->out, 1);
    w->djy = draw(rng, w->k * w->n * m->out, 1);
    w->cache = new_reals(flow_mlp_cache(m, w->n));
    w->twin_theta = in_double(w->theta, w->params);
    w->twin_x = in_double(w->x, w->n * m->in);
    w->twin_s = in_double(w->s, w->k * w->n * m->in);
}

static void network_free(network *w) {
    test_free(w->theta);
    test_free(w->x);
    test_free(w->s);
    test_free(w->dy);
    test_free(w->djy);
    test_free(w->cache);
    test_free(w->twin_theta);
    test_free(w->twin_x);
    test_free(w->twin_s);
}

/* Row i: y, and along tangent j its derivative; j = -1: no tangent. */
static void twin_forward(const network *w, double *y, double *jy, int i, int j) {
    static const double none[MOST] = {0};
    const int in = w->mlp.in;
    const double *s = j < 0 ? none : w->twin_s + (j * w->n + i) * in;
    twin_row(&w->mlp, w->twin_theta, y, jy, w->twin_x + i * in, s);
}

/* sum dy y + sum djy jy, the second over the first k tangents */
static double twin_loss(const network *w, int k) {
    const int out = w->mlp.out;
    double y[MOST], jy[MOST], loss = 0;
    int i, j, l;
    for (i = 0; i < w->n; i++)
        for (j = -1; j < k; j++) {
            twin_forward(w, y, jy, i, j);
            for (l = 0; l < out && j < 0; l++) loss += (double)w->dy[i * out + l] * y[l];
            for (l = 0; l < out && j >= 0; l++)
                loss += (double)w->djy[(j * w->n + i) * out + l] * jy[l];
        }
    return loss;
}

/* got[count] against the central differences of twin_loss in p[count], 60 or so of the long
 * ones. */
static void check_slopes(const network *w, int k, double *p, const flow_real *got, int count) {
    const double h = 1e-5;
    double most = 1;
    int i;
    for (i = 0; i < count; i++) most = fmax(most, fabs((double)got[i]));
    for (i = count - 1; i >= 0; i -= count < 160 ? 1 : count / 60) {
        const double kept = p[i];
        double up, down;
        p[i] = kept + h;
        up = twin_loss(w, k);
        p[i] = kept - h;
        down = twin_loss(w, k);
        p[i] = kept;
        TEST_NEAR(got[i], (up - down) / (2 * h), (1e-7 + 100 * EPS) * most);
    }
}

/* The test for every activation and many shapes. Where a hidden unit is within reach of a kink's
 * neighbourhood the network is drawn again: no difference quotient is to be had there. */
static void for_every_network(void (*test)(network *)) {
    static const int shapes[][6] = {/* in, width, depth, out, n, k */
                                    {1, 1, 0, 1, 1, 1}, {3, 7, 0, 2, 5, 2},  {1, 1, 1, 1, 5, 1},
                                    {3, 7, 1, 2, 5, 3}, {2, 1, 3, 3, 5, 2},  {3, 7, 3, 2, 5, 3},
                                    {7, 3, 2, 5, 4, 1}, {4, 64, 3, 2, 1, 2}, {2, 64, 1, 3, 33, 1},
                                    {2, 43, 1, 2, 3, 1}}; /* whole blocks and one */
    flow_rng rng = test_rng(2);
    double y[MOST], jy[MOST];
    int act, i;
    for (act = 0; act < FLOW_ACT_COUNT; act++)
        for (i = 0; i < (int)(sizeof shapes / sizeof shapes[0]); i++) {
            const int *shape = shapes[i];
            network w;
            int row;
            w.mlp.in = shape[0];
            w.mlp.width = shape[1];
            w.mlp.depth = shape[2];
            w.mlp.out = shape[3];
            w.mlp.act = act;
            w.n = shape[4];
            w.k = shape[5];
            for (twin_least = 0; twin_least < 1e-4;) {
                network_draw(&w, &rng);
                twin_least = 1;
                for (row = 0; row < w.n; row++) twin_forward(&w, y, jy, row, -1);
                if (twin_least < 1e-4) network_free(&w);
            }
            test(&w);
            network_free(&w);
        }
}

/* ---- the four passes ------------------------------------------------------------------------- */

static void run_forward(network *w) {
    flow_real *y = new_reals(w->n * w->mlp.out);
    flow_mlp_forward(&w->mlp, w->theta, y, w->x, w->n, w->cache);
    test_free(y);
}

/* A bias forgotten, weights transposed, an activation too many or too few, layers mixed up. */
static void test_forward(network *w) {
    const int out = w->mlp.out;
    flow_real *y = new_reals(w->n * out);
    double want[MOST], jy[MOST];
    int i;
    flow_mlp_forward(&w->mlp, w->theta, y, w->x, w->n, w->cache);
    for (i = 0; i < w->n; i++) {
        twin_forward(w, want, jy, i, -1);
        TEST_NEAR_ALL(y + i * out, want, out, 100 * EPS);
    }
    test_free(y);
}

/* A bias in the tangent, a forgotten phi', a tangent of another sample. */
static void test_tangent(network *w) {
    const int out = w->mlp.out;
    flow_real *jy = new_reals(w->k * w->n * out);
    double y[MOST], want[MOST];
    int i, j;
    run_forward(w);
    flow_mlp_tangent(&w->mlp, w->theta, jy, w->s, w->n, w->k, w->cache);
    for (j = 0; j < w->k; j++)
        for (i = 0; i < w->n; i++) {
            twin_forward(w, y, want, i, j);
            TEST_NEAR_ALL(jy + (j * w->n + i) * out, want, out, 100 * EPS);
        }
    test_free(jy);
}

/* Runs backward (k = 0) or tangent_backward, whichever of dtheta and dx is not NULL. */
static void run_backward(network *w, flow_real *dtheta, flow_real *dx, int k) {
    if (k == 0)
        flow_mlp_backward(&w->mlp, w->theta, dtheta, dx, w->dy, w->x, w->n, w->cache);
    else
        flow_mlp_tangent_backward(&w->mlp, w->theta, dtheta, dx, w->dy, w->djy, w->x, w->s, w->n, k,
                                  w->cache);
}

static void check_backward(network *w, int k) {
    flow_real *dtheta = flowi_new(w->params), *dx = new_reals(w->n * w->mlp.in);
    run_forward(w);
    run_backward(w, dtheta, dx, k);
    check_slopes(w, k, w->twin_theta, dtheta, w->params);
    check_slopes(w, k, w->twin_x, dx, w->n * w->mlp.in);
    flow_release(dtheta);
    test_free(dx);
}

/* A lost factor phi', a gradient of the wrong layer or sign, a transposed weight. */
static void test_backward(network *w) {
    check_backward(w, 0);
}

/* The path through phi'' forgotten, or one of k tangents. */
static void test_tangent_backward(network *w) {
    check_backward(w, w->k);
}

/* dtheta overwritten instead of added to, dx added to instead of written, what a first pass has
 * left in the cache counted again by a second, a NULL that changes the other result. */
static void test_accumulation(network *w) {
    const int rows = w->n * w->mlp.in;
    int i, k;
    for (k = 0; k <= w->k; k += w->k) {
        flow_real *once = flowi_new(w->params), *sum = flowi_new(w->params);
        flow_real *dx = new_reals(rows), *again = new_reals(rows);
        run_forward(w);
        run_backward(w, once, dx, k);
        run_backward(w, sum, NULL, w->k); /* one of the other kind in between */
        run_backward(w, NULL, again, k);
        for (i = 0; i < w->params; i++) sum[i] = 0;
        run_backward(w, sum, NULL, k);
        TEST_NEAR_ALL(again, dx, rows, 0);
        TEST_NEAR_ALL(sum, once, w->params, 0);
        run_backward(w, sum, again, k);
        TEST_NEAR_ALL(again, dx, rows, 0);
        for (i = 0; i < w->params; i++) once[i] *= 2;
        TEST_NEAR_ALL(sum, once, w->params, 1e3 * EPS);
        flow_release(once);
        flow_release(sum);
        test_free(dx);
        test_free(again);
    }
}

/* A sample whose result depends on how many others come with it; no samples at all. */
static void test_rows_alone(network *w) {
    const int in = w->mlp.in, out = w->mlp.out;
    flow_real *y = new_reals(w->n * out), alone[MOST];
    int i;
    flow_mlp_forward(&w->mlp, w->theta, y, w->x, w->n, w->cache);
    for (i = 0; i < w->n; i++) {
        flow_mlp_forward(&w->mlp, w->theta, alone, w->x + i * in, 1, w->cache);
        TEST_NEAR_ALL(alone, y + i * out, out, 0);
    }
    w->n = 0;
    flow_mlp_forward(&w->mlp, w->theta, NULL, w->x, 0, w->cache);
    run_backward(w, NULL, NULL, 0);
    run_backward(w, NULL, NULL, w->k);
    test_free(y);
}

/* A NaN that a network hides. */
static void test_nan_comes_out(network *w) {
    flow_real *y = new_reals(w->n * w->mlp.out);
    int i;
    for (i = 0; i < w->mlp.in; i++) w->x[i] = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_mlp_forward(&w->mlp, w->theta, y, w->x, w->n, w->cache);
    for (i = 0; i < w->mlp.out; i++) TEST(y[i] != y[i]);
    for (i = w->mlp.out; i < w->n * w->mlp.out; i++) TEST(y[i] == y[i]);
    test_free(y);
}

/* A parameter too many or too few; less cache than the header says. */
static void test_lengths(void) {
    static const flow_mlp m = {3, 7, 4, 2, FLOW_TANH}, linear = {3, 7, 0, 2, FLOW_TANH};
    static const flow_mlp wide = {3, 65536, 4, 2, FLOW_TANH}, far = {65536, 7, 0, 65536, FLOW_TANH};
    TEST_EQ_INT(flow_mlp_params(&m), (3 + 1) * 7 + 3 * (7 + 1) * 7 + (7 + 1) * 2);
    TEST_EQ_INT(flow_mlp_params(&linear), (3 + 1) * 2);
    TEST_EQ_INT(flow_mlp_cache(&m, 5), (7 * 4 + 2) * 5 * 7);
    TEST_EQ_INT(flow_mlp_cache(&linear, 5), 2 * 5 * 7);
    TEST_EQ_INT(flow_mlp_params(&wide), INT_MAX); /* more than an int counts */
    TEST_EQ_INT(flow_mlp_params(&far), INT_MAX);
    TEST_EQ_INT(flow_mlp_cache(&wide, 65536), INT_MAX);
}

/* A bound by the fan-out, by 1/in instead of 1/sqrt(in), of one sign; a bias left at 0. */
static void test_init(void) {
    static const flow_mlp m = {3, 64, 2, 5, FLOW_RELU};
    const int layers[3][2] = {{3, 64}, {64, 64}, {64, 5}};
    flow_real theta[4 * 64 + 65 * 64 + 65 * 5];
    flow_rng rng = test_rng(3), twin = rng;
    int l, i, k = 0;
    flow_mlp_init(&m, theta, &rng);
    for (l = 0; l < 3; l++)
        for (i = 0; i < (layers[l][0] + 1) * layers[l][1]; i++, k++)
            TEST_NEAR(theta[k],
                      (2 * (double)flow_rng_uniform(&twin) - 1) / sqrt((double)layers[l][0]),
                      4 * EPS);
    TEST_EQ_INT(k, flow_mlp_params(&m));
    TEST_EQ_INT(draws_between(rng, &twin), 0);
}

/* The smallest shapes that can be, refused; shapes that cannot be, accepted. */
static void test_assertions(void) {
    flow_mlp m = {0, 1, 1, 1, FLOW_TANH}, least = {1, 0, 0, 1, FLOW_TANH};
    flow_rng rng = test_rng(4);
    flow_real theta[4], z = 0;
    flow_net net;
    flow_mlp_init(&least, theta, &rng);
    least.width = least.depth = 1;
    flow_mlp_init(&least, theta, &rng);
    TEST_ASSERT_TRIPS(flow_mlp_init(&m, theta, &rng));
    m.in = 1, m.width = 0;
    TEST_ASSERT_TRIPS(flow_mlp_init(&m, theta, &rng));
    m.width = 1, m.depth = -1;
    TEST_ASSERT_TRIPS(flow_mlp_init(&m, theta, &rng));
    m.depth = 1, m.out = 0;
    TEST_ASSERT_TRIPS(flow_mlp_init(&m, theta, &rng));
    TEST_ASSERT_TRIPS(flow_activation(FLOW_ACT_COUNT, &z, NULL, NULL, &z, 1));
    TEST_ASSERT_TRIPS(flow_activation(-1, &z, NULL, NULL, &z, 1));
    TEST_ASSERT_TRIPS(flow_net_init(&net, 0, 0, 1, 1, FLOW_TANH, 1, &rng));
    TEST_ASSERT_TRIPS(flow_net_init(&net, 1, -1, 1, 1, FLOW_TANH, 1, &rng));
    TEST_ASSERT_TRIPS(flow_net_init(&net, 1, 0, 1, 1, FLOW_TANH, 0, &rng));
    TEST_ASSERT_TRIPS(flow_net_init(NULL, 1, 0, 1, 1, FLOW_TANH, 1, &rng));
}

/* ---- the velocity network -------------------------------------------------------------------- */

enum { D = 2, COND = 3, IN = D + 1 + COND, BATCH = 6, N = 5, K = 19 };

/* What a velocity network is asked with, and the rows that its MLP is to see. */
typedef struct {
    flow_net net;
    flow_real x[N * D], t[N], c[N * COND], dv[N * D], s[K * N * D];
    flow_real rows[N * IN], tangents[K * N * IN];
    flow_real *cache; /* of the twin: the same MLP, called directly */
} velocity_case;

static void velocity_case_init(velocity_case *q) {
    flow_rng rng = test_rng(5);
    int i, j;
    TEST_ERR(flow_net_init(&q->net, D, COND, 7, 2, FLOW_SILU, BATCH, &rng), FLOW_OK);
    flow_normal_sample(&rng, q->x, N, D);
    flow_normal_sample(&rng, q->t, N, 1);
    flow_normal_sample(&rng, q->c, N, COND);
    flow_normal_sample(&rng, q->dv, N, D);
    flow_normal_sample(&rng, q->s, K * N, D);
    memset(q->tangents, 0, sizeof q->tangents);
    for (i = 0; i < N; i++) {
        for (j = 0; j < D; j++) q->rows[i * IN + j] = q->x[i * D + j];
        q->rows[i * IN + D] = q->t[i];
        for (j = 0; j < COND; j++) q->rows[i * IN + D + 1 + j] = q->c[i * COND + j];
    }
    for (i = 0; i < K * N; i++)
        for (j = 0; j < D; j++) q->tangents[i * IN + j] = q->s[i * D + j];
    q->cache = new_reals(flow_mlp_cache(&q->net.mlp, N));
}

static void velocity_case_free(velocity_case *q) {
    flow_net_free(&q->net);
    flow_net_free(&q->net);
    TEST(q->net.theta == NULL && q->net.memory == NULL);
    test_free(q->cache);
}

/* Time or condition in a column of its own choice; rows of the wrong length, or one too many; what
 * the scratch rows of tangents held before. */
/* What goes together must have the bits of what goes alone: tangents in groups, the velocity that
 * keeps nothing for a backward pass, a batch with a remainder. */
static void test_field_of_net(void) {
    enum { ROWS = 2 * BATCH + 3 };
    flow_real x[ROWS * D], t[ROWS], s[K * ROWS * D], v[ROWS * D], jv[K * ROWS * D], one[D];
    flow_rng rng = test_rng(77);
    flow_net net;
    flow_field f;
    int act, i, j, n;
    flow_normal_sample(&rng, x, ROWS, D);
    flow_normal_sample(&rng, t, ROWS, 1);
    flow_normal_sample(&rng, s, K * ROWS, D);
    for (act = 0; act < FLOW_ACT_COUNT; act++)
        for (n = BATCH - 1; n <= ROWS; n += BATCH + 4) {
            TEST_ERR(flow_net_init(&net, D, 0, 7, act % 4, act, BATCH, &rng), FLOW_OK);
            f = flow_net_field(&net);
            TEST_ERR(f.velocity(f.ctx, v, x, t, n), FLOW_OK);
            for (i = 0; i < n; i++) {
                flow_net_forward(&net, one, x + i * D, t + i, NULL, 1);
                TEST_NEAR_ALL(v + i * D, one, D, 0);
            }
            TEST_ERR(f.tangent(f.ctx, v, jv, x, t, s, n, K, NULL), FLOW_OK);
            for (i = 0; i < n; i++) {
                flow_net_forward(&net, one, x + i * D, t + i, NULL, 1);
                TEST_NEAR_ALL(v + i * D, one, D, 0);
                for (j = 0; j < K; j++) {
                    flow_net_tangent(&net, one, s + (j * n + i) * D, 1, 1);
                    TEST_NEAR_ALL(jv + (j * n + i) * D, one, D, 0);
                }
            }
            flow_net_free(&net);
        }
}

static void test_net_forward_and_tangent(void) {
    velocity_case q;
    flow_real v[N * D], jv[K * N * D], want[K * N * D];
    int i;
    velocity_case_init(&q);
    for (i = 0; i < 8 * BATCH * IN; i++) q.net.s[i] = 9;
    q.net.in[N * IN] = -7;
    flow_net_forward(&q.net, v, q.x, q.t, q.c, N);
    TEST(q.net.in[N * IN] == -7);
    flow_mlp_forward(&q.net.mlp, q.net.theta, want, q.rows, N, q.cache);
    TEST_NEAR_ALL(q.net.in, q.rows, N * IN, 0);
    TEST_NEAR_ALL(v, want, N * D, 0);
    flow_net_tangent(&q.net, jv, q.s, N, K);
    flow_mlp_tangent(&q.net.mlp, q.net.theta, want, q.tangents, N, K, q.cache);
    TEST_NEAR_ALL(jv, want, K * N * D, 0);
    velocity_case_free(&q);
}

/* A gradient not added to net->grad, or dx that holds the columns of t and c. */
static void test_net_backward(void) {
    velocity_case q;
    flow_real v[N * D], dx[N * D], drow[N * IN], *dtheta;
    int i;
    velocity_case_init(&q);
    dtheta = flowi_new(q.net.params);
    TEST_NEAR_ALL(q.net.grad, dtheta, q.net.params, 0); /* a new network's gradient is 0 */
    flow_net_forward(&q.net, v, q.x, q.t, q.c, N);
    flow_net_backward(&q.net, dx, q.dv, N);
    flow_net_backward(&q.net, NULL, q.dv, N);
    flow_mlp_forward(&q.net.mlp, q.net.theta, v, q.rows, N, q.cache);
    flow_mlp_backward(&q.net.mlp, q.net.theta, dtheta, drow, q.dv, q.rows, N, q.cache);
    flow_mlp_backward(&q.net.mlp, q.net.theta, dtheta, NULL, q.dv, q.rows, N, q.cache);
    TEST_NEAR_ALL(q.net.grad, dtheta, q.net.params, 0);
    for (i = 0; i < N; i++) TEST_NEAR_ALL(dx + i * D, drow + i * IN, D, 0);
    flow_release(dtheta);
    velocity_case_free(&q);
}

/* More samples than fit, or a condition that is missing, unnoticed. */
static void test_net_assertions(void) {
    velocity_case q;
    flow_real v[BATCH * D];
    velocity_case_init(&q);
    flow_net_forward(&q.net, v, q.x, q.t, q.c, 0);
    flow_net_backward(&q.net, v, q.dv, 0);
    flow_net_tangent(&q.net, v, q.s, 0, 1);
    TEST_ASSERT_TRIPS(flow_net_forward(&q.net, v, q.x, q.t, q.c, BATCH + 1));
    TEST_ASSERT_TRIPS(flow_net_forward(&q.net, v, q.x, q.t, q.c, -1));
    TEST_ASSERT_TRIPS(flow_net_forward(&q.net, v, q.x, q.t, NULL, N));
    TEST_ASSERT_TRIPS(flow_net_backward(&q.net, NULL, q.dv, BATCH + 1));
    TEST_ASSERT_TRIPS(flow_net_tangent(&q.net, v, q.s, BATCH + 1, 1));
    velocity_case_free(&q);
}

/* Fills array[count] with a number of its own, or asks whether it still holds it. */
static void mark(flow_real *array, int count, int number, int ask) {
    int i, same = 1;
    for (i = 0; i < count; i++) {
        if (!ask) array[i] = (flow_real)number;
        same = same && array[i] == (flow_real)number;
    }
    TEST(same);
}

/* Arrays shorter than the header says: they overlap, or run past the end (test_free sees it). */
static void test_net_arrays(void) {
    flow_rng rng = test_rng(7);
    flow_net net;
    int ask;
    TEST_ERR(flow_net_init(&net, 3, 2, 7, 4, FLOW_TANH, 5, &rng), FLOW_OK);
    TEST(net.d == 3 && net.cond == 2 && net.batch == 5);
    TEST(net.mlp.in == 6 && net.mlp.width == 7 && net.mlp.depth == 4 && net.mlp.out == 3);
    TEST_EQ_INT(net.mlp.act, FLOW_TANH);
    TEST_EQ_INT(net.params, flow_mlp_params(&net.mlp));
    for (ask = 0; ask < 2; ask++) {
        mark(net.theta, net.params, 1, ask);
        mark(net.grad, net.params, 2, ask);
        mark(net.in, 5 * 6, 3, ask);
        mark(net.din, 5 * 6, 4, ask);
        mark(net.s, 8 * 5 * 6, 5, ask);
        mark(net.v, 5 * 3, 6, ask);
        mark(net.cache, flow_mlp_cache(&net.mlp, 5), 7, ask);
    }
    flow_net_free(&net);
}

/* Arrays longer than an int can count, samples that spill over, a failed allocation that leaks or
 * that _free stumbles over, parameters not drawn as flow_mlp_init draws them. */
static void test_net_memory(void) {
    static const int sizes[3][4] = {{1, 0, 1, 1}, {64, 1, 2, 4}, {3, 4, 3, 4}};
    int i, j;
    for (i = 0; i < 3; i++) {
        const int d = sizes[i][0], cond = sizes[i][1], depth = sizes[i][2], n = sizes[i][3];
        flow_rng rng = test_rng(6), start;
        flow_real *x = draw(&rng, n * d, 1), *c = draw(&rng, n * cond, 1), *theta;
        flow_net net;
        TEST_EVERY_ALLOC(flow_net_init(&net, d, cond, 5, depth, FLOW_TANH, n, &rng),
                         flow_net_free(&net));
        memset(&net, 0xFF, sizeof net);
        test_alloc_fail_at(1);
        TEST_ERR(flow_net_init(&net, d, cond, 5, depth, FLOW_TANH, n, &rng), FLOW_E_MEMORY);
        test_alloc_fail_at(0);
        flow_net_free(&net);
        TEST_ERR(flow_net_init(&net, d, cond, 512, 4, FLOW_TANH, 280000, &rng), FLOW_E_MEMORY);
        TEST_ERR(flow_net_init(&net, 30000, cond, 1, 1, FLOW_TANH, 10000, &rng), FLOW_E_MEMORY);
        TEST_ERR(flow_net_init(&net, d, cond, 65536, 2, FLOW_TANH, n, &rng), FLOW_E_MEMORY);
        TEST_ERR(flow_net_init(&net, 46340, cond, 1, 0, FLOW_TANH, 1, &rng), FLOW_E_MEMORY);
        start = rng;
        TEST_ERR(flow_net_init(&net, d, cond, 5, depth, FLOW_TANH, n, &rng), FLOW_OK);
        TEST_EQ_INT(draws_between(start, &rng), net.params);
        theta = new_reals(net.params);
        flow_mlp_init(&net.mlp, theta, &start);
        flow_net_forward(&net, x, x, x, cond ? c : NULL, n);
        for (j = 0; j < cond; j++) TEST(net.in[d + 1 + j] == c[j]);
        flow_net_tangent(&net, x, x, n, 1);
        flow_net_backward(&net, x, x, n);
        TEST_NEAR_ALL(net.theta, theta, net.params, 0);
        flow_net_free(&net);
        test_free(theta);
        test_free(x);
        test_free(c);
    }
}

int main(void) {
    test_section("activations");
    test_activation_formulas();
    test_activation_slopes();
    test_activation_special_values();
    test_activation_blocks();
    test_section("mlp");
    for_every_network(test_forward);
    for_every_network(test_tangent);
    for_every_network(test_backward);
    for_every_network(test_tangent_backward);
    for_every_network(test_accumulation);
    for_every_network(test_rows_alone);
    for_every_network(test_nan_comes_out);
    test_lengths();
    test_init();
    test_assertions();
    test_section("velocity network");
    test_net_forward_and_tangent();
    test_field_of_net();
    test_net_backward();
    test_net_assertions();
    test_net_arrays();
    test_net_memory();
    return test_done();
}
