/* 08_optimisers.c - tests of section 8 of flow.h: SGD, momentum, Adam, natural gradient,
 * schedules, clipping, EMA. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define COUNT 5

/* ---- steps ----------------------------------------------------------------------------------- */

/* The optimisers' formulas as their papers have them, in double. */
typedef struct {
    double theta[COUNT], m[COUNT], v[COUNT], fisher[COUNT][COUNT];
} twin;

/* x = F^-1 g by elimination: F is positive definite. */
static void solve_fisher(const twin *w, double *x, const flow_real *g) {
    double a[COUNT][COUNT];
    int i, j, k;
    memcpy(a, w->fisher, sizeof a);
    for (i = 0; i < COUNT; i++) x[i] = (double)g[i];
    for (i = 0; i < COUNT; i++)
        for (j = i + 1; j < COUNT; j++) {
            const double ratio = a[j][i] / a[i][i];
            for (k = 0; k < COUNT; k++) a[j][k] -= ratio * a[i][k];
            x[j] -= ratio * x[i];
        }
    for (i = COUNT - 1; i >= 0; i--) {
        for (j = i + 1; j < COUNT; j++) x[i] -= a[i][j] * x[j];
        x[i] /= a[i][i];
    }
}

/* F itself, where flow.h keeps its inverse; eps I coordinate by coordinate, as documented. */
static void twin_natural(twin *w, const flow_opt *o, const flow_real *grad, int t) {
    const double b1 = (double)o->beta1, b2 = (double)o->beta2, eps = (double)o->epsilon;
    double u[COUNT];
    int i, j;
    for (i = 0; i < COUNT && t == 1; i++) w->fisher[i][i] = eps;
    for (i = 0; i < COUNT; i++)
        for (j = 0; j < COUNT; j++)
            w->fisher[i][j] = b2 * w->fisher[i][j] + (1 - b2) * (double)grad[i] * (double)grad[j];
    solve_fisher(w, u, grad);
    w->fisher[t % COUNT][t % COUNT] += (1 - b2) * COUNT * eps;
    for (i = 0; i < COUNT; i++) {
        w->m[i] = b1 * w->m[i] + (1 - b1) * u[i];
        w->theta[i] -= (double)o->rate * w->m[i] / (1 - pow(b1, t));
    }
}

static void twin_step(twin *w, const flow_opt *o, const flow_real *grad, int t) {
    const double rate = (double)o->rate, b1 = (double)o->beta1, b2 = (double)o->beta2;
    int i;
    for (i = 0; i < COUNT; i++) w->theta[i] -= rate * (double)o->decay * w->theta[i];
    if (o->kind == FLOW_NATURAL) twin_natural(w, o, grad, t);
    for (i = 0; i < COUNT && o->kind != FLOW_NATURAL; i++) {
        const double g = (double)grad[i];
        if (o->kind == FLOW_SGD) {
            w->theta[i] -= rate * g;
        } else if (o->kind == FLOW_MOMENTUM) {
            w->m[i] = b1 * w->m[i] + g;
            w->theta[i] -= rate * w->m[i];
        } else {
            w->m[i] = b1 * w->m[i] + (1 - b1) * g;
            w->v[i] = b2 * w->v[i] + (1 - b2) * g * g;
            w->theta[i] -= rate * (w->m[i] / (1 - pow(b1, t))) /
                           (sqrt(w->v[i] / (1 - pow(b2, t))) + (double)o->epsilon);
        }
    }
}

/* F F^-1 = I for the inverse that is kept, and it is symmetric to the last bit. */
static void check_inverse(const flow_opt *o, const twin *w, double tol) {
    const flow_real *p = o->inverse;
    int i, j, k;
    for (i = 0; i < COUNT; i++)
        for (j = 0; j < COUNT; j++) {
            double sum = 0;
            for (k = 0; k < COUNT; k++) sum += w->fisher[i][k] * (double)p[k * COUNT + j];
            TEST_NEAR(sum, i == j ? 1 : 0, tol);
            TEST_NEAR(p[i * COUNT + j], p[j * COUNT + i], 0);
        }
}

