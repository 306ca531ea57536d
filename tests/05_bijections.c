/* 05_bijections.c - tests of section 5 of flow.h. One harness holds every kind of bijection to the
 * contract that all of them share; what is particular to a kind is tested below it. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define MOST 64 /* the largest dimension */
#define N 5     /* points at a time */

static const int dims[] = {1, 2, 3, 5, 8, MOST};

static flow_real *array_of(int count) {
    return (flow_real *)test_malloc(sizeof(flow_real) * (size_t)(count > 0 ? count : 1));
}

/* ---- the kinds ------------------------------------------------------------------------------- */

static int mask_even[MOST], mask_odd[MOST], shuffled[MOST];
static flow_conditioner nice_spec, real_spec, maf_spec, reversed_spec;
static flow_residual_spec tight_spec, free_spec;

static flow_conditioner conditioner(const int *mask, int additive, int reverse, int depth) {
    flow_conditioner c;
    memset(&c, 0, sizeof c);
    c.mask = mask;
    c.additive = additive;
    c.reverse = reverse;
    c.width = 7;
    c.depth = depth;
    c.act = FLOW_TANH;
    c.cap = FLOWI_R(1.5);
    return c;
}

/* What the layers need besides d; it outlives them. */
static void make_specs(void) {
    flow_mask_alternate(mask_even, MOST, 0);
    flow_mask_alternate(mask_odd, MOST, 1);
    nice_spec = conditioner(mask_odd, 1, 0, 2);
    real_spec = conditioner(mask_even, 0, 0, 1);
    maf_spec = conditioner(NULL, 0, 0, 2);
    reversed_spec = conditioner(NULL, 0, 1, 0);
    memset(&tight_spec, 0, sizeof tight_spec);
    tight_spec.width = 6;
    tight_spec.depth = 2;
    tight_spec.act = FLOW_TANH;
    tight_spec.bound = FLOWI_R(0.8);
    free_spec = tight_spec;
    free_spec.depth = 1;
    free_spec.act = FLOW_LIPSWISH;
    free_spec.bound = FLOWI_INFINITY;
}

static flow_bijection reversing(int d) {
    return flow_linear(d, NULL);
}

static flow_bijection shuffling(int d) {
    flow_rng rng = test_rng(d);
    flow_rng_permutation(&rng, shuffled, d);
    return flow_linear(d, shuffled);
}

static flow_bijection nice(int d) {
    return flow_coupling(d, &nice_spec);
}

static flow_bijection realnvp(int d) {
    return flow_coupling(d, &real_spec);
}

static flow_bijection maf(int d) {
    return flow_autoregressive(d, &maf_spec);
}

static flow_bijection maf_reversed(int d) {
    return flow_autoregressive(d, &reversed_spec);
}

static flow_bijection residual(int d) {
    return flow_residual(d, &tight_spec);
}

static flow_bijection residual_free(int d) {
    return flow_residual(d, &free_spec);
}

/* Parameters are those that the kind starts with plus noise of deviation scale/sqrt(d): mild, and
 * as large as the kind should bear. differences: what its central differences are off, in STEP^2,
 * which grows where a map bends within one STEP; inverse: how far an inverse may be off. */
typedef struct {
    const char *name;
    flow_bijection (*make)(int d);
    double scale[2], differences[2], inverse;
} kind;

#define ROUNDING (2e4 * EPS)
#define ITERATED (sizeof(flow_real) == sizeof(double) ? 2e-9 : 1e-3) /* the default tolerance */

static const kind kinds[] = {
    {"affine", flow_affine, {0.2, 0.4}, {300, 300}, ROUNDING},
    {"planar", flow_planar, {0.5, 30}, {500, 3e5}, ROUNDING},
    {"actnorm", flow_actnorm, {0.5, 2.5}, {300, 1e4}, ROUNDING},
    {"linear, reversing", reversing, {0.4, 1.5}, {300, 300}, ROUNDING},
    {"linear", shuffling, {0.4, 1.5}, {300, 300}, ROUNDING},
    {"nice", nice, {0.5, 3}, {300, 3000}, ROUNDING},
    {"realnvp", realnvp, {0.5, 3}, {300, 1000}, ROUNDING},
    {"maf", maf, {0.5, 1}, {300, 300}, ROUNDING},
    {"maf, reversed", maf_reversed, {0.3, 0.5}, {300, 300}, ROUNDING},
    {"residual", residual, {0.3, 4}, {2000, 2000}, ITERATED},
    {"residual, free", residual_free, {0.03, 0.06}, {300, 300}, ITERATED},
};
#define KINDS (int)(sizeof kinds / sizeof kinds[0])

/* ---- a bijection on its bench ---------------------------------------------------------------- */

/* A bijection with parameters, points, and cotangents of y and log-determinant. The cache is as
 * long as the header says, and full of NaN. */
typedef struct {
    flow_bijection b;
    const char *name;
    int n;
    double differences, inverse;
    flow_real *theta, *x, *y, *logdet, *cache, *dtheta, *dx, *dy, *dlogdet;
} bench;

static bench bench_of(const kind *k, int d, int large, flow_rng *rng) {
    bench t;
    int i;
    t.b = k->make(d);
    t.name = k->name;
    t.n = d == MOST ? 2 : N;
    t.differences = k->differences[large] * STEP * STEP;
    t.inverse = k->inverse;
    t.theta = array_of(t.b.params);
    t.x = array_of(t.n * d);
    t.y = array_of(t.n * d);
    t.logdet = array_of(t.n);
    t.cache = array_of(t.b.work + t.n * t.b.cache);
    t.dtheta = array_of(t.b.params);
    t.dx = array_of(t.n * d);
    t.dy = array_of(t.n * d);
    t.dlogdet = array_of(t.n);
    t.b.init(&t.b, t.theta, rng);
    for (i = 0; i < t.b.params; i++)
        t.theta[i] += FLOWI_R(k->scale[large] / sqrt((double)d)) * flow_rng_normal(rng);
    flow_normal_sample(rng, t.x, t.n, d);
    flow_normal_sample(rng, t.dy, t.n, d);
    flow_normal_sample(rng, t.dlogdet, t.n, 1);
    if (k->make == flow_planar) /* the first point lies where tanh bends */
        t.theta[2 * d] = FLOWI_R(0.3) - flowi_dot(t.theta + d, t.x, d);
    return t;
}

static void bench_free(bench *t) {
    test_free(t->theta);
    test_free(t->x);
    test_free(t->y);
    test_free(t->logdet);
    test_free(t->cache);
    test_free(t->dtheta);
    test_free(t->dx);
    test_free(t->dy);
    test_free(t->dlogdet);
}

/* y = f(x) with log-determinants that begin at 7. */
static void forward(bench *t) {
    int i;
    for (i = 0; i < t->n; i++) t->logdet[i] = 7;
    TEST_ERR(t->b.forward(&t->b, t->theta, t->y, t->logdet, t->x, t->n, t->cache), FLOW_OK);
}

/* Says which bijection a failed check was about. */
static void tell(int ok, const bench *t, double off) {
    if (!ok) printf("    %s, d = %d: off by %.3g\n", t->name, t->b.d, off);
}

/* ---- the contract ---------------------------------------------------------------------------- */

static int one_point(void *ctx, flow_real *y, const flow_real *x) {
    bench *t = (bench *)ctx;
    flow_real logdet = 0;
    return t->b.forward(&t->b, t->theta, y, &logdet, x, 1, t->cache);
}

/* A log-determinant of the wrong sign, of another point, set instead of added: against the
 * determinant of a Jacobian by central differences. */
static void check_logdet(bench *t) {
    const double h = STEP / (1 + largest(t->theta, t->b.params) / 10);
    const int d = t->b.d;
    int i;
    if (t->differences > 1) return; /* in float, differences cannot follow so bent a map */
    forward(t);
    for (i = 0; i < (d == MOST ? 1 : t->n); i++) {
        const double got = (double)t->logdet[i] - 7;
        flow_real want = 0;
        double off;
        TEST_ERR(flow_check_logdet(&want, one_point, t, t->x + i * d, d, FLOWI_R(h)), FLOW_OK);
        off = got - (double)want;
        tell(TEST(fabs(off) <= t->differences * (1 + fabs(got))), t, off);
    }
}

