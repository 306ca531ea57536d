/* 06_normalizing_flows.c - tests of section 6 of flow.h: chains of bijections, their densities and
 * samples in both directions, and the gradients of their two losses. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define BATCH 8
#define N 20000

static const double log_two_pi = 1.8378770664093454836;

/* ---- chains to test -------------------------------------------------------------------------- */

static int mask[64], other_mask[64];
static flow_conditioner coupling_spec, maf_spec;

static void make_specs(void) {
    flow_mask_alternate(mask, 64, 0);
    flow_mask_alternate(other_mask, 64, 1);
    memset(&coupling_spec, 0, sizeof coupling_spec);
    coupling_spec.mask = mask;
    coupling_spec.width = 5;
    coupling_spec.depth = 1;
    coupling_spec.act = FLOW_TANH;
    coupling_spec.cap = 1;
    maf_spec = coupling_spec;
    maf_spec.mask = NULL;
}

/* Six layers of six kinds, whose parameters and caches all differ in length, away from where they
 * start. */
static int init_mixed(flow_chain *c, int d, int direction, int batch, flow_rng *rng) {
    flow_bijection layer[6];
    int err, i;
    layer[0] = flow_affine(d);
    layer[1] = flow_planar(d);
    layer[2] = flow_coupling(d, &coupling_spec);
    layer[3] = flow_actnorm(d);
    layer[4] = flow_autoregressive(d, &maf_spec);
    layer[5] = flow_linear(d, NULL);
    err = flow_chain_init(c, layer, 6, direction, batch, rng);
    for (i = 0; err == FLOW_OK && i < c->params; i++)
        c->theta[i] += FLOWI_R(0.3 / sqrt((double)d)) * flow_rng_normal(rng);
    return err;
}

static flow_chain mixed(int d, int direction, int batch, int seed) {
    flow_chain c;
    flow_rng rng = test_rng(seed);
    TEST_ERR(init_mixed(&c, d, direction, batch, &rng), FLOW_OK);
    return c;
}

/* Four planar layers, clearly not the identity and still smooth: slopes stay above 0.1 or so. */
static flow_chain planars(int d, int direction, int batch, int seed) {
    flow_bijection layer[4];
    flow_chain c;
    flow_rng rng = test_rng(seed);
    int k;
    for (k = 0; k < 4; k++) layer[k] = flow_planar(d);
    TEST_ERR(flow_chain_init(&c, layer, 4, direction, batch, &rng), FLOW_OK);
    flow_uniform_sample(&rng, c.theta, FLOWI_R(-0.9), FLOWI_R(0.9), c.params, 1);
    return c;
}

/* ---- init and free --------------------------------------------------------------------------- */

/* Slices of theta that overlap, leave a gap, or are drawn in another order; a chain that keeps the
 * caller's array instead of a copy. */
static void test_init(void) {
    flow_bijection layer[3];
    flow_rng rng = test_rng(1), twin = rng;
    flow_real want[100];
    flow_chain c;
    int k, i, at = 0;
    layer[0] = flow_planar(3);
    layer[1] = flow_affine(3);
    layer[2] = flow_planar(3);
    TEST_ERR(flow_chain_init(&c, layer, 3, FLOW_TO_NOISE, 5, &rng), FLOW_OK);
    TEST(c.d == 3 && c.count == 3 && c.direction == FLOW_TO_NOISE && c.batch == 5);
    TEST_EQ_INT(c.params, 7 + 12 + 7);
    for (k = 0; k < 3; k++) {
        TEST(flow_chain_theta(&c, k) == c.theta + at);
        layer[k].init(&layer[k], want + at, &twin);
        at += layer[k].params;
    }
    TEST(flow_chain_theta(&c, 3) == c.theta + at);
    TEST(memcmp(c.theta, want, sizeof(flow_real) * 26) == 0);
    TEST_EQ_INT(draws_between(rng, &twin), 0);
    for (i = 0; i < c.params; i++) TEST_NEAR(c.grad[i], 0, 0);
    memset(layer, 0, sizeof layer);
    TEST(c.layer[1].forward != NULL);
    flow_chain_free(&c);
    flow_chain_free(&c); /* twice is allowed */
    TEST(c.theta == NULL && c.memory == NULL && c.count == 0);
}

/* A chain of nothing; memory that runs out; sizes that cannot be. */
static void test_init_refuses(void) {
    flow_bijection layer[2];
    flow_rng rng = test_rng(2);
    flow_chain c;
    layer[0] = flow_planar(2);
    layer[1] = flow_planar(3);
    TEST_ERR(flow_chain_init(&c, NULL, 0, FLOW_TO_NOISE, 1, &rng), FLOW_E_EMPTY);
    flow_chain_free(&c);
    TEST_EVERY_ALLOC(init_mixed(&c, 2, FLOW_TO_NOISE, 3, &rng), flow_chain_free(&c));
    TEST_ASSERT_TRIPS(flow_chain_init(&c, layer, 2, FLOW_TO_NOISE, 1, &rng)); /* d differs */
    TEST_ASSERT_TRIPS(flow_chain_init(&c, layer, 1, FLOW_TO_NOISE, 0, &rng));
    TEST_ASSERT_TRIPS(flow_chain_init(&c, layer, 1, 2, 1, &rng));
    TEST_ASSERT_TRIPS(flow_chain_init(NULL, layer, 1, FLOW_TO_NOISE, 1, &rng));
}