/* Takes steps along random gradients; the rate is halved half-way. What stands behind the
 * parameters and their gradient must not move. */
static void follow_twin(flow_opt *o, int steps, int seed) {
    const double tol = (o->kind == FLOW_NATURAL ? 20 / (double)o->epsilon : 200) * EPS;
    flow_rng rng = test_rng(seed);
    flow_real theta[COUNT + 1], grad[COUNT + 1], zero[COUNT] = {0};
    twin w;
    int i, t;
    memset(&w, 0, sizeof w);
    flow_normal_sample(&rng, theta, COUNT, 1);
    for (i = 0; i < COUNT; i++) w.theta[i] = (double)theta[i];
    theta[COUNT] = 7, grad[COUNT] = 8;
    for (t = 1; t <= steps; t++) {
        if (t == steps / 2) o->rate /= 2;
        flow_normal_sample(&rng, grad, COUNT, 1);
        twin_step(&w, o, grad, t);
        TEST_ERR(flow_opt_step(o, theta, grad), FLOW_OK);
        TEST_NEAR_ALL(theta, w.theta, COUNT, tol);
        if (o->kind == FLOW_NATURAL) check_inverse(o, &w, tol);
        TEST_NEAR_ALL(grad, zero, COUNT, 0);
        TEST_EQ_INT(o->step, t);
        TEST(theta[COUNT] == 7 && grad[COUNT] == 8);
    }
}

/* Any term of any formula: constants that are far from 0, 1 and each other show each of them. */
static void test_formulas(void) {
    int kind, decays;
    for (kind = FLOW_SGD; kind <= FLOW_NATURAL; kind++)
        for (decays = 0; decays < 2; decays++) {
            flow_opt o;
            TEST_ERR(flow_opt_init(&o, kind, FLOWI_R(0.125), COUNT), FLOW_OK);
            o.beta1 = FLOWI_R(0.75);
            o.beta2 = FLOWI_R(0.875);
            o.epsilon = FLOWI_R(0.25);
            if (decays) o.decay = FLOWI_R(0.5);
            follow_twin(&o, 40, 10 + kind);
            flow_opt_free(&o);
        }
}

/* A default that is not the papers', a bias correction that goes wrong after many steps. */
static void test_defaults(void) {
    int kind;
    for (kind = FLOW_SGD; kind <= FLOW_NATURAL; kind++) {
        flow_opt o;
        TEST_ERR(flow_opt_init(&o, kind, FLOWI_R(0.01), COUNT), FLOW_OK);
        TEST_NEAR(o.rate, 0.01, EPS);
        TEST_NEAR(o.beta1, 0.9, EPS);
        TEST_NEAR(o.beta2, kind == FLOW_NATURAL ? 0.995 : 0.999, EPS);
        TEST_NEAR((double)o.epsilon / (kind == FLOW_NATURAL ? 3e-4 : 1e-8), 1, EPS);
        TEST_NEAR(o.decay, 0, 0);
        TEST_EQ_INT(o.step, 0);
        follow_twin(&o, 300, 20 + kind);
        flow_opt_free(&o);
    }
}

/* Adam without bias correction: its first step is the rate itself, however steep the slope. */
static void test_adam_first_step(void) {
    const double slopes[4] = {1e-3, -0.5, 3, -1e4};
    int i;
    for (i = 0; i < 4; i++) {
        flow_real theta = 2, grad = (flow_real)slopes[i];
        flow_opt o;
        TEST_ERR(flow_opt_init(&o, FLOW_ADAM, FLOWI_R(0.1), 1), FLOW_OK);
        TEST_ERR(flow_opt_step(&o, &theta, &grad), FLOW_OK);
        TEST_NEAR(theta, slopes[i] > 0 ? 1.9 : 2.1, 1e-5);
        flow_opt_free(&o);
    }
}

/* A parameter that is left out, taken twice or mixed with its neighbour where many go block by
 * block; a step beyond the last of them. Alone, each does the same to the last bit. */