/* An inverse of something else, or whose log-determinant is not the forward's with the sign turned;
 * and the same in place. */
static void check_inverse(bench *t) {
    const int count = t->n * t->b.d;
    flow_real *back = array_of(count);
    double off, tol;
    int i;
    forward(t);
    TEST_ERR(t->b.inverse(&t->b, t->theta, back, t->logdet, t->y, t->n, t->cache), FLOW_OK);
    off = distance(back, t->x, count);
    tol = t->inverse * (1 + largest(t->y, count));
    tell(TEST(off <= tol), t, off);
    for (i = 0; i < t->n; i++) TEST_NEAR(t->logdet[i], 7, 100 * tol);
    TEST_ERR(t->b.inverse(&t->b, t->theta, t->y, t->logdet, t->y, t->n, t->cache), FLOW_OK);
    TEST(distance(back, t->y, count) <= tol);
    test_free(back);
}

/* A point whose image depends on its neighbours, a forward that cannot work in place or does
 * something for n = 0. */
static void check_points_are_separate(bench *t) {
    const int d = t->b.d, count = t->n * d;
    flow_real *alone = array_of(count), *logdet = array_of(t->n);
    int i;
    forward(t);
    for (i = 0; i < t->n; i++) {
        logdet[i] = 7;
        TEST_ERR(t->b.forward(&t->b, t->theta, alone + i * d, logdet + i, t->x + i * d, 1,
                              t->cache), FLOW_OK);
    }
    TEST(distance(alone, t->y, count) <= 40 * EPS * (1 + largest(t->y, count)));
    TEST(distance(logdet, t->logdet, t->n) <= 40 * EPS * (8 + largest(t->logdet, t->n)));
    memcpy(alone, t->x, sizeof(flow_real) * (size_t)count);
    TEST_ERR(t->b.forward(&t->b, t->theta, alone, logdet, alone, t->n, t->cache), FLOW_OK);
    TEST(distance(alone, t->y, count) <= 8 * EPS * (1 + largest(t->y, count)));
    TEST_ERR(t->b.forward(&t->b, t->theta, alone, logdet, t->x, 0, t->cache), FLOW_OK);
    TEST_ERR(t->b.inverse(&t->b, t->theta, alone, logdet, t->x, 0, t->cache), FLOW_OK);
    TEST(distance(alone, t->y, count) <= 8 * EPS * (1 + largest(t->y, count)));
    test_free(alone);
    test_free(logdet);
}

/* L = sum_i dy_i y_i + dlogdet_i logdet_i, of which backward is to give the gradient. */
static double loss(void *ctx) {
    bench *t = (bench *)ctx;
    double sum = 0;
    int i;
    forward(t);
    for (i = 0; i < t->n * t->b.d; i++) sum += (double)t->dy[i] * (double)t->y[i];
    for (i = 0; i < t->n; i++) sum += (double)t->dlogdet[i] * (double)t->logdet[i];
    return sum;
}

static void check_backward(bench *t) {
    const int count = t->n * t->b.d, most = t->b.d == MOST ? 12 : 60;
    double off;
    int i;
    forward(t);
    for (i = 0; i < t->b.params; i++) t->dtheta[i] = 0;
    TEST_ERR(t->b.backward(&t->b, t->theta, t->dtheta, t->dx, t->dy, t->dlogdet, t->x, t->n,
                           t->cache), FLOW_OK);
    off = gradient_error(loss, t, t->theta, t->dtheta, t->b.params, most);
    tell(TEST(off <= t->differences), t, off);
    off = gradient_error(loss, t, t->x, t->dx, count, most);
    tell(TEST(off <= t->differences), t, off);
}

/* A gradient set instead of accumulated; a dx that may not be dy. */
static void check_backward_adds(bench *t) {
    const int count = t->n * t->b.d;
    flow_real *twice = array_of(t->b.params), *in_place = array_of(count);
    int i;
    forward(t);
    for (i = 0; i < t->b.params; i++) twice[i] = t->dtheta[i] + 1;
    memcpy(in_place, t->dy, sizeof(flow_real) * (size_t)count);
    TEST_ERR(t->b.backward(&t->b, t->theta, twice, in_place, in_place, t->dlogdet, t->x, t->n,
                           t->cache), FLOW_OK);
    TEST(distance(in_place, t->dx, count) <= 8 * EPS * (1 + largest(t->dx, count)));
    for (i = 0; i < t->b.params; i++) twice[i] = (twice[i] - 1) / 2;
    TEST(distance(twice, t->dtheta, t->b.params) <=
         t->differences * (1 + largest(t->dtheta, t->b.params)));
    test_free(twice);
    test_free(in_place);
}

/* Every kind, in one dimension and in many, near its start and far away. */
static void test_contract(void) {
    flow_rng rng = test_rng(1);
    int k, s, large;
    for (k = 0; k < KINDS; k++)
        for (s = 0; s < 6; s++)
            for (large = 0; large < 2; large++) {
                bench t = bench_of(&kinds[k], dims[s], large, &rng);
                test_section(kinds[k].name);
                check_logdet(&t);
                check_inverse(&t);
                check_points_are_separate(&t);
                check_backward(&t);
                check_backward_adds(&t);
                bench_free(&t);
            }
}

/* A kind that lacks a function or has a dimension of its own; mistakes of the caller. */
static void test_constructors(void) {
    int k, s;
    for (k = 0; k < KINDS; k++)
        for (s = 0; s < 6; s++) {
            const flow_bijection b = kinds[k].make(dims[s]);
            TEST(b.name && b.init && b.forward && b.inverse && b.backward);
            TEST_EQ_INT(b.d, dims[s]);
            TEST((b.fit != NULL) == (kinds[k].make == flow_actnorm));
        }
    TEST_ASSERT_TRIPS((void)flow_affine(0));
    TEST_ASSERT_TRIPS((void)flow_planar(0));
    TEST_ASSERT_TRIPS((void)flow_actnorm(0));
    TEST_ASSERT_TRIPS((void)flow_linear(0, NULL));
    TEST_ASSERT_TRIPS((void)flow_coupling(2, NULL));
    TEST_ASSERT_TRIPS((void)flow_coupling(2, &maf_spec)); /* no mask */
    TEST_ASSERT_TRIPS((void)flow_coupling(0, &real_spec));
    TEST_ASSERT_TRIPS((void)flow_autoregressive(2, &real_spec)); /* a mask */
    TEST_ASSERT_TRIPS((void)flow_residual(2, NULL));
    TEST_ASSERT_TRIPS((void)flow_residual(0, &tight_spec));
}

/* A start that is not the one documented: the identity for affine, actnorm and, but for its
 * permutation, linear; near the identity for coupling and MAF. */
static void test_starts(void) {
    static const kind *which[] = {&kinds[0], &kinds[2], &kinds[3], &kinds[6], &kinds[7]};
    static const double off[] = {0, 0, 0, 0.5, 0.5};
    flow_rng rng = test_rng(2);
    int k, i;
    for (k = 0; k < 5; k++) {
        bench t = bench_of(which[k], 5, 0, &rng);
        t.b.init(&t.b, t.theta, &rng);
        forward(&t);
        for (i = 0; i < t.n * 5; i++) {
            const int from = k == 2 ? i - i % 5 + 4 - i % 5 : i; /* the reversed order */
            TEST_NEAR(t.y[i], t.x[from], off[k]);
        }
        for (i = 0; i < t.n; i++) TEST_NEAR(t.logdet[i], 7, 5 * off[k]);
        bench_free(&t);
    }
}

/* A network that does not start as flow_mlp_init says, its last layer 50 times smaller for coupling
 * and MAF. */