/* A chain used beyond its batch, or after it has been freed. */
static void test_misuse(void) {
    flow_chain c = planars(2, FLOW_TO_NOISE, 4, 3), none;
    flow_real x[10] = {0}, logdet[5] = {0};
    memset(&none, 0, sizeof none);
    TEST_ASSERT_TRIPS(flow_chain_forward(&c, x, logdet, x, 5));
    TEST_ASSERT_TRIPS(flow_chain_forward(&c, x, logdet, x, -1));
    TEST_ASSERT_TRIPS(flow_chain_inverse(&c, x, logdet, x, 5));
    TEST_ASSERT_TRIPS(flow_chain_inverse(&c, x, logdet, x, -1));
    TEST_ASSERT_TRIPS(flow_chain_backward(&c, x, x, logdet, 5));
    TEST_ASSERT_TRIPS(flow_chain_backward(&c, x, x, logdet, -1));
    TEST_ASSERT_TRIPS(flow_chain_fit(&c, x, 5));
    TEST_ASSERT_TRIPS(flow_chain_nll(&c, logdet, x, 5));
    TEST_ASSERT_TRIPS((void)flow_chain_theta(&c, 5));
    TEST_ASSERT_TRIPS((void)flow_chain_theta(&c, -1));
    TEST_ASSERT_TRIPS((void)flow_chain_points(&c, 5));
    TEST_ASSERT_TRIPS((void)flow_chain_points(&c, -1));
    TEST_ASSERT_TRIPS(flow_chain_forward(&none, x, logdet, x, 0));
    TEST_ASSERT_TRIPS(flow_chain_fit(&none, x, 1));
    flow_chain_free(&c);
}

/* ---- forward and inverse --------------------------------------------------------------------- */

/* A layer left out, taken twice or with another's parameters; log-determinants that are set, or are
 * the last layer's only: against the layers one by one, for every n up to the batch. */
static void test_forward_is_the_composition(void) {
    flow_chain c = mixed(3, FLOW_TO_NOISE, BATCH, 4);
    flow_rng rng = test_rng(5);
    flow_real x[3 * BATCH], y[3 * BATCH], at[3 * BATCH], logdet[BATCH], sum[BATCH], cache[2000];
    int n, k, i;
    for (n = 0; n <= BATCH; n++) {
        flow_normal_sample(&rng, x, n, 3);
        for (i = 0; i < BATCH; i++) logdet[i] = sum[i] = 7;
        memcpy(at, x, sizeof at);
        TEST_ERR(flow_chain_forward(&c, y, logdet, x, n), FLOW_OK);
        for (k = 0; k < 6; k++) {
            const flow_bijection *b = &c.layer[k];
            TEST(distance(flow_chain_points(&c, k), at, 3 * n) <= 0);
            TEST_ERR(b->forward(b, flow_chain_theta(&c, k), at, sum, at, n, cache), FLOW_OK);
        }
        TEST(distance(flow_chain_points(&c, 6), at, 3 * n) <= 0);
        TEST(distance(y, at, 3 * n) <= 0);
        TEST(distance(logdet, sum, BATCH) <= 0);
    }
    flow_chain_free(&c);
}

/* Layers undone in the wrong order; a log-determinant that is not the forward's with the sign
 * turned; y that may not be x. */
static void test_inverse_undoes_forward(void) {
    static const int dims[] = {1, 2, 3, 8, 64};
    int s;
    for (s = 0; s < 5; s++) {
        const int d = dims[s];
        flow_chain c = mixed(d, s % 2, BATCH, 6);
        flow_rng rng = test_rng(7);
        static flow_real x[64 * BATCH], y[64 * BATCH];
        flow_real logdet[BATCH] = {0};
        int i;
        flow_normal_sample(&rng, x, BATCH, d);
        memcpy(y, x, sizeof y);
        TEST_ERR(flow_chain_forward(&c, y, logdet, y, BATCH), FLOW_OK);
        TEST(distance(x, y, BATCH * d) > 0.1);
        TEST_ERR(flow_chain_inverse(&c, y, logdet, y, BATCH), FLOW_OK);
        TEST(distance(x, y, BATCH * d) < 1e5 * EPS);
        for (i = 0; i < BATCH; i++) TEST_NEAR(logdet[i], 0, 1e5 * EPS);
        flow_chain_free(&c);
    }
}

static int forward_one(void *ctx, flow_real *y, const flow_real *x) {
    flow_real logdet = 0;
    return flow_chain_forward((flow_chain *)ctx, y, &logdet, x, 1);
}

/* The log-determinant of the whole against its Jacobian by differences. */
static void test_logdet(void) {
    static const int dims[] = {1, 2, 3, 5, 8};
    int s;
    for (s = 0; s < 5; s++) {
        const int d = dims[s];
        flow_chain c = mixed(d, FLOW_FROM_NOISE, 1, 8);
        flow_rng rng = test_rng(9);
        flow_real x[8], y[8], logdet = 0, want = 0;
        flow_normal_sample(&rng, x, 1, d);
        TEST_ERR(flow_chain_forward(&c, y, &logdet, x, 1), FLOW_OK);
        TEST_ERR(flow_check_logdet(&want, forward_one, &c, x, d, FLOWI_R(STEP)), FLOW_OK);
        TEST_NEAR(logdet, want, 2000 * STEP * STEP);
        flow_chain_free(&c);
    }
}