static void test_adam_many(void) {
    enum { MANY = 300 };
    flow_real theta[MANY + 1], grad[MANY + 1], alone[MANY], slope[MANY];
    flow_rng rng = test_rng(30);
    flow_opt o;
    int i, t;
    TEST_ERR(flow_opt_init(&o, FLOW_ADAM, FLOWI_R(0.1), MANY), FLOW_OK);
    flow_normal_sample(&rng, theta, MANY + 1, 1);
    flow_normal_sample(&rng, slope, MANY, 1);
    memcpy(alone, theta, sizeof alone);
    theta[MANY] = 7, grad[MANY] = 8;
    for (t = 0; t < 3; t++) {
        memcpy(grad, slope, sizeof slope);
        TEST_ERR(flow_opt_step(&o, theta, grad), FLOW_OK);
        TEST(theta[MANY] == 7 && grad[MANY] == 8);
    }
    flow_opt_free(&o);
    for (i = 0; i < MANY; i++) {
        TEST_ERR(flow_opt_init(&o, FLOW_ADAM, FLOWI_R(0.1), 1), FLOW_OK);
        for (t = 0; t < 3; t++) {
            grad[0] = slope[i];
            TEST_ERR(flow_opt_step(&o, alone + i, grad), FLOW_OK);
        }
        flow_opt_free(&o);
    }
    TEST_NEAR_ALL(theta, alone, MANY, 0);
}

/* Decay that passes through Adam's moments (L2 regularisation) instead of beside them: with no
 * gradient, theta shrinks by 1 - rate decay a step, and the moments stay 0. */
static void test_decay_is_decoupled(void) {
    int kind;
    for (kind = FLOW_SGD; kind <= FLOW_NATURAL; kind++) {
        flow_real theta = 4, grad = 0;
        flow_opt o;
        TEST_ERR(flow_opt_init(&o, kind, FLOWI_R(0.25), 1), FLOW_OK);
        o.decay = FLOWI_R(0.5);
        TEST_ERR(flow_opt_step(&o, &theta, &grad), FLOW_OK);
        TEST_ERR(flow_opt_step(&o, &theta, &grad), FLOW_OK);
        TEST_NEAR(theta, 4 * 0.875 * 0.875, 0);
        if (o.m) TEST_NEAR(o.m[0], 0, 0);
        if (kind == FLOW_ADAM) TEST_NEAR(o.v[0], 0, 0);
        flow_opt_free(&o);
    }
}

/* After a refused gradient the next step is the one that a fresh optimiser would take second. */
static void continue_unchanged(flow_opt *o, const flow_real *theta) {
    flow_real a[COUNT], b[COUNT] = {1, 2, 3, 4, 5}, grad[COUNT] = {1, 1, 1, 1, 1};
    flow_real again[COUNT] = {1, 1, 1, 1, 1};
    flow_opt fresh;
    int i;
    TEST_ERR(flow_opt_init(&fresh, o->kind, o->rate, COUNT), FLOW_OK);
    fresh.decay = o->decay;
    TEST_ERR(flow_opt_step(&fresh, b, grad), FLOW_OK);
    memcpy(a, theta, sizeof a);
    for (i = 0; i < COUNT; i++) grad[i] = again[i];
    TEST_ERR(flow_opt_step(o, a, grad), FLOW_OK);
    TEST_ERR(flow_opt_step(&fresh, b, again), FLOW_OK);
    TEST_NEAR_ALL(a, b, COUNT, 0);
    flow_opt_free(&fresh);
}

/* The natural gradient does not see units: for a loss whose curvature differs by 10^6 between
 * directions, noisy gradients of covariance H lead to the bottom within a few hundred steps, where
 * one rate for both would need millions. */