static void test_starts_of_networks(void) {
    static const kind *which[] = {&kinds[5], &kinds[6], &kinds[7], &kinds[8], &kinds[9]};
    static const int depth[] = {2, 1, 2, 0, 2};
    int k, i;
    for (k = 0; k < 5; k++) {
        const flow_bijection b = which[k]->make(3);
        const int width = k == 4 ? 6 : 7, out = k == 4 ? 3 : 6;
        const flow_mlp net = {3, width, depth[k], out, FLOW_TANH};
        flow_rng rng = test_rng(3), twin = rng;
        flow_real *theta = array_of(b.params), *want = array_of(b.params);
        const int last = b.params - out * ((depth[k] ? width : 3) + 1);
        TEST_EQ_INT(b.params, flow_mlp_params(&net));
        b.init(&b, theta, &rng);
        flow_mlp_init(&net, want, &twin);
        for (i = 0; i < b.params; i++)
            TEST_NEAR(theta[i], (double)want[i] / (k < 4 && i >= last ? 50 : 1), EPS);
        TEST_EQ_INT(draws_between(rng, &twin), 0);
        test_free(theta);
        test_free(want);
    }
}

/* ---- affine ---------------------------------------------------------------------------------- */

/* W' for W, b added instead of subtracted: y = W (x - b) by hand. */
static void test_affine_by_hand(void) {
    const flow_real theta[6] = {2, 1, 0, -3, 1, -1}, x[2] = {3, 4}, y[2] = {9, -15};
    const flow_bijection b = flow_affine(2);
    flow_real out[2], logdet[1] = {1}, cache[8];
    TEST_ERR(b.forward(&b, theta, out, logdet, x, 1, cache), FLOW_OK);
    TEST_NEAR(out[0], 9, 0);
    TEST_NEAR(out[1], -15, 0);
    TEST_NEAR(logdet[0], 1 + log(6.0), 8 * EPS);
    TEST_ERR(b.inverse(&b, theta, out, logdet, y, 1, cache), FLOW_OK);
    TEST_NEAR(out[0], 3, 20 * EPS);
    TEST_NEAR(out[1], 4, 20 * EPS);
    TEST_NEAR(logdet[0], 1, 8 * EPS);
}

/* Large parameters, or a determinant whose product would overflow: W = diag(10^5, 10^-5, ...). */
static void test_affine_far_from_one(void) {
    static flow_real theta[MOST * MOST + MOST], x[MOST], y[MOST], cache[2 * MOST * MOST];
    const flow_bijection b = flow_affine(MOST);
    flow_real logdet = 0;
    int i;
    for (i = 0; i < MOST; i++) {
        theta[i * (MOST + 1)] = FLOWI_R(i < 40 ? 1000 : 0.5);
        theta[MOST * MOST + i] = (flow_real)(1000 * i);
        x[i] = (flow_real)(1000 * i + 1);
    }
    TEST_ERR(b.forward(&b, theta, y, &logdet, x, 1, cache), FLOW_OK);
    for (i = 0; i < MOST; i++) TEST_NEAR(y[i], i < 40 ? 1000 : 0.5, 0);
    TEST_NEAR(logdet, 40 * log(1000.0) - 24 * log(2.0), 2000 * EPS);
}

/* A matrix without inverse, or a NaN, that comes through as a map; either direction. */
static void check_refusal(const flow_bijection *b, const flow_real *theta, int error) {
    static flow_real cache[1000], logdet[1], x[MOST], y[MOST];
    int i;
    for (i = 0; i < b->d; i++) x[i] = y[i] = (flow_real)(i + 1);
    TEST_ERR(b->forward(b, theta, y, logdet, x, 1, cache), error);
    TEST_ERR(b->inverse(b, theta, y, logdet, x, 1, cache), error);
}

static void test_affine_refuses(void) {
    flow_real theta[6] = {1, 2, 2, 4, 0, 0};
    const flow_bijection b = flow_affine(2);
    int i;
    check_refusal(&b, theta, FLOW_E_SINGULAR);
    theta[3] = 5;
    check_refusal(&b, theta, FLOW_OK);
    for (i = 0; i < 6; i++) {
        const flow_real kept = theta[i];
        theta[i] = FLOWI_INFINITY - FLOWI_INFINITY;
        check_refusal(&b, theta, FLOW_E_FINITE);
        theta[i] = kept;
    }
}

/* ---- planar ---------------------------------------------------------------------------------- */

/* m(a) = -c + log(1 + (e^c - 1) e^a), for any a. */
static double planar_m(double a) {
    const double c = 0.99, s = a + log(expm1(c));
    return (s > 0 ? s + log1p(exp(-s)) : log1p(exp(s))) - c;
}

/* |w| for |w|^2, the textbook's constant, u moved across w: w = (3, -4), u = a w/25 + (4, 3). */
static void test_planar_uhat(void) {
    static const double along[] = {-100, -20, -5, -1, -0.1, 0, 0.1, 1, 5, 20, 100};
    const flow_real w[2] = {3, -4};
    int i, j;
    for (i = 0; i < 11; i++) {
        const double a = along[i], m = planar_m(a);
        flow_real u[2], uhat[2], got;
        u[0] = FLOWI_R(a * 3 / 25 + 4);
        u[1] = FLOWI_R(-a * 4 / 25 + 3);
        got = flow_planar_uhat(uhat, u, w, 2);
        TEST_NEAR(got, m, 30 * EPS * (1 + fabs(a)));
        TEST_NEAR(uhat[0], 4 + m * 3 / 25, 30 * EPS * (1 + fabs(a)));
        TEST_NEAR(uhat[1], 3 - m * 4 / 25, 30 * EPS * (1 + fabs(a)));
        TEST(got >= FLOWI_R(-0.99)); /* the map never folds */
        (void)flow_planar_uhat(u, u, w, 2);
        for (j = 0; j < 2; j++) TEST_NEAR(u[j], (double)uhat[j], 0);
    }
}

/* m(0) that is not 0, so that u = 0 is not the identity, least of all where |w| is tiny; w = 0 that
 * divides by 0. */
static void test_planar_zeros(void) {
    const flow_real u[2] = {2, 3}, zero[2] = {0, 0}, w[2] = {4, 5}, tiny[2] = {FLOWI_R(1e-18), 0};
    flow_real uhat[2];
    TEST_NEAR(flow_planar_uhat(uhat, zero, w, 2), 0, 0);
    TEST_NEAR(uhat[0], 0, 0);
    TEST_NEAR(uhat[1], 0, 0);
    TEST_NEAR(flow_planar_uhat(uhat, zero, tiny, 2), 0, 0);
    TEST_NEAR(uhat[0], 0, 0);
    TEST_NEAR(uhat[1], 0, 0);
    TEST_NEAR(flow_planar_uhat(uhat, u, zero, 2), 0, 0);
    TEST_NEAR(uhat[0], 2, 0);
    TEST_NEAR(uhat[1], 3, 0);
}

/* w = 0 is the shift x + u tanh(b): no volume changes, and gradients are finite. */
static void test_planar_without_w(void) {
    const flow_real theta[5] = {2, 3, 0, 0, FLOWI_R(0.5)}, x[2] = {1, -1};
    const flow_real dy[2] = {5, -2}, dlogdet[1] = {7};
    const flow_bijection b = flow_planar(2);
    const double h = tanh(0.5), da = (1 - h * h) * (5 * 2 - 2 * 3);
    flow_real y[2], logdet[1] = {0}, cache[5], dtheta[5] = {0}, dx[2];
    TEST_ERR(b.forward(&b, theta, y, logdet, x, 1, cache), FLOW_OK);
    TEST_NEAR(y[0], 1 + 2 * h, 8 * EPS);
    TEST_NEAR(y[1], -1 + 3 * h, 8 * EPS);
    TEST_ERR(b.backward(&b, theta, dtheta, dx, dy, dlogdet, x, 1, cache), FLOW_OK);
    TEST_NEAR(dtheta[0], 5 * h, 20 * EPS);
    TEST_NEAR(dtheta[1], -2 * h, 20 * EPS);
    TEST_NEAR(dtheta[2], da, 20 * EPS); /* through a = w'x + b alone */
    TEST_NEAR(dtheta[3], -da, 20 * EPS);
    TEST_NEAR(dtheta[4], da, 20 * EPS);
    TEST_NEAR(dx[0], 5, 0);
    TEST_ERR(b.inverse(&b, theta, y, logdet, y, 1, cache), FLOW_OK);
    TEST_NEAR(y[0], 1, 8 * EPS);
    TEST_NEAR(logdet[0], 0, 0);
}