/* Something done for zero samples. */
static void test_nothing_for_zero_samples(void) {
    flow_chain c = mixed(2, FLOW_TO_NOISE, 3, 10);
    flow_rng rng = test_rng(11), before = rng;
    flow_real x[2] = {5, 6}, logdet[1] = {7};
    int i;
    TEST_ERR(flow_chain_forward(&c, x, logdet, x, 0), FLOW_OK);
    TEST_ERR(flow_chain_inverse(&c, x, logdet, x, 0), FLOW_OK);
    TEST_ERR(flow_chain_backward(&c, x, x, logdet, 0), FLOW_OK);
    TEST_ERR(flow_chain_logprob(&c, logdet, x, 0), FLOW_OK);
    TEST_ERR(flow_chain_sample(&c, &rng, x, 0), FLOW_OK);
    TEST(x[0] == 5 && x[1] == 6 && logdet[0] == 7);
    TEST_EQ_INT(draws_between(before, &rng), 0);
    for (i = 0; i < c.params; i++) TEST_NEAR(c.grad[i], 0, 0);
    flow_chain_free(&c);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* L = sum_i dy_i y_i + dlogdet_i logdet_i of a chain at x. */
typedef struct {
    flow_chain *chain;
    const flow_real *x, *dy, *dlogdet;
    int n;
} linear_loss;

static double linear_loss_value(void *ctx) {
    const linear_loss *l = (const linear_loss *)ctx;
    flow_real y[64 * BATCH], logdet[BATCH] = {0};
    double sum = 0;
    int i;
    TEST_ERR(flow_chain_forward(l->chain, y, logdet, l->x, l->n), FLOW_OK);
    for (i = 0; i < l->n * l->chain->d; i++) sum += (double)(l->dy[i] * y[i]);
    for (i = 0; i < l->n; i++) sum += (double)(l->dlogdet[i] * logdet[i]);
    return sum;
}

/* A cotangent that reaches only the last layer, or goes through the wrong cache or the wrong
 * points; a gradient set instead of accumulated. */
static void check_backward(int d, int n) {
    static flow_real x[64 * BATCH], dy[64 * BATCH], dx[64 * BATCH];
    flow_chain c = mixed(d, FLOW_TO_NOISE, BATCH, 12);
    flow_rng rng = test_rng(13 + d);
    flow_real y[64 * BATCH], dlogdet[BATCH], logdet[BATCH] = {0};
    linear_loss l = {&c, x, dy, dlogdet, n};
    int i;
    flow_normal_sample(&rng, x, n, d);
    flow_normal_sample(&rng, dy, n, d);
    flow_normal_sample(&rng, dlogdet, n, 1);
    TEST_ERR(flow_chain_forward(&c, y, logdet, x, n), FLOW_OK);
    TEST_ERR(flow_chain_backward(&c, dx, dy, dlogdet, n), FLOW_OK);
    TEST_ERR(flow_chain_backward(&c, NULL, dy, dlogdet, n), FLOW_OK); /* accumulates */
    for (i = 0; i < c.params; i++) c.grad[i] /= 2;
    TEST(gradient_error(linear_loss_value, &l, c.theta, c.grad, c.params, 80) <
         600 * STEP * STEP);
    TEST(gradient_error(linear_loss_value, &l, x, dx, n * d, 20) < 600 * STEP * STEP);
    flow_chain_free(&c);
}

static void test_backward(void) {
    check_backward(1, BATCH);
    check_backward(2, BATCH);
    check_backward(3, 5); /* fewer than the batch */
    check_backward(8, 2);
    check_backward(64, 1);
}

/* ---- densities ------------------------------------------------------------------------------- */

/* Noise for data, a log-determinant of the wrong sign: log N of the noise plus log|det dz/dx|, from
 * forward when the chain runs to noise, from inverse when it runs from noise. */
static void test_logprob_formula(void) {
    int direction, d, i, j;
    for (direction = 0; direction < 2; direction++)
        for (d = 1; d <= 3; d++) {
            flow_chain c = mixed(d, direction, BATCH, 14);
            flow_rng rng = test_rng(15);
            flow_real x[3 * BATCH], z[3 * BATCH], logp[BATCH], logdet[BATCH] = {0};
            flow_normal_sample(&rng, x, BATCH, d);
            TEST_ERR(flow_chain_logprob(&c, logp, x, BATCH), FLOW_OK);
            if (direction == FLOW_TO_NOISE)
                TEST_ERR(flow_chain_forward(&c, z, logdet, x, BATCH), FLOW_OK);
            else
                TEST_ERR(flow_chain_inverse(&c, z, logdet, x, BATCH), FLOW_OK);
            for (i = 0; i < BATCH; i++) {
                double want = (double)logdet[i] - d * log_two_pi / 2;
                for (j = 0; j < d; j++) want -= pow((double)z[i * d + j], 2) / 2;
                TEST_NEAR(logp[i], want, 50 * EPS * (1 + fabs(want)));
            }
            flow_chain_free(&c);
        }
}

static int chain_logprob_fn(void *ctx, flow_real *logp, const flow_real *x, int n) {
    return flow_chain_logprob((flow_chain *)ctx, logp, x, n);
}

/* A density that does not integrate to 1, in either direction. */
static void test_integral(void) {
    int direction, seed;
    for (direction = 0; direction < 2; direction++)
        for (seed = 16; seed < 19; seed++) {
            flow_chain line = planars(1, direction, 50, seed);
            flow_chain plane = planars(2, direction, 50, seed);
            flow_real mass = 0;
            TEST_ERR(flow_quadrature(&mass, chain_logprob_fn, &line, -25, 25, 20000, 1), FLOW_OK);
            TEST_NEAR(mass, 1, 1e-6 + 2e4 * EPS);
            TEST_ERR(flow_quadrature(&mass, chain_logprob_fn, &plane, -15, 15, 200, 2), FLOW_OK);
            TEST_NEAR(mass, 1, 1e-3);
            flow_chain_free(&line);
            flow_chain_free(&plane);
        }
}

/* Blocks that lose the last points, or write them to another place: a batch of 5 against one of
 * all. */
static void test_logprob_in_blocks(void) {
    int direction, n;
    for (direction = 0; direction < 2; direction++) {
        flow_chain small = mixed(3, direction, 5, 19), large = mixed(3, direction, 23, 19);
        flow_rng rng = test_rng(20);
        flow_real x[23 * 3], one[24], other[24];
        flow_normal_sample(&rng, x, 23, 3);
        for (n = 0; n <= 23; n++) {
            one[n] = other[n] = 77;
            TEST_ERR(flow_chain_logprob(&small, one, x, n), FLOW_OK);
            TEST_ERR(flow_chain_logprob(&large, other, x, n), FLOW_OK);
            TEST(distance(one, other, n + 1) <= 40 * EPS);
            TEST_NEAR(one[n], 77, 0);
        }
        flow_chain_free(&small);
        flow_chain_free(&large);
    }
}

/* ---- samples --------------------------------------------------------------------------------- */

/* Samples that are not the documented draws, taken through the chain; a batch of 5 points in three
 * dimensions takes 16 draws, the 3 that are left take 10. */
static void test_sample_by_its_draws(void) {
    int direction, i;
    for (direction = 0; direction < 2; direction++) {
        flow_chain c = mixed(3, direction, 5, 21);
        flow_rng rng = test_rng(22), twin = rng, before = rng;
        flow_real x[13 * 3], z[13 * 3], logdet[5] = {0};
        TEST_ERR(flow_chain_sample(&c, &rng, x, 13), FLOW_OK);
        TEST_EQ_INT(draws_between(before, &rng), 16 + 16 + 10);
        for (i = 0; i < 13; i += 5) {
            const int m = i < 10 ? 5 : 3;
            flow_normal_sample(&twin, z + 3 * i, m, 3);
            if (direction == FLOW_TO_NOISE)
                TEST_ERR(flow_chain_inverse(&c, z + 3 * i, logdet, z + 3 * i, m), FLOW_OK);
            else
                TEST_ERR(flow_chain_forward(&c, z + 3 * i, logdet, z + 3 * i, m), FLOW_OK);
        }
        TEST(distance(x, z, 13 * 3) <= 0);
        flow_chain_free(&c);
    }
}

static flow_real density_at(void *ctx, flow_real x) {
    flow_real logp = 0;
    TEST_ERR(flow_chain_logprob((flow_chain *)ctx, &logp, &x, 1), FLOW_OK);
    return flowi_exp(logp);
}

/* Samples of one map and a density of its inverse: the counts of 20 intervals against the integrals
 * of the density. */
static void test_samples_have_the_density(void) {
    static flow_real x[N];
    int direction, i;
    for (direction = 0; direction < 2; direction++) {
        flow_chain c = planars(1, direction, 100, 23);
        flow_rng rng = test_rng(24);
        int count[22] = {0}, k;
        double expected[22] = {0}, inside = 0;
        TEST_ERR(flow_chain_sample(&c, &rng, x, N), FLOW_OK);
        for (i = 0; i < N; i++) {
            const double bin = floor((double)x[i] * 2) + 11; /* [-5, 5), and the two tails */
            count[bin < 1 ? 0 : bin > 20 ? 21 : (int)bin]++;
        }
        for (k = 1; k <= 20; k++) {
            const double width = 0.5 / 400;
            for (i = 0; i < 400; i++)
                expected[k] += N * width *
                    (double)density_at(&c, FLOWI_R((k - 11) * 0.5 + (i + 0.5) * width));
            inside += expected[k];
        }
        expected[0] = expected[21] = (N - inside) / 2;
        count[0] = count[21] = (count[0] + count[21]) / 2; /* both tails together */
        TEST(chi_square_accepts(count, expected, 22));
        flow_chain_free(&c);
    }
}

/* ---- maximum likelihood ---------------------------------------------------------------------- */

typedef struct {
    flow_chain *chain;
    const flow_real *x;
    flow_energy_fn energy;
    uint64_t seed;
    int n;
} training;

static double nll_value(void *ctx) {
    const training *t = (const training *)ctx;
    flow_real loss = 0;
    TEST_ERR(flow_chain_nll(t->chain, &loss, t->x, t->n), FLOW_OK);
    return (double)loss;
}

/* A mean over the batch instead of n, a loss that is not -(1/n) sum log p, a gradient of another
 * loss, or one that is not accumulated. */
static void check_nll(int d, int n) {
    static flow_real x[64 * BATCH], kept[20000];
    flow_chain c = mixed(d, FLOW_TO_NOISE, BATCH, 25);
    flow_rng rng = test_rng(26);
    flow_real logp[BATCH];
    training t = {&c, x, NULL, 0, n};
    double first;
    int i;
    flow_normal_sample(&rng, x, n, d);
    TEST_ERR(flow_chain_logprob(&c, logp, x, n), FLOW_OK);
    first = nll_value(&t);
    TEST_NEAR(first, -mean_of(logp, n, 1), 50 * EPS * (1 + fabs(first)));
    memcpy(kept, c.grad, sizeof(flow_real) * (size_t)c.params);
    TEST(gradient_error(nll_value, &t, c.theta, kept, c.params, 80) < 600 * STEP * STEP);
    for (i = 0; i < c.params; i++) c.grad[i] = kept[i];
    nll_value(&t);
    for (i = 0; i < c.params; i++) kept[i] *= 2;
    TEST(distance(c.grad, kept, c.params) <= 100 * EPS * (1 + largest(kept, c.params)));
    flow_chain_free(&c);
}

static int nll_loss_fn(void *ctx, flow_real *loss, const flow_real *theta) {
    const training *t = (const training *)ctx;
    (void)theta; /* it is the chain's own */
    return flow_chain_nll(t->chain, loss, t->x, t->n);
}

static void test_nll(void) {
    flow_chain c = planars(2, FLOW_TO_NOISE, 4, 27);
    flow_real x[8] = {1, 2, FLOWI_R(-0.5), 0, 1, -1, FLOWI_R(0.25), 3}, loss, grad[20], worst = 1;
    training t = {&c, x, NULL, 0, 4};
    check_nll(1, BATCH);
    check_nll(2, BATCH);
    check_nll(3, 5);
    check_nll(8, 1);
    check_nll(64, 2);
    TEST_ERR(flow_chain_nll(&c, &loss, x, 4), FLOW_OK); /* and as a reader would check it */
    memcpy(grad, c.grad, sizeof grad);
    TEST_ERR(flow_check_gradient(&worst, nll_loss_fn, &t, c.theta, grad, 20, FLOWI_R(STEP)),
             FLOW_OK);
    TEST((double)worst < 1e5 * STEP * STEP);
    flow_chain_free(&c);
}

/* No samples, a NaN in data or parameters, a loss that overflows, a chain that runs the other
 * way. */
static void test_nll_refuses(void) {
    flow_chain c = planars(2, FLOW_TO_NOISE, 4, 28), from = planars(2, FLOW_FROM_NOISE, 4, 28);
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_real x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, loss = 0;
    int i;
    TEST_ERR(flow_chain_nll(&c, &loss, x, 0), FLOW_E_EMPTY);
    for (i = 0; i < 8; i++) {
        x[i] = i % 2 ? nan : FLOWI_INFINITY;
        TEST_ERR(flow_chain_nll(&c, &loss, x, 4), FLOW_E_FINITE);
        x[i] = 1;
    }
    for (i = 0; i < c.params; i++) {
        const flow_real kept = c.theta[i];
        c.theta[i] = nan;
        TEST_ERR(flow_chain_nll(&c, &loss, x, 4), FLOW_E_FINITE);
        c.theta[i] = kept;
    }
    x[7] = EPS < 1e-10 ? FLOWI_R(1e200) : FLOWI_R(1e30); /* its square is infinite */
    TEST_ERR(flow_chain_nll(&c, &loss, x, 4), FLOW_E_FINITE);
    TEST_ASSERT_TRIPS((void)flow_chain_nll(&from, &loss, x, 4));
    flow_chain_free(&c);
    flow_chain_free(&from);
}

/* ---- reverse KL ------------------------------------------------------------------------------ */

/* U(x) = sum_j (j + 1) x_j^4/4 - x_j */
static int quartic(void *ctx, flow_real *energy, flow_real *denergy, const flow_real *x, int n) {
    const int d = *(int *)ctx;
    int i, j;
    for (i = 0; i < n; i++)
        for (energy[i] = 0, j = 0; j < d; j++) {
            const flow_real v = x[i * d + j], w = (flow_real)(j + 1);
            energy[i] += w * v * v * v * v / 4 - v;
            denergy[i * d + j] = w * v * v * v - 1;
        }
    return FLOW_OK;
}

static int gaussian(void *ctx, flow_real *energy, flow_real *denergy, const flow_real *x, int n) {
    const int d = *(int *)ctx;
    int i;
    for (i = 0; i < n; i++) energy[i] = flowi_dot(x + i * d, x + i * d, d) / 2;
    for (i = 0; i < n * d; i++) denergy[i] = x[i];
    return FLOW_OK;
}

static int endless(void *ctx, flow_real *energy, flow_real *denergy, const flow_real *x, int n) {
    quartic(ctx, energy, denergy, x, n);
    energy[n - 1] = FLOWI_INFINITY;
    return FLOW_OK;
}

static int steepless(void *ctx, flow_real *energy, flow_real *denergy, const flow_real *x, int n) {
    quartic(ctx, energy, denergy, x, n);
    denergy[n] = FLOWI_INFINITY - FLOWI_INFINITY;
    return FLOW_OK;
}

static int refusing(void *ctx, flow_real *energy, flow_real *denergy, const flow_real *x, int n) {
    quartic(ctx, energy, denergy, x, n);
    return FLOW_E_UNKNOWN;
}

/* The loss with common random numbers: the same seed at every evaluation. */
static double reverse_kl_value(void *ctx) {
    const training *t = (const training *)ctx;
    int d = t->chain->d;
    flow_real loss = 0;
    flow_rng rng;
    flow_rng_init(&rng, t->seed);
    TEST_ERR(flow_chain_reverse_kl(t->chain, &loss, t->energy, &d, &rng, t->n), FLOW_OK);
    return (double)loss;
}

/* An entropy or an energy of the wrong sign, a base density at y instead of z, a mean over the
 * batch; a gradient that forgets the energy or the log-determinant. */
static void check_reverse_kl(int d, int n) {
    static flow_real z[64 * BATCH], y[64 * BATCH], du[64 * BATCH], kept[20000];
    flow_chain c = mixed(d, FLOW_FROM_NOISE, BATCH, 29);
    training t = {&c, NULL, quartic, 12345, n};
    flow_real logdet[BATCH] = {0}, u[BATCH], logn[BATCH];
    const double loss = reverse_kl_value(&t);
    double want = 0;
    flow_rng rng;
    int i;
    memcpy(kept, c.grad, sizeof(flow_real) * (size_t)c.params);
    flow_rng_init(&rng, t.seed);
    flow_normal_sample(&rng, z, n, d);
    flow_normal_logprob(logn, z, n, d);
    TEST_ERR(flow_chain_forward(&c, y, logdet, z, n), FLOW_OK);
    quartic(&d, u, du, y, n);
    for (i = 0; i < n; i++) want += (double)(logn[i] - logdet[i] + u[i]) / n;
    TEST_NEAR(loss, want, 100 * EPS * (1 + fabs(want)));
    TEST(gradient_error(reverse_kl_value, &t, c.theta, kept, c.params, 80) < 6000 * STEP * STEP);
    for (i = 0; i < c.params; i++) c.grad[i] = kept[i];
    reverse_kl_value(&t);
    for (i = 0; i < c.params; i++) kept[i] *= 2;
    TEST(distance(c.grad, kept, c.params) <= 100 * EPS * (1 + largest(kept, c.params)));
    flow_chain_free(&c);
}

static void test_reverse_kl(void) {
    check_reverse_kl(1, BATCH);
    check_reverse_kl(2, BATCH);
    check_reverse_kl(3, 5);
    check_reverse_kl(8, 1);
    check_reverse_kl(64, 1);
}

/* KL = loss + log Z that is not 0 where q = p: the identity, whose target is its own noise, log Z =
 * (d/2) log 2 pi. Not only on average: for any samples. */
static void test_reverse_kl_of_itself(void) {
    int d;
    for (d = 1; d <= 3; d++) {
        flow_bijection layer = flow_affine(d);
        flow_rng rng = test_rng(30), before;
        flow_chain c;
        flow_real loss = 0;
        TEST_ERR(flow_chain_init(&c, &layer, 1, FLOW_FROM_NOISE, 7, &rng), FLOW_OK);
        before = rng;
        TEST_ERR(flow_chain_reverse_kl(&c, &loss, gaussian, &d, &rng, 7), FLOW_OK);
        TEST_NEAR(loss, -d * log_two_pi / 2, 40 * EPS);
        TEST_EQ_INT(draws_between(before, &rng), 7 * d + 7 * d % 2);
        flow_chain_free(&c);
    }
}

/* No samples, an energy that fails or is not finite, or whose gradient is not, NaN in parameters, a
 * chain that runs the other way. */
static void test_reverse_kl_refuses(void) {
    flow_chain c = planars(2, FLOW_FROM_NOISE, 4, 31), to = planars(2, FLOW_TO_NOISE, 4, 31);
    flow_rng rng = test_rng(32);
    flow_real loss = 0;
    int d = 2;
    TEST_ERR(flow_chain_reverse_kl(&c, &loss, quartic, &d, &rng, 0), FLOW_E_EMPTY);
    TEST_ERR(flow_chain_reverse_kl(&c, &loss, refusing, &d, &rng, 4), FLOW_E_UNKNOWN);
    TEST_ERR(flow_chain_reverse_kl(&c, &loss, endless, &d, &rng, 4), FLOW_E_FINITE);
    TEST_ERR(flow_chain_reverse_kl(&c, &loss, steepless, &d, &rng, 4), FLOW_E_FINITE);
    TEST_ASSERT_TRIPS((void)flow_chain_reverse_kl(&to, &loss, quartic, &d, &rng, 4));
    TEST_ASSERT_TRIPS((void)flow_chain_reverse_kl(&c, &loss, quartic, &d, &rng, 5));
    TEST_ASSERT_TRIPS((void)flow_chain_reverse_kl(&c, &loss, NULL, &d, &rng, 4));
    c.theta[0] = FLOWI_INFINITY - FLOWI_INFINITY;
    TEST_ERR(flow_chain_reverse_kl(&c, &loss, quartic, &d, &rng, 4), FLOW_E_FINITE);
    flow_chain_free(&c);
    flow_chain_free(&to);
}

/* ---- fit and errors -------------------------------------------------------------------------- */

/* Actnorm layers fitted to what enters the chain instead of what enters them. */
static void test_fit(void) {
    static flow_real x[2 * 500], y[2 * 500];
    flow_bijection layer[4];
    flow_chain c;
    flow_rng rng = test_rng(33);
    int i, k;
    layer[0] = layer[2] = flow_actnorm(2);
    layer[1] = layer[3] = flow_planar(2);
    TEST_ERR(flow_chain_init(&c, layer, 4, FLOW_TO_NOISE, 500, &rng), FLOW_OK);
    for (k = 1; k < 4; k += 2) flow_normal_sample(&rng, flow_chain_theta(&c, k), 5, 1);
    flow_toy_sample(FLOW_TOY_MOONS, &rng, x, NULL, 500);
    TEST_ERR(flow_chain_fit(&c, x, 500), FLOW_OK);
    TEST_ERR(flow_chain_forward(&c, y, c.logdet, x, 500), FLOW_OK);
    for (k = 1; k < 4; k += 2)
        for (i = 0; i < 2; i++) {
            const flow_real *out = flow_chain_points(&c, k) + i;
            TEST_NEAR(mean_of(out, 500, 2), 0, 2000 * EPS);
            TEST_NEAR(product_of(out, 0, out, 0, 500, 2), 1, 2000 * EPS);
        }
    TEST_ERR(flow_chain_fit(&c, x, 0), FLOW_E_EMPTY);
    flow_chain_theta(&c, 3)[0] = FLOWI_INFINITY - FLOWI_INFINITY;
    TEST_ERR(flow_chain_fit(&c, x, 500), FLOW_E_FINITE);
    flow_chain_free(&c);
}

/* A layer fitted to the whole batch though there are fewer points; points that overflow in the last
 * layer, behind which nobody looks. */
static void test_fit_of_few_and_far(void) {
    const flow_real far = EPS < 1e-10 ? FLOWI_R(1e200) : FLOWI_R(1e30);
    flow_bijection layer[2];
    flow_rng rng = test_rng(37);
    flow_real x[4] = {1, 2, 4, 5};
    flow_chain c;
    layer[0] = flow_actnorm(1);
    layer[1] = flow_affine(1);
    TEST_ERR(flow_chain_init(&c, layer, 2, FLOW_TO_NOISE, 8, &rng), FLOW_OK);
    TEST_ERR(flow_chain_fit(&c, x, 4), FLOW_OK);
    TEST_NEAR(c.theta[0], -log(2.5) / 2, 20 * EPS);
    TEST_NEAR(c.theta[1], -3 / sqrt(2.5), 20 * EPS);
    x[3] = far; /* the variance overflows */
    TEST_ERR(flow_chain_fit(&c, x, 4), FLOW_E_FINITE);
    flow_chain_free(&c);
    TEST_ERR(flow_chain_init(&c, layer + 1, 1, FLOW_TO_NOISE, 8, &rng), FLOW_OK);
    c.theta[0] = far;
    TEST_ERR(flow_chain_fit(&c, x, 4), FLOW_E_FINITE);
    flow_chain_free(&c);
}

/* A mean of many numbers that rounding moves: years, which are far from 0 and close together. */
static void test_fit_of_many(void) {
    enum { MANY = 100000 };
    static flow_real x[MANY], y[MANY], logdet[MANY];
    flow_bijection layer = flow_actnorm(1);
    flow_rng rng = test_rng(38);
    flow_chain c;
    flow_uniform_sample(&rng, x, 1990, 2010, MANY, 1);
    TEST_ERR(flow_chain_init(&c, &layer, 1, FLOW_TO_NOISE, MANY, &rng), FLOW_OK);
    TEST_ERR(flow_chain_fit(&c, x, MANY), FLOW_OK);
    TEST_ERR(flow_chain_forward(&c, y, logdet, x, MANY), FLOW_OK);
    TEST_NEAR(mean_of(y, MANY, 1), 0, 1e-3);
    TEST_NEAR(product_of(y, 0, y, 0, MANY, 1), 1, 1e-3);
    flow_chain_free(&c);
}

/* An error of a layer that is swallowed, whichever layer it is; and one that lasts: when the cause
 * is gone, the chain works. */
static void check_error(int direction, flow_real bad, int error) {
    int k;
    for (k = 0; k < 2; k++) {
        flow_bijection layer[2];
        flow_rng rng = test_rng(34);
        flow_chain c;
        flow_real x[4] = {1, 2, 3, 4}, y[4], logdet[2] = {0};
        layer[0] = layer[1] = flow_affine(2);
        TEST_ERR(flow_chain_init(&c, layer, 2, direction, 2, &rng), FLOW_OK);
        flow_chain_theta(&c, k)[0] = bad;
        TEST_ERR(flow_chain_forward(&c, y, logdet, x, 2), error);
        TEST_ERR(flow_chain_inverse(&c, y, logdet, x, 2), error);
        TEST_ERR(flow_chain_logprob(&c, logdet, x, 2), error);
        TEST_ERR(flow_chain_sample(&c, &rng, y, 2), error);
        TEST_ERR(flow_chain_fit(&c, x, 2), error);
        if (direction == FLOW_TO_NOISE) TEST_ERR(flow_chain_nll(&c, y, x, 2), error);
        flow_chain_theta(&c, k)[0] = 1;
        TEST_ERR(flow_chain_logprob(&c, logdet, x, 2), FLOW_OK);
        TEST_NEAR(logdet[0], -2.5 - log_two_pi, 20 * EPS);
        TEST_ERR(flow_chain_sample(&c, &rng, y, 2), FLOW_OK);
        flow_chain_free(&c);
    }
}

/* A NaN or an infinity among the points. */
static void check_bad_point(int direction, flow_real bad) {
    flow_chain c = planars(2, direction, 3, 35);
    flow_rng rng = test_rng(36);
    flow_real x[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, y[10], logdet[5] = {0};
    x[9] = bad; /* in the second block */
    TEST_ERR(flow_chain_logprob(&c, logdet, x, 5), FLOW_E_FINITE);
    TEST_ERR(flow_chain_forward(&c, y, logdet, x + 6, 2), FLOW_E_FINITE);
    TEST_ERR(flow_chain_inverse(&c, y, logdet, x + 6, 2), FLOW_E_FINITE);
    TEST_ERR(flow_chain_fit(&c, x + 6, 2), FLOW_E_FINITE);
    TEST_ERR(flow_chain_sample(&c, &rng, y, 5), FLOW_OK);
    flow_chain_free(&c);
}

/* A log-determinant that is infinite though the point is not: a scale of e^-infinity one way, of
 * e^infinity the other. */
static void test_infinite_logdet(void) {
    flow_bijection layer = flow_actnorm(1);
    flow_rng rng = test_rng(39);
    flow_real x[1] = {1}, y[1], logdet[1] = {0};
    flow_chain c;
    TEST_ERR(flow_chain_init(&c, &layer, 1, FLOW_TO_NOISE, 1, &rng), FLOW_OK);
    c.theta[0] = -FLOWI_INFINITY;
    TEST_ERR(flow_chain_forward(&c, y, logdet, x, 1), FLOW_E_FINITE);
    c.theta[0] = FLOWI_INFINITY;
    logdet[0] = 0;
    TEST_ERR(flow_chain_inverse(&c, y, logdet, x, 1), FLOW_E_FINITE);
    flow_chain_free(&c);
}

static void test_errors(void) {
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY;
    int direction;
    for (direction = 0; direction < 2; direction++) {
        check_error(direction, 0, FLOW_E_SINGULAR);
        check_error(direction, nan, FLOW_E_FINITE);
        check_bad_point(direction, nan);
        check_bad_point(direction, FLOWI_INFINITY);
    }
}

/* Counts that an int cannot hold, of one layer or of all, which wrap round to small arrays. */
static void test_init_too_large(void) {
    static const flow_residual_spec wide = {65536, 2, FLOW_TANH, 0, 0, 0, 0};
    static const flow_conditioner conditioner = {NULL, 0, 0, 65536, 2, FLOW_TANH, 0};
    flow_bijection layer[8];
    flow_rng rng = test_rng(40);
    flow_chain c;
    int i;
    layer[0] = flow_residual(2, &wide);
    TEST_ERR(flow_chain_init(&c, layer, 1, FLOW_TO_NOISE, 1, &rng), FLOW_E_MEMORY);
    layer[0] = flow_autoregressive(2, &conditioner);
    TEST_ERR(flow_chain_init(&c, layer, 1, FLOW_TO_NOISE, 1, &rng), FLOW_E_MEMORY);
    layer[0] = flow_affine(46341);
    TEST_ERR(flow_chain_init(&c, layer, 1, FLOW_TO_NOISE, 1, &rng), FLOW_E_MEMORY);
    layer[0] = flow_linear(46341, NULL);
    TEST_ERR(flow_chain_init(&c, layer, 1, FLOW_TO_NOISE, 1, &rng), FLOW_E_MEMORY);
    for (i = 0; i < 8; i++) layer[i] = flow_linear(23171, NULL); /* 8 d^2 > 2^32 */
    TEST_ERR(flow_chain_init(&c, layer, 8, FLOW_TO_NOISE, 1, &rng), FLOW_E_MEMORY);
    flow_chain_free(&c);
}

int main(void) {
    make_specs();
    test_section("init and free");
    test_init();
    test_init_too_large();
    test_init_refuses();
    test_misuse();
    test_section("forward and inverse");
    test_forward_is_the_composition();
    test_inverse_undoes_forward();
    test_logdet();
    test_nothing_for_zero_samples();
    test_section("backward");
    test_backward();
    test_section("densities");
    test_logprob_formula();
    test_integral();
    test_logprob_in_blocks();
    test_section("samples");
    test_sample_by_its_draws();
    test_samples_have_the_density();
    test_section("maximum likelihood");
    test_nll();
    test_nll_refuses();
    test_section("reverse KL");
    test_reverse_kl();
    test_reverse_kl_of_itself();
    test_reverse_kl_refuses();
    test_section("fit and errors");
    test_fit();
    test_fit_of_few_and_far();
    test_fit_of_many();
    test_errors();
    test_infinite_logdet();
    return test_done();
}