static void test_natural_scales(void) {
    const double curvature[2] = {1e3, 1e-3};
    flow_rng rng = test_rng(31);
    flow_real theta[2] = {FLOWI_R(0.1), 100}, grad[2], noise[2];
    flow_opt o;
    int t, i;
    TEST_ERR(flow_opt_init(&o, FLOW_NATURAL, FLOWI_R(0.02), 2), FLOW_OK);
    o.epsilon = FLOWI_R(1e-6);
    for (t = 0; t < 4000; t++) {
        if (t == 2000) o.rate /= 20;
        flow_normal_sample(&rng, noise, 1, 2);
        for (i = 0; i < 2; i++)
            grad[i] = (flow_real)(curvature[i] * (double)theta[i] +
                                  sqrt(curvature[i]) * (double)noise[i]);
        TEST_ERR(flow_opt_step(&o, theta, grad), FLOW_OK);
    }
    for (i = 0; i < 2; i++) TEST_NEAR((double)theta[i] * sqrt(curvature[i]), 0, 0.3);
    flow_opt_free(&o);
}

/* A g'F^-1 g that overflows, though the gradient does not. */
static void test_natural_overflow(void) {
    flow_real theta[2] = {1, 2}, grad[2] = {FLOWI_R(1e25), FLOWI_R(-1e25)};
    flow_opt o;
    if (sizeof(flow_real) == sizeof(double)) grad[0] = (flow_real)1e200, grad[1] = -grad[0];
    TEST_ERR(flow_opt_init(&o, FLOW_NATURAL, 1, 2), FLOW_OK);
    TEST_ERR(flow_opt_step(&o, theta, grad), FLOW_E_FINITE);
    TEST_EQ_INT(o.step, 0);
    TEST(theta[0] == 1 && theta[1] == 2 && o.m[0] == 0 && o.m[1] == 0);
    flow_opt_free(&o);
}

/* Gradients so large that rounding makes the inverse indefinite: a step is refused or finite, and
 * some are refused. */
static void test_natural_indefinite(void) {
    const flow_real large = sizeof(flow_real) == sizeof(double) ? (flow_real)1e100 : FLOWI_R(1e12);
    flow_rng rng = test_rng(32);
    flow_real theta[COUNT] = {0}, grad[COUNT];
    int t, i, refused = 0;
    flow_opt o;
    TEST_ERR(flow_opt_init(&o, FLOW_NATURAL, FLOWI_R(1e-3), COUNT), FLOW_OK);
    for (t = 0; t < 200; t++) {
        int err;
        flow_normal_sample(&rng, grad, COUNT, 1);
        for (i = 0; i < COUNT; i++) grad[i] *= large;
        err = flow_opt_step(&o, theta, grad);
        refused += err == FLOW_E_FINITE;
        TEST(err == FLOW_OK || err == FLOW_E_FINITE);
        for (i = 0; i < COUNT; i++) TEST(theta[i] - theta[i] == 0 && o.m[i] - o.m[i] == 0);
        for (i = 0; i < COUNT * COUNT; i++) TEST(o.inverse[i] - o.inverse[i] == 0);
    }
    TEST(refused > 0);
    flow_opt_free(&o);
}

/* A NaN or an infinity in a gradient that reaches theta or a moment, or is cleared away. */
static void test_gradient_not_finite(void) {
    const flow_real bad[3] = {FLOWI_INFINITY, -FLOWI_INFINITY, FLOWI_INFINITY - FLOWI_INFINITY};
    int kind, at;
    for (kind = FLOW_SGD; kind <= FLOW_NATURAL; kind++)
        for (at = 0; at < COUNT; at++) {
            flow_real theta[COUNT] = {1, 2, 3, 4, 5}, grad[COUNT] = {1, 1, 1, 1, 1};
            flow_real before[COUNT];
            flow_opt o;
            TEST_ERR(flow_opt_init(&o, kind, FLOWI_R(0.1), COUNT), FLOW_OK);
            o.decay = FLOWI_R(0.1);
            TEST_ERR(flow_opt_step(&o, theta, grad), FLOW_OK);
            memcpy(before, theta, sizeof theta);
            grad[at] = bad[at % 3];
            grad[(at + 1) % COUNT] = 7;
            TEST_ERR(flow_opt_step(&o, theta, grad), FLOW_E_FINITE);
            TEST_NEAR_ALL(theta, before, COUNT, 0);
            TEST_NEAR(grad[(at + 1) % COUNT], 7, 0);
            TEST_EQ_INT(o.step, 1);
            if (kind == FLOW_NATURAL) continue_unchanged(&o, theta);
            else if (o.m) TEST_NEAR(o.m[at], kind == FLOW_ADAM ? 0.1 : 1, EPS);
            if (kind == FLOW_ADAM) TEST_NEAR(o.v[at], 0.001, EPS);
            flow_opt_free(&o);
        }
}