/* One dimension by the formulas: y = x + uhat tanh(w x + b), slope 1 + uhat w/cosh^2. */
static void test_planar_by_hand(void) {
    const double u = -3, w = 2, shift = 0.5, q = planar_m(u * w), uhat = q / w;
    const flow_real theta[3] = {-3, 2, FLOWI_R(0.5)};
    const flow_bijection b = flow_planar(1);
    double x;
    for (x = -2; x <= 2; x += 0.25) {
        const double c = cosh(w * x + shift);
        flow_real at = FLOWI_R(x), y, logdet = 0, cache[3];
        TEST_ERR(b.forward(&b, theta, &y, &logdet, &at, 1, cache), FLOW_OK);
        TEST_NEAR(y, x + uhat * tanh(w * x + shift), 10 * EPS);
        TEST_NEAR(logdet, log1p(q / c / c), 1000 * EPS);
    }
}

/* A bracket that is too narrow, or that forgets a sign of w'u: inverses for every w'u^ there is,
 * from the fold at -0.99 to 100, where the slope is 0.01 and where it is 101. */
static void test_planar_inverse(void) {
    static const double along[] = {-100, -10, -1, 0, 1, 10, 100};
    const flow_bijection b = flow_planar(2);
    int i, k;
    for (i = 0; i < 7; i++)
        for (k = -40; k <= 40; k++) {
            flow_real theta[5], x[2], y[2], logdet = 0, cache[5];
            theta[0] = FLOWI_R(along[i] * 3 / 25);
            theta[1] = FLOWI_R(-along[i] * 4 / 25);
            theta[2] = 3;
            theta[3] = -4;
            theta[4] = 1;
            x[0] = FLOWI_R(k * fabs(k * 0.02));
            x[1] = FLOWI_R(k * 0.1);
            TEST_ERR(b.forward(&b, theta, y, &logdet, x, 1, cache), FLOW_OK);
            TEST_ERR(b.inverse(&b, theta, y, &logdet, y, 1, cache), FLOW_OK);
            TEST_NEAR(y[0], x[0], 2000 * EPS * (1 + fabs((double)x[0])));
            TEST_NEAR(y[1], x[1], 2000 * EPS * (1 + fabs((double)x[0])));
            TEST_NEAR(logdet, 0, 1e5 * EPS);
        }
}

/* A map that folds: along w it must rise everywhere, however large u and w. */
static void test_planar_is_monotone(void) {
    static const double sizes[] = {1, 30, 1000};
    const flow_bijection b = flow_planar(1);
    int s, k;
    for (s = 0; s < 3; s++) {
        flow_real theta[3], before = -FLOWI_INFINITY, cache[3];
        theta[0] = FLOWI_R(-100 / sizes[s]);
        theta[1] = FLOWI_R(sizes[s]);
        theta[2] = 0;
        for (k = -300; k <= 300; k++) {
            flow_real x = FLOWI_R(k / 100.0 / sizes[s]), y, logdet = 0;
            TEST_ERR(b.forward(&b, theta, &y, &logdet, &x, 1, cache), FLOW_OK);
            TEST(y > before && logdet >= FLOWI_R(log(0.00999)));
            before = y;
        }
    }
}

/* Another start: u ~ 0.01 N, w ~ N, b = -w'c with c ~ U(-2, 2), in this order of draws. */
static void test_planar_start(void) {
    int s, j;
    for (s = 0; s < 6; s++) {
        const int d = dims[s];
        const flow_bijection b = flow_planar(d);
        flow_rng rng = test_rng(4), twin = rng, before = rng;
        flow_real theta[2 * MOST + 1], u[MOST], w[MOST];
        double shift = 0;
        b.init(&b, theta, &rng);
        TEST_EQ_INT(draws_between(before, &rng), 4 * ((d + 1) / 2) + d);
        flow_normal_sample(&twin, u, 1, d);
        flow_normal_sample(&twin, w, 1, d);
        for (j = 0; j < d; j++) {
            TEST_NEAR(theta[j], 0.01 * (double)u[j], EPS);
            TEST_NEAR(theta[d + j], (double)w[j], 0);
            shift -= (double)w[j] * (-2 + 4 * (double)flow_rng_uniform(&twin));
        }
        TEST_NEAR(theta[2 * d], shift, 40 * d * EPS);
    }
}

/* A NaN in u, w, b or in y that is not reported. */
static void test_planar_refuses(void) {
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_real theta[5] = {1, 2, 3, 4, 5}, y[2] = {1, 2}, logdet[1] = {0}, cache[5];
    const flow_bijection b = flow_planar(2);
    int i;
    check_refusal(&b, theta, FLOW_OK);
    for (i = 0; i < 5; i++) {
        theta[i] = nan;
        check_refusal(&b, theta, FLOW_E_FINITE);
        theta[i] = (flow_real)(i + 1);
    }
    theta[0] = nan;
    theta[2] = theta[3] = 0;
    check_refusal(&b, theta, FLOW_E_FINITE);
    theta[0] = 1;
    theta[2] = 3;
    y[1] = nan;
    theta[3] = 4;
    TEST_ERR(b.inverse(&b, theta, y, logdet, y, 1, cache), FLOW_E_FINITE);
}

/* ---- actnorm and invertible linear ----------------------------------------------------------- */

/* A scale that is not e^s, s and b exchanged. */
static void test_actnorm_by_hand(void) {
    const flow_real theta[4] = {FLOWI_R(0.6931471805599453), -1, 5, -7}, x[2] = {3, 4};
    const flow_bijection b = flow_actnorm(2);
    flow_real y[2], logdet[1] = {0};
    TEST_ERR(b.forward(&b, theta, y, logdet, x, 1, NULL), FLOW_OK);
    TEST_NEAR(y[0], 2 * 3 + 5, 20 * EPS);
    TEST_NEAR(y[1], 4 * exp(-1.0) - 7, 20 * EPS);
    TEST_NEAR(logdet[0], log(2.0) - 1, 4 * EPS);
}

/* A variance for a deviation, a shift before the scale, log 0 for a coordinate that is constant. */
static void test_actnorm_fit(void) {
    const flow_bijection b = flow_actnorm(3);
    flow_real x[300], theta[6], logdet[100] = {0};
    flow_rng rng = test_rng(5);
    int i, j;
    flow_normal_sample(&rng, x, 100, 3);
    for (i = 0; i < 100; i++) {
        x[3 * i] = x[3 * i] * 3 + 10;
        x[3 * i + 1] = x[3 * i + 1] / 50 - 2;
        x[3 * i + 2] = 4;
    }
    TEST_ERR(b.fit(&b, theta, x, 100), FLOW_OK);
    TEST_ERR(b.forward(&b, theta, x, logdet, x, 100, NULL), FLOW_OK);
    for (j = 0; j < 3; j++) {
        TEST_NEAR(mean_of(x + j, 100, 3), 0, 2000 * EPS);
        TEST_NEAR(product_of(x + j, 0, x + j, 0, 100, 3), j < 2 ? 1 : 0, 3e4 * EPS);
    }
    TEST_NEAR(theta[2], 0, 0);
    TEST_NEAR(theta[5], -4, 400 * EPS);
}

/* What counts as constant by an absolute measure: a tiny deviation is one, and what rounding makes
 * of a large constant, its last digit, is none. */
static void test_actnorm_fit_of_sizes(void) {
    const flow_bijection b = flow_actnorm(2);
    flow_real x[200], theta[4];
    flow_rng rng = test_rng(46);
    int i, k;
    for (k = 1; k <= 20; k++) {
        flow_normal_sample(&rng, x, 100, 2);
        for (i = 0; i < 100; i++) {
            x[2 * i] *= FLOWI_R(1e-6);
            x[2 * i + 1] = FLOWI_R(1e6 * k / 3) * (1 + FLOWI_EPS * (flow_real)(i % 2));
        }
        TEST_ERR(b.fit(&b, theta, x, 90 + k / 2), FLOW_OK);
        TEST_NEAR(theta[0], log(1e6), 0.5); /* six standard errors */
        TEST_NEAR(theta[1], 0, 0);
    }
}

/* P' for P, L and U exchanged, a diagonal of L that is not 1: y = P (L (U x)) by hand. */
static void test_linear_by_hand(void) {
    static const int perm[3] = {2, 0, 1}; /* y_0 = (L U x)_2, ... */
    const flow_real theta[9] = {0, 2, 3, 4, FLOWI_R(0.6931471805599453), 5, 6, 7, 0};
    const flow_real x[3] = {1, -1, 2};
    /* U x = (1 - 2 + 6, -2 + 10, 2) = (5, 8, 2);  L: (5, 4*5 + 8, 6*5 + 7*8 + 2) = (5, 28, 88) */
    const flow_bijection b = flow_linear(3, perm), reverse = flow_linear(3, NULL);
    flow_real y[3], logdet[1] = {0}, cache[9];
    TEST_ERR(b.forward(&b, theta, y, logdet, x, 1, cache), FLOW_OK);
    TEST_NEAR(y[0], 88, 200 * EPS);
    TEST_NEAR(y[1], 5, 200 * EPS);
    TEST_NEAR(y[2], 28, 200 * EPS);
    TEST_NEAR(logdet[0], log(2.0), 4 * EPS);
    TEST_ERR(reverse.forward(&reverse, theta, y, logdet, x, 1, cache), FLOW_OK);
    TEST_NEAR(y[0], 88, 200 * EPS);
    TEST_NEAR(y[1], 28, 200 * EPS);
    TEST_NEAR(y[2], 5, 200 * EPS);
}

/* ---- coupling and autoregressive layers ------------------------------------------------------ */

/* The Jacobian of a bench's map at its first point. A wide step tells exactly which of its numbers
 * are 0. */
static flow_real *jacobian_of(bench *t, double step) {
    flow_real *j = array_of(t->b.d * t->b.d);
    TEST_ERR(flow_check_jacobian(j, one_point, t, t->x, t->b.d, FLOWI_R(step)), FLOW_OK);
    return j;
}

/* Masks that do not alternate. */
static void test_mask(void) {
    int j;
    for (j = 0; j < MOST; j++) {
        TEST_EQ_INT(mask_even[j], j % 2);
        TEST_EQ_INT(mask_odd[j], 1 - j % 2);
    }
}

/* A coordinate that should pass and moves, one that conditions and should not, or a merge of the
 * two halves in the wrong order: which numbers of the Jacobian are 0, and which are not. */
static void check_coupling_pattern(const kind *k, const int *mask, int d) {
    flow_rng rng = test_rng(6);
    bench t = bench_of(k, d, 1, &rng);
    flow_real *jacobian = jacobian_of(&t, 0.25);
    int i, j;
    forward(&t);
    for (i = 0; i < d; i++) {
        if (mask[i]) TEST_NEAR(t.y[i], t.x[i], 0);
        for (j = 0; j < d; j++) {
            const flow_real slope = jacobian[i * d + j];
            if (i == j) TEST(slope > 0);
            else if (mask[i] || !mask[j]) TEST_NEAR(slope, 0, 0);
            else TEST(slope > 0 || slope < 0);
        }
    }
    if (k->make == nice) TEST_NEAR(t.logdet[0], 7, 0); /* NICE keeps the volume */
    test_free(jacobian);
    bench_free(&t);
}

static void test_coupling_pattern(void) {
    int s;
    for (s = 0; s < 5; s++) {
        check_coupling_pattern(&kinds[5], mask_odd, dims[s]);
        check_coupling_pattern(&kinds[6], mask_even, dims[s]);
    }
}

static flow_conditioner pattern_spec;

static flow_bijection patterned(int d) {
    return flow_autoregressive(d, &pattern_spec);
}

static void check_autoregressive_pattern(int additive, int reverse, int depth, int d) {
    const kind k = {"maf, patterned", patterned, {0.5, 1}, {300, 300}, ROUNDING};
    flow_rng rng = test_rng(7);
    flow_real *jacobian;
    bench t;
    int i, j;
    pattern_spec = conditioner(NULL, additive, reverse, depth);
    t = bench_of(&k, d, 1, &rng);
    jacobian = jacobian_of(&t, 0.25);
    for (i = 0; i < d; i++)
        for (j = 0; j < d; j++) {
            const flow_real slope = jacobian[i * d + j];
            if (i == j) TEST(slope > 0);
            else if (reverse ? j > i : j < i) TEST(slope > 0 || slope < 0);
            else TEST_NEAR(slope, 0, 0);
        }
    forward(&t);
    if (additive) TEST_NEAR(t.logdet[0], 7, 0);
    test_free(jacobian);
    bench_free(&t);
}

/* An output that sees its own coordinate or a later one, an order that is not reversed, in every
 * layer, or a mask so strict that an earlier coordinate is not seen: the Jacobian is triangular and
 * nothing less. A scale that moves although the layer only adds. */
static void test_autoregressive_pattern(void) {
    int which, s;
    for (which = 0; which < 12; which++)
        for (s = 0; s < 5; s++)
            check_autoregressive_pattern(which & 1, which >> 1 & 1, which / 4, dims[s]);
}

/* Weights between hidden layers that are masked and need not be, or the other way round: in four
 * dimensions neuron i has the degree i % 3 + 1, and sees those of its own or a lower one. */
static void test_autoregressive_hidden_masks(void) {
    flow_rng rng = test_rng(47);
    bench t = bench_of(&kinds[7], 4, 1, &rng);
    const flow_real *slope = t.dtheta + 7 * (4 + 1); /* the second layer's weights */
    int i;
    forward(&t);
    for (i = 0; i < t.b.params; i++) t.dtheta[i] = 0;
    TEST_ERR(t.b.backward(&t.b, t.theta, t.dtheta, t.dx, t.dy, t.dlogdet, t.x, t.n, t.cache),
             FLOW_OK);
    for (i = 0; i < 7 * 7; i++)
        TEST_EQ_INT(slope[i] < 0 || slope[i] > 0, i / 7 % 3 >= i % 7 % 3);
    bench_free(&t);
}

/* Where the outputs' biases stand in the parameters: the last 2*d, s first, then t. */
static void check_cap(flow_bijection b, int moved, double cap, double output) {
    const int d = b.d;
    flow_real *theta = array_of(b.params), *cache = array_of(b.work + b.cache);
    flow_real x[3] = {1, 2, -3}, y[3], logdet = 0;
    const double s = cap * tanh(output / cap);
    int i;
    for (i = 0; i < b.params; i++) theta[i] = 0;
    for (i = 0; i < d; i++) {
        theta[b.params - 2 * d + i] = FLOWI_R(output);
        theta[b.params - d + i] = (flow_real)(10 * (i + 1));
    }
    TEST_ERR(b.forward(&b, theta, y, &logdet, x, 1, cache), FLOW_OK);
    TEST_NEAR(logdet, moved * s, 40 * EPS);
    TEST_NEAR(y[0], exp(s) + 10, 40 * EPS * exp(cap)); /* both masks transform it */
    TEST_NEAR(y[2], -3 * exp(s) + 30, 200 * EPS * exp(cap));
    test_free(theta);
    test_free(cache);
}

/* A log-scale that is not cap tanh(o/cap), or a default cap that is not 3. */
static void test_cap(void) {
    static const double outputs[] = {-1e6, -2, 0.01, 1, 1e6};
    flow_conditioner c = real_spec;
    int i;
    for (i = 0; i < 5; i++) {
        check_cap(realnvp(3), 2, 1.5, outputs[i]); /* of three coordinates, two move */
        check_cap(maf(3), 3, 1.5, outputs[i]);
        c.cap = 0;
        check_cap(flow_coupling(3, &c), 2, 3, outputs[i]);
    }
}

/* ---- residual -------------------------------------------------------------------------------- */

/* A network of one number, of one hidden ReLU or none. */
static flow_residual_spec line_spec(double bound, int depth, int iterations) {
    flow_residual_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.width = 1;
    spec.depth = depth;
    spec.act = FLOW_RELU;
    spec.bound = FLOWI_R(bound);
    spec.iterations = iterations;
    return spec;
}

/* One hidden layer of one ReLU, or none: y = x + w x, w = 5 too steep until it is divided by its
 * norm, w = 0.5 left alone, w = -1 without inverse when normalisation is off. */