/* A leak; arrays that need not be there; no parameters at all; a kind that is none. */
static void test_memory(void) {
    flow_opt o;
    TEST_EVERY_ALLOC(flow_opt_init(&o, FLOW_MOMENTUM, 1, COUNT), flow_opt_free(&o));
    TEST_EVERY_ALLOC(flow_opt_init(&o, FLOW_ADAM, 1, COUNT), flow_opt_free(&o));
    TEST_EVERY_ALLOC(flow_opt_init(&o, FLOW_NATURAL, 1, COUNT), flow_opt_free(&o));
    TEST_ERR(flow_opt_init(&o, FLOW_NATURAL, 1, 0), FLOW_OK);
    TEST_ERR(flow_opt_step(&o, NULL, NULL), FLOW_OK);
    flow_opt_free(&o);
    test_alloc_fail_at(1);
    TEST_ERR(flow_opt_init(&o, FLOW_SGD, 1, COUNT), FLOW_OK);
    test_alloc_fail_at(0);
    TEST(o.m == NULL && o.v == NULL && o.inverse == NULL);
    TEST_ERR(flow_opt_init(&o, FLOW_ADAM, 1, 0), FLOW_OK);
    TEST_ERR(flow_opt_step(&o, NULL, NULL), FLOW_OK);
    flow_opt_free(&o);
    flow_opt_free(&o);
    TEST(o.memory == NULL && o.m == NULL);
    TEST_ASSERT_TRIPS(flow_opt_init(NULL, FLOW_ADAM, 1, 1));
    TEST_ASSERT_TRIPS(flow_opt_init(&o, FLOW_NATURAL + 1, 1, 1));
    TEST_ASSERT_TRIPS(flow_opt_init(&o, FLOW_SGD - 1, 1, 1));
    TEST_ASSERT_TRIPS(flow_opt_init(&o, FLOW_ADAM, 1, -1));
}

/* ---- schedules, clipping, averages ----------------------------------------------------------- */

/* A sine for the cosine, a period instead of half of one, an end missed by a step. */
static void test_schedule_cosine(void) {
    const double at[5] = {1, 0.85355339059327376, 0.5, 0.14644660940672624, 0};
    long step;
    for (step = 0; step <= 4; step++) TEST_NEAR(flow_schedule_cosine(step, 4), at[step], 4 * EPS);
    TEST_NEAR(flow_schedule_cosine(250, 1000), at[1], 4 * EPS);
    TEST_NEAR(flow_schedule_cosine(999, 1000), (1 - cos(8 * atan(1.0) / 2000)) / 2, 4 * EPS);
    TEST_NEAR(flow_schedule_cosine(-3, 4), 1, 0);
    TEST_NEAR(flow_schedule_cosine(0, 4), 1, 0);
    TEST_NEAR(flow_schedule_cosine(4, 4), 0, 0);
    TEST_NEAR(flow_schedule_cosine(9, 4), 0, 0);
    TEST_NEAR(flow_schedule_cosine(0, 0), 0, 0);
}

/* A first step of rate 0, which is wasted; a warm-up that is a step too long or too short. */
static void test_schedule_warmup(void) {
    const double at[6] = {0.25, 0.5, 0.75, 1, 1, 1};
    long step;
    for (step = 0; step < 6; step++) TEST_NEAR(flow_schedule_warmup(step, 4), at[step], 0);
    TEST_NEAR(flow_schedule_warmup(0, 1), 1, 0);
    TEST_NEAR(flow_schedule_warmup(0, 0), 1, 0);
}