static void check_line(double bound, int depth, double w, double slope, int error) {
    const flow_residual_spec spec = line_spec(bound, depth, 0);
    const flow_bijection b = flow_residual(1, &spec);
    flow_real theta[4] = {0}, x = 2, y, logdet = 0, cache[100];
    TEST(b.work + b.cache <= 100);
    theta[0] = FLOWI_R(w);
    theta[2] = FLOWI_R(w);
    if (depth == 0) theta[1] = FLOWI_R(0.25); /* a bias, which no norm touches */
    TEST_ERR(b.forward(&b, theta, &y, &logdet, &x, 1, cache), error);
    if (error < 0) return;
    TEST_NEAR(y, 2 * slope + (depth == 0 ? 0.25 : 0), 100 * EPS);
    TEST_NEAR(logdet, log(slope), 1000 * EPS);
    TEST_ERR(b.inverse(&b, theta, &y, &logdet, &y, 1, cache), FLOW_OK);
    TEST_NEAR(y, 2, ITERATED + (bound <= 0 ? 2000 * EPS : 0)); /* 1/(1 - 0.97) of the rounding */
    TEST_NEAR(logdet, 0, 1000 * EPS);
}

static void test_residual_lines(void) {
    check_line(0, 0, 5, 1.97, FLOW_OK); /* the default bound */
    check_line(0, 0, -5, 0.03, FLOW_OK);
    check_line(0.5, 0, 5, 1.5, FLOW_OK);
    check_line(0.5, 0, 0.25, 1.25, FLOW_OK);
    check_line(0.5, 1, 5, 1.5, FLOW_OK); /* two layers, sqrt(0.5) each */
    check_line(0.5, 1, 0.5, 1.25, FLOW_OK);
    check_line(HUGE_VAL, 0, 0.75, 1.75, FLOW_OK);
    check_line(HUGE_VAL, 0, -1, 0, FLOW_E_SINGULAR);
}

/* A norm that is looked for in the wrong row: of a diagonal W each row has a singular vector of its
 * own, and nothing of the others. */
static void test_residual_diagonal(void) {
    const flow_residual_spec spec = line_spec(0.5, 0, 0);
    const flow_bijection b = flow_residual(3, &spec);
    flow_real cache[300], y[3];
    int k, j;
    TEST(b.work + b.cache <= 300);
    for (k = 0; k < 3; k++) {
        const flow_real x[3] = {1, 2, 3};
        flow_real theta[12] = {0}, logdet = 0;
        for (j = 0; j < 3; j++) theta[4 * j] = j == k ? 5 : 1;
        TEST_ERR(b.forward(&b, theta, y, &logdet, x, 1, cache), FLOW_OK);
        for (j = 0; j < 3; j++) TEST_NEAR(y[j], (j == k ? 1.5 : 1.1) * (j + 1), 100 * EPS);
        TEST_NEAR(logdet, log(1.5) + 2 * log(1.1), 100 * EPS);
    }
}

/* Squarings that stop too early for two singular values that are nearly equal: W with the values 2
 * and 2 (1 - 1e-4) along (1, 1) and (1, -1). */
static void test_residual_norm_of_a_near_tie(void) {
    const flow_real sum = FLOWI_R(2 - 1e-4), off = FLOWI_R(1e-4), w[4] = {sum, off, off, sum};
    flow_real u[2], v[2], work[8];
    TEST_NEAR(flowi_residual_norm(w, u, v, 2, 2, work), 2, 10 * EPS);
    TEST_NEAR(fabs((double)v[0]), sqrt(0.5), 1e-9 + 1000 * EPS);
}

/* Weights that keep a norm above 1: no two points may move apart by more than the bound. */
static void test_residual_is_lipschitz(void) {
    flow_rng rng = test_rng(8);
    int trial, s;
    for (s = 0; s < 5; s++)
        for (trial = 0; trial < 10; trial++) {
            const int d = dims[s];
            bench t = bench_of(&kinds[9], d, 1, &rng);
            flow_real *j = jacobian_of(&t, STEP), u[8], v[8];
            int i;
            for (i = 0; i < d; i++) {
                j[i * (d + 1)] -= 1; /* of g alone */
                v[i] = (flow_real)(i + 1);
            }
            TEST(flow_spectral_norm(j, u, v, d, d, 300) <= FLOWI_R(0.8 + 30 * STEP * STEP));
            test_free(j);
            bench_free(&t);
        }
}

/* Power iterations that start anew at every call, or that never do: the first call is exact, the
 * next ones follow the weights, and when the weights rest they arrive. */
static void test_residual_power(void) {
    flow_residual_spec spec = tight_spec;
    flow_rng rng = test_rng(44), twin = rng;
    bench exact = bench_of(&kinds[9], 3, 1, &rng), follow = bench_of(&kinds[9], 3, 1, &twin);
    int i;
    spec.power = 1;
    follow.b.spec = &spec;
    for (i = 0; i < follow.b.work; i++) follow.cache[i] = 0; /* no vectors to start from */
    forward(&exact);
    forward(&follow);
    TEST(distance(follow.y, exact.y, 3 * N) <= 0);
    for (i = 0; i < exact.b.params; i++)
        exact.theta[i] = follow.theta[i] += flow_rng_normal(&rng);
    forward(&exact);
    forward(&follow);
    TEST(distance(follow.y, exact.y, 3 * N) > 1e-4);
    for (i = 0; i < 2000; i++) forward(&follow);
    TEST(distance(follow.y, exact.y, 3 * N) < 1e-4);
    bench_free(&exact);
    bench_free(&follow);
}

/* Fewer iterations than power says: W changes, and g is W x/(2 s) with the s of three steps from
 * where the norm of the first W stood. */
static void test_residual_power_by_hand(void) {
    const flow_real first[6] = {3, 1, 0, 2, 0, 0}, then[6] = {1, 4, 2, 3, 0, 0}, x[2] = {1, -1};
    flow_residual_spec spec = line_spec(0.5, 0, 0);
    flow_bijection b;
    flow_real y[2], logdet = 0, u[2], v[2], work[8], cache[200] = {0}, s;
    spec.power = 3;
    b = flow_residual(2, &spec);
    TEST(b.work + b.cache <= 200);
    flowi_residual_norm(first, u, v, 2, 2, work);
    s = flow_spectral_norm(then, u, v, 2, 2, 3);
    TEST_ERR(b.forward(&b, first, y, &logdet, x, 1, cache), FLOW_OK);
    TEST_ERR(b.forward(&b, then, y, &logdet, x, 1, cache), FLOW_OK);
    TEST_NEAR(y[0], 1 - 3 / (2 * (double)s), 20 * EPS);
}

/* An inverse that stops too early, without saying so, or never. */
static void test_residual_inverse(void) {
    flow_residual_spec spec = tight_spec;
    flow_rng rng = test_rng(9);
    kind k = kinds[9];
    bench t = bench_of(&k, 3, 1, &rng);
    flow_real back[3 * N];
    forward(&t);
    t.b.spec = &spec;
    spec.iterations = 2;
    TEST_ERR(t.b.inverse(&t.b, t.theta, back, t.logdet, t.y, N, t.cache), FLOW_E_CONVERGE);
    spec.iterations = 500;
    TEST_ERR(t.b.inverse(&t.b, t.theta, back, t.logdet, t.y, N, t.cache), FLOW_OK);
    TEST(distance(back, t.x, 3 * N) <= ITERATED / 20);
    spec.tol = FLOWI_R(0.01);
    TEST_ERR(t.b.inverse(&t.b, t.theta, back, t.logdet, t.y, N, t.cache), FLOW_OK);
    TEST(distance(back, t.x, 3 * N) <= 0.01);
    spec.tol = 1000; /* reached by one step */
    spec.iterations = 1;
    TEST_ERR(t.b.inverse(&t.b, t.theta, back, t.logdet, t.y, N, t.cache), FLOW_OK);
    bench_free(&t);
}

/* A tolerance below what rounding of a large point leaves, which no iteration reaches. */
static void test_residual_inverse_of_large_points(void) {
    static const double sizes[] = {30, 100, 300, 1000, 1e5, 1e6, 1e7};
    flow_rng rng = test_rng(48);
    int s, i, trial;
    for (s = 0; s < 7; s++)
        for (trial = 0; trial < 10; trial++) {
            flow_residual_spec spec = tight_spec;
            bench t = bench_of(&kinds[9], 3, 1, &rng);
            flow_real back[3 * N];
            spec.act = FLOW_LIPSWISH;
            spec.bound = 0; /* 0.97 */
            t.b.spec = &spec;
            for (i = 0; i < 3 * N; i++) t.x[i] *= FLOWI_R(sizes[s]);
            forward(&t);
            TEST_ERR(t.b.inverse(&t.b, t.theta, back, t.logdet, t.y, N, t.cache), FLOW_OK);
            TEST(distance(back, t.x, 3 * N) <= ITERATED + 300 * EPS * largest(t.y, 3 * N));
            bench_free(&t);
        }
}

/* A stop while the steps still shrink, since rounding might explain them: y = x - c x, where the
 * error is 1/(1 - c) of the step and halves only in ln 2/(1 - c) iterations. */
static void test_residual_inverse_near_the_bound(void) {
    static const double bounds[] = {0.9, 0.97, 0.99, 0.999}, points[] = {1, 100, 1e5};
    int i, j;
    for (i = 0; i < 4; i++)
        for (j = 0; j < 3; j++) {
            const flow_residual_spec spec = line_spec(bounds[i], 0, 100000);
            const flow_bijection b = flow_residual(1, &spec);
            const flow_real theta[2] = {-1, 0}, x[1] = {FLOWI_R(points[j])};
            flow_real y[1], logdet[1] = {0}, back[1], cache[100];
            TEST_ERR(b.forward(&b, theta, y, logdet, x, 1, cache), FLOW_OK);
            TEST_ERR(b.inverse(&b, theta, back, logdet, y, 1, cache), FLOW_OK);
            TEST_NEAR(back[0], x[0], ITERATED + 4 * EPS * points[j] / (1 - bounds[i]));
        }
}

/* x <- y - 2 x, which runs away; a NaN that is iterated on, or that an infinity becomes. */
static void test_residual_refuses(void) {
    const flow_residual_spec spec = line_spec(HUGE_VAL, 0, 50);
    const flow_bijection line = flow_residual(1, &spec);
    const flow_real steep[2] = {2, 0}, y[1] = {1};
    flow_real x[1], logdet[1] = {0}, cache[100];
    flow_rng rng = test_rng(10);
    bench t = bench_of(&kinds[9], 2, 0, &rng);
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY;
    TEST_ERR(line.inverse(&line, steep, x, logdet, y, 1, cache), FLOW_E_CONVERGE);
    t.x[1] = nan;
    TEST_ERR(t.b.inverse(&t.b, t.theta, t.y, t.logdet, t.x, 1, t.cache), FLOW_E_FINITE);
    t.x[1] = 2, t.x[3] = FLOWI_INFINITY;
    TEST_ERR(t.b.inverse(&t.b, t.theta, t.y, t.logdet, t.x, 2, t.cache), FLOW_E_FINITE);
    t.theta[t.b.params - 1] = nan;
    check_refusal(&t.b, t.theta, FLOW_E_FINITE);
    t.theta[t.b.params - 1] = 0;
    t.theta[0] = LARGEST / 2; /* its square overflows: no norm to divide by */
    check_refusal(&t.b, t.theta, FLOW_E_FINITE);
    bench_free(&t);
}

/* tr(J^k) of g at the first point, k = 1 ... 8, in d = 3. */
static void traces_of(bench *t, double *trace) {
    flow_real *j = jacobian_of(t, STEP), power[9], next[9];
    int i, k;
    for (i = 0; i < 9; i++) j[i] -= i % 4 == 0;
    memcpy(power, j, sizeof power);
    for (k = 1; k <= 8; k++) {
        trace[k] = (double)power[0] + (double)power[4] + (double)power[8];
        flow_matmul(next, power, 0, j, 0, 3, 3, 3, 0);
        memcpy(power, next, sizeof power);
    }
    test_free(j);
}

/* A sign, a divisor or a power that is one off: with exact traces every partial sum is known, and
 * the sums go to the log-determinant. */
static void test_series_terms(void) {
    flow_rng rng = test_rng(11), before;
    bench t = bench_of(&kinds[10], 3, 0, &rng);
    double trace[9], sum = 0;
    flow_real estimate[N];
    int k;
    traces_of(&t, trace);
    before = rng;
    for (k = 1; k <= 8; k++) {
        sum += (k % 2 ? 1 : -1) * trace[k] / k;
        TEST_ERR(flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, N, 0, k, 0, t.cache),
                 FLOW_OK);
        TEST_NEAR(estimate[0], sum, 300 * STEP * STEP);
    }
    TEST_EQ_INT(draws_between(before, &rng), 0);
    TEST_ERR(flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, N, 0, 300, 0, t.cache),
             FLOW_OK);
    forward(&t);
    for (k = 0; k < N; k++) TEST_NEAR(estimate[k], (double)t.logdet[k] - 7, 2000 * EPS);
    bench_free(&t);
}

/* A series of weights that were not divided by their norms; one probe for all points. */
static void test_series_of_the_layer(void) {
    flow_rng rng = test_rng(49), before;
    bench t = bench_of(&kinds[9], 3, 1, &rng);
    flow_real estimate[N];
    int k;
    forward(&t);
    TEST_ERR(flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, N, 0, 300, 0, t.cache),
             FLOW_OK);
    for (k = 0; k < N; k++) TEST_NEAR(estimate[k], (double)t.logdet[k] - 7, 2000 * EPS);
    before = rng;
    TEST_ERR(flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, N, 2, 4, 0, t.cache),
             FLOW_OK);
    TEST_EQ_INT(draws_between(before, &rng), 2 * N * 3);
    bench_free(&t);
}

/* Probes that are not +-1, a mean over the wrong number of them, terms of the roulette without
 * their weights: the estimate from the same draws, by J itself. */
static void test_series_by_its_draws(void) {
    const double roulette = 0.4;
    int trial, probe, i, k;
    for (trial = 0; trial < 20; trial++) {
        flow_rng rng = test_rng(12 + trial), twin;
        bench t = bench_of(&kinds[10], 3, 1, &rng);
        flow_real *j = jacobian_of(&t, STEP), estimate, v[3], power[3], next[3];
        double want = 0;
        int count = 2;
        for (i = 0; i < 9; i++) j[i] -= i % 4 == 0;
        twin = rng;
        TEST_ERR(flow_residual_series(&t.b, t.theta, &estimate, &rng, t.x, 1, 3, 2,
                                      FLOWI_R(roulette), t.cache), FLOW_OK);
        while (flow_rng_uniform(&twin) >= FLOWI_R(roulette)) count++;
        for (probe = 0; probe < 3; probe++) {
            for (i = 0; i < 3; i++) v[i] = flow_rng_uniform(&twin) < FLOWI_R(0.5) ? -1 : 1;
            memcpy(power, v, sizeof v);
            for (k = 1; k <= count; k++) {
                const double reached = k > 2 ? pow(1 - roulette, k - 2) : 1;
                flow_matmul(next, j, 0, power, 0, 3, 1, 3, 0);
                memcpy(power, next, sizeof next);
                want += (k % 2 ? 1 : -1) * (double)flowi_dot(v, power, 3) / k / reached / 3;
            }
        }
        TEST_NEAR(estimate, want, 300 * STEP * STEP);
        TEST_EQ_INT(draws_between(twin, &rng), 0);
        test_free(j);
        bench_free(&t);
    }
}

/* An estimate that is biased although the roulette is on. */
static void test_series_is_unbiased(void) {
    static flow_real estimates[4000];
    flow_rng rng = test_rng(40);
    bench t = bench_of(&kinds[10], 2, 1, &rng);
    int i;
    for (i = 0; i < 4000; i++)
        TEST_ERR(flow_residual_series(&t.b, t.theta, &estimates[i], &rng, t.x, 1, 1, 1,
                                      FLOWI_R(0.3), t.cache), FLOW_OK);
    forward(&t);
    TEST_MEAN(estimates, 4000, 1, (double)t.logdet[0] - 7);
    bench_free(&t);
}