/* Numbers clipped one by one, the norm after instead of before, a short gradient stretched. */
static void test_clip_norm(void) {
    const double clipped[4] = {0.75, -1, 0, 9};
    const flow_real most = sizeof(flow_real) == sizeof(double) ? (flow_real)1e200 : FLOWI_R(1e30);
    flow_real g[4] = {3, -4, 0, 9}, zero[3] = {0}, nan = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_real huge[3] = {3 * most, -4 * most, 1}, infinite[2] = {1, FLOWI_INFINITY}, scale, norm;
    int i;
    TEST_NEAR(flow_clip_norm(g, FLOWI_R(1.25), 3), 5, 8 * EPS);
    TEST_NEAR_ALL(g, clipped, 4, 8 * EPS);
    TEST_NEAR(flow_clip_norm(g, FLOWI_R(1.5), 3), 1.25, 8 * EPS);
    TEST_NEAR_ALL(g, clipped, 4, 8 * EPS);
    TEST_NEAR(flow_clip_norm(zero, 1, 3), 0, 0);
    TEST_NEAR_ALL(zero, zero, 3, 0);
    TEST_NEAR(flow_clip_norm(g, 1, 0), 0, 0);
    TEST(flow_clip_norm(&nan, 1, 1) != 1 && nan != nan); /* left for flow_opt_step to refuse */
    TEST_NEAR(flow_clip_norm(infinite, 1, 2), HUGE_VAL, 0);
    TEST(!flowi_all_finite(infinite, 2));
    TEST_NEAR(flow_clip_norm(huge, 10, 3) / most, 5, 50 * EPS); /* its squares overflow */
    TEST_NEAR(huge[0], 6, 100 * EPS);
    TEST_NEAR(huge[1], -8, 100 * EPS);
    for (i = -1; i < 2; i += 2) { /* squares that vanish, a norm that overflows itself */
        flow_real pair[2] = {3, -4};
        scale = i < 0 ? LEAST * 1000 : LARGEST / 4;
        pair[0] *= scale;
        pair[1] *= scale;
        norm = flow_clip_norm(pair, scale, 2);
        TEST_NEAR(norm / scale, i < 0 ? 5 : HUGE_VAL, 50 * EPS);
        TEST_NEAR(pair[0] / scale, 0.6, 50 * EPS);
        TEST_NEAR(pair[1] / scale, -0.8, 50 * EPS);
    }
    TEST_ASSERT_TRIPS((void)flow_clip_norm(g, 0, 3));
    TEST_ASSERT_TRIPS((void)flow_clip_norm(g, -1, 3));
}

/* decay and 1 - decay exchanged, or the average moved away from theta. */
static void test_ema(void) {
    const flow_real theta[2] = {8, -8};
    flow_real average[3] = {0, 4, 7};
    const double after_one[3] = {2, 1, 7}, after_two[3] = {3.5, -1.25, 7};
    flow_ema_update(average, theta, FLOWI_R(0.75), 2);
    TEST_NEAR_ALL(average, after_one, 3, 0);
    flow_ema_update(average, theta, FLOWI_R(0.75), 2);
    TEST_NEAR_ALL(average, after_two, 3, 0);
    flow_ema_update(average, theta, 1, 2);
    TEST_NEAR_ALL(average, after_two, 3, 0);
    flow_ema_update(average, theta, 0, 2);
    TEST_NEAR_ALL(average, theta, 2, 0);
}

int main(void) {
    test_section("steps");
    test_formulas();
    test_defaults();
    test_adam_first_step();
    test_adam_many();
    test_natural_scales();
    test_natural_overflow();
    test_natural_indefinite();
    test_decay_is_decoupled();
    test_gradient_not_finite();
    test_memory();
    test_section("schedules, clipping, averages");
    test_schedule_cosine();
    test_schedule_warmup();
    test_clip_norm();
    test_ema();
    return test_done();
}