/* No terms, a roulette that never ends, a NaN. */
static void test_series_refuses(void) {
    flow_rng rng = test_rng(41);
    bench t = bench_of(&kinds[9], 2, 0, &rng);
    flow_real estimate[1];
    int i;
    TEST_ERR(flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, 1, 1, 0, 0, t.cache),
             FLOW_E_EMPTY);
    TEST_ASSERT_TRIPS((void)flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, 1, 1, 1,
                                                 FLOWI_R(-0.1), t.cache));
    TEST_ASSERT_TRIPS(
        (void)flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, 1, 1, 1, 1, t.cache));
    for (i = 0; i < 2; i++) { /* not finite, or with a square that is not */
        t.theta[0] = i ? LARGEST / 2 : FLOWI_INFINITY - FLOWI_INFINITY;
        TEST_ERR(flow_residual_series(&t.b, t.theta, estimate, &rng, t.x, 1, 1, 1, 0, t.cache),
                 FLOW_E_FINITE);
    }
    bench_free(&t);
}

/* ---- roots ----------------------------------------------------------------------------------- */

/* Functions with their slopes, by number; calls are counted. */
typedef struct {
    int which, calls;
} function;

static flow_real root_value(void *ctx, flow_real a, flow_real *slope) {
    function *f = (function *)ctx;
    const double x = (double)a;
    double value = 0, s = 0;
    f->calls++;
    switch (f->which) {
    case 0: value = x * x * x - 2, s = 3 * x * x; break;
    case 1: value = exp(x) - 5, s = exp(x); break;
    case 2: value = 1 - x, s = -1; break;
    case 3: value = atan(x - 0.3), s = 1 / (1 + (x - 0.3) * (x - 0.3)); break; /* Newton leaves */
    case 4: value = x > 0.123 ? 1 : -1, s = 0; break;             /* only bisection can do it */
    case 5: value = x - 0.7, s = -1; break;                       /* a slope of the wrong sign */
    case 6: value = pow(x, 9), s = 9 * pow(x, 8); break;          /* Newton creeps */
    case 7: value = x > 0 && x < 1 ? sqrt(-1.0) : x - 0.5; break; /* NaN inside */
    case 8: value = x * x + 1, s = 2 * x; break;                  /* no root */
    default: value = x > 0 ? 1 : -1; break;                       /* no end */
    }
    *slope = FLOWI_R(s);
    return FLOWI_R(value);
}

static int find_root(flow_real *root, function *f, int which, double lo, double hi, double tol) {
    f->which = which;
    f->calls = 0;
    *root = -77;
    return flow_root(root, root_value, f, FLOWI_R(lo), FLOWI_R(hi), FLOWI_R(tol));
}

/* Newton's step with a wrong sign, one that leaves the bracket, a bracket moved to the wrong side,
 * a bisection that is not taken where Newton fails, or taken where it does well. */
static void test_roots(void) {
    static const struct {
        int which, most;
        double lo, hi, root;
    } cases[] = {{0, 12, 0, 2, 1.2599210498948731648},   {0, 12, -9, 9, 1.2599210498948731648},
                 {1, 14, -3, 8, 1.6094379124341003746},  {2, 5, -3, 4, 1},
                 {3, 16, -200, 999, 0.3},                {4, 62, -1, 1, 0.123},
                 {5, 62, -3, 3, 0.7},                    {3, 16, -999, 200, 0.3}};
    const int slack = EPS > 1e-9 ? 25 : 0; /* 2 EPS is near what float can tell apart */
    int i;
    for (i = 0; i < 8; i++) {
        function f;
        flow_real root;
        TEST_ERR(find_root(&root, &f, cases[i].which, cases[i].lo, cases[i].hi, 2 * EPS), FLOW_OK);
        TEST_NEAR(root, cases[i].root, 8 * EPS);
        TEST(f.calls <= cases[i].most + slack);
    }
}

/* A root at an end, or found early by chance, that is not taken; a tolerance that is not kept. */
static void test_roots_at_ends(void) {
    function f;
    flow_real root;
    TEST_ERR(find_root(&root, &f, 2, 1, 5, EPS), FLOW_OK);
    TEST_NEAR(root, 1, 0);
    TEST_EQ_INT(f.calls, 2);
    TEST_ERR(find_root(&root, &f, 2, -5, 1, EPS), FLOW_OK);
    TEST_NEAR(root, 1, 0);
    TEST_ERR(find_root(&root, &f, 2, 1, 1, EPS), FLOW_OK);
    TEST_NEAR(root, 1, 0);
    TEST_ERR(find_root(&root, &f, 2, 0, 2, EPS), FLOW_OK); /* the first guess hits it */
    TEST_NEAR(root, 1, 0);
    TEST_EQ_INT(f.calls, 3);
    TEST_ERR(find_root(&root, &f, 4, -1, 1, 0.01), FLOW_OK);
    TEST_NEAR(root, 0.123, 0.012);
    TEST(f.calls >= 8 && f.calls <= 11);
    TEST_ERR(find_root(&root, &f, 6, -1, 2, EPS), FLOW_OK);
    TEST_NEAR(root, 0, 20 * EPS);
}

/* A bracket without a change of sign, a NaN at an end or inside, iterations without end. */
static void test_roots_refuse(void) {
    const double wide = sizeof(flow_real) == sizeof(double) ? 1e300 : 1e38;
    function f;
    flow_real root;
    TEST_ERR(find_root(&root, &f, 8, -3, 4, EPS), FLOW_E_BRACKET);
    TEST_ERR(find_root(&root, &f, 2, 2, 4, EPS), FLOW_E_BRACKET);
    TEST_ERR(find_root(&root, &f, 2, -2, 0, EPS), FLOW_E_BRACKET);
    TEST_ERR(find_root(&root, &f, 7, 0.25, 5, EPS), FLOW_E_FINITE);
    TEST_ERR(find_root(&root, &f, 7, -5, 0.25, EPS), FLOW_E_FINITE);
    TEST_ERR(find_root(&root, &f, 7, -2, 3, EPS), FLOW_E_FINITE);
    TEST_ERR(find_root(&root, &f, 9, -1, wide, 1e-40), FLOW_E_CONVERGE);
    TEST_EQ_INT(f.calls, 202);
    TEST_NEAR(root, -77, 0);
    TEST_ASSERT_TRIPS((void)find_root(&root, &f, 2, 3, 2, EPS));
    TEST_ASSERT_TRIPS((void)find_root(&root, &f, 2, 0, 2, 0));
    TEST_ASSERT_TRIPS((void)flow_root(NULL, root_value, &f, 0, 2, 1));
}

int main(void) {
    make_specs();
    test_contract();
    test_section("starts");
    test_constructors();
    test_starts();
    test_starts_of_networks();
    test_section("affine");
    test_affine_by_hand();
    test_affine_far_from_one();
    test_affine_refuses();
    test_section("planar");
    test_planar_uhat();
    test_planar_zeros();
    test_planar_without_w();
    test_planar_by_hand();
    test_planar_inverse();
    test_planar_is_monotone();
    test_planar_start();
    test_planar_refuses();
    test_section("actnorm and linear");
    test_actnorm_by_hand();
    test_actnorm_fit();
    test_actnorm_fit_of_sizes();
    test_linear_by_hand();
    test_section("coupling and autoregressive");
    test_mask();
    test_coupling_pattern();
    test_autoregressive_pattern();
    test_autoregressive_hidden_masks();
    test_cap();
    test_section("residual");
    test_residual_lines();
    test_residual_diagonal();
    test_residual_norm_of_a_near_tie();
    test_residual_is_lipschitz();
    test_residual_power();
    test_residual_power_by_hand();
    test_residual_inverse();
    test_residual_inverse_of_large_points();
    test_residual_inverse_near_the_bound();
    test_residual_refuses();
    test_series_terms();
    test_series_of_the_layer();
    test_series_by_its_draws();
    test_series_is_unbiased();
    test_series_refuses();
    test_section("roots");
    test_roots();
    test_roots_at_ends();
    test_roots_refuse();
    return test_done();
}
