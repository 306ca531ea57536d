/* 09_ode_solvers.c - tests of section 9 of flow.h: Runge-Kutta tableaux, steps, solutions in equal
 * and in adaptive steps, and the reverse of a step. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

/* ---- tableaux ---------------------------------------------------------------------------------*/

#define STAGES 7 /* dopri5's seventh is the next step's first: a_7 = b, c_7 = 1 */
#define TREES 17

/* Coefficient a_ij, the row of b standing behind the others. */
static double row(const flow_tableau *b, int i, int j) {
    if (i > b->stages || j >= b->stages) return 0;
    return (double)(i < b->stages ? b->a[i][j] : b->b[j]);
}

/* out_i = sum_j a_ij in_j; out may be in, because a is strictly lower triangular */
static void times_a(const flow_tableau *b, double *out, const double *in) {
    int i, j;
    for (i = STAGES - 1; i >= 0; i--) {
        double sum = 0;
        for (j = 0; j < i; j++) sum += row(b, i, j) * in[j];
        out[i] = sum;
    }
}

static void times(double *out, const double *x, const double *y) {
    int i;
    for (i = 0; i < STAGES; i++) out[i] = x[i] * y[i];
}

/* The 17 rooted trees with at most 5 nodes [Hairer, Norsett and Wanner 1993, II.2]: their orders,
 * densities gamma, and elementary weights phi of every stage. */
static const int tree_order[TREES] = {1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5};
static const int tree_density[TREES] = {1,  2,  3,  6,  4,  8,  12, 24, 5,
                                        10, 15, 30, 20, 20, 40, 60, 120};

static void tree_weights(const flow_tableau *b, double phi[TREES][STAGES]) {
    double *c = phi[1];
    int i;
    for (i = 0; i < STAGES; i++) phi[0][i] = 1;
    times_a(b, c, phi[0]);
    times(phi[2], c, c), times_a(b, phi[3], c);
    times(phi[4], c, phi[2]), times(phi[5], c, phi[3]);
    times_a(b, phi[6], phi[2]), times_a(b, phi[7], phi[3]);
    for (i = 4; i < 8; i++) { /* each tree of 4 nodes on a new root, which is c or a */
        times(phi[i + 4], c, phi[i]);
        times_a(b, phi[i + 9], phi[i]);
    }
    times(phi[12], phi[3], phi[3]);
}

static double weighted(const double *phi, const flow_real *weight, int count) {
    double sum = 0;
    int i;
    for (i = 0; i < count; i++) sum += (double)weight[i] * phi[i];
    return sum;
}

/* A coefficient off: sum_i b_i phi_i = 1/gamma for each tree of the method's order or less. */
static void test_order_conditions(void) {
    double phi[TREES][STAGES];
    int method, k;
    for (method = 0; method < FLOW_ODE_COUNT; method++) {
        const flow_tableau *b = flow_ode_tableau(method);
        tree_weights(b, phi);
        for (k = 0; k < TREES && tree_order[k] <= b->order; k++)
            TEST_NEAR(weighted(phi[k], b->b, b->stages), 1.0 / tree_density[k], 20 * EPS);
    }
}

/* An error estimate that is not one: e = b - b^ with a b^ of order 4 says that sum_i e_i phi_i = 0
 * up to that order, which leaves only its size open. Only dopri5 has one. */
static void test_error_weights(void) {
    const flow_tableau *b = flow_ode_tableau(FLOW_DOPRI5);
    double phi[TREES][STAGES];
    int method, k;
    tree_weights(b, phi);
    for (k = 0; k < 8; k++) TEST_NEAR(weighted(phi[k], b->e, STAGES), 0, 20 * EPS);
    TEST(fabs(weighted(phi[8], b->e, STAGES)) > 1e-4);
    TEST_NEAR(b->e[6], -1.0 / 40, EPS);
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (k = 0; k < STAGES && method != FLOW_DOPRI5; k++) {
            TEST_NEAR(flow_ode_tableau(method)->e[k], 0, 0);
            TEST_NEAR(flow_ode_tableau(method)->d[k], 0, 0);
        }
}

/* A weight of the dense output off: with b_i(theta), the factor of h k_i in x(t + theta h),
 * sum_i b_i(theta) phi_i = theta^order/gamma for each tree of order 4 or less. */
static void test_dense_weights(void) {
    const flow_tableau *b = flow_ode_tableau(FLOW_DOPRI5);
    double phi[TREES][STAGES];
    int part, k, i;
    tree_weights(b, phi);
    for (part = 1; part < 4; part++)
        for (k = 0; k < 8; k++) {
            const double theta = part / 4.0, rest = 1 - theta;
            double sum = 0;
            for (i = 0; i < STAGES; i++) {
                const double y = row(b, 6, i), first = i == 0 ? 1 : 0, last = i == 6 ? 1 : 0;
                sum += phi[k][i] * theta *
                       (y + rest * (first - y +
                                    theta * (2 * y - first - last + rest * (double)b->d[i])));
            }
            TEST_NEAR(sum, pow(theta, tree_order[k]) / tree_density[k], 100 * EPS);
        }
}

/* A stage at another time than its point, c_i != sum_j a_ij; a stage that needs a later one; a
 * method under another's name or with a wrong count of stages. */
static void test_tableaux(void) {
    static const char *const names[] = {"euler", "midpoint", "heun", "rk4", "dopri5"};
    static const int orders[] = {1, 2, 2, 4, 5}, stages[] = {1, 2, 2, 4, 6};
    int method, i, j;
    TEST_EQ_INT(FLOW_ODE_COUNT, 5);
    for (method = 0; method < FLOW_ODE_COUNT; method++) {
        const flow_tableau *b = flow_ode_tableau(method);
        TEST(strcmp(b->name, names[method]) == 0);
        TEST_EQ_INT(b->order, orders[method]);
        TEST_EQ_INT(b->stages, stages[method]);
        for (i = 0; i < 6; i++) {
            double sum = 0;
            for (j = 0; j < i; j++) sum += (double)b->a[i][j];
            for (j = i; j < 6; j++) TEST_NEAR(b->a[i][j], 0, 0);
            TEST_NEAR(b->c[i], sum, 20 * EPS);
            if (i >= b->stages) TEST_NEAR(b->b[i], 0, 0);
        }
    }
    TEST_NEAR(flow_ode_tableau(FLOW_HEUN)->c[1], 1, 0); /* what tells the two of order 2 apart */
    TEST_NEAR(flow_ode_tableau(FLOW_MIDPOINT)->c[1], 0.5, 0);
    TEST_ASSERT_TRIPS((void)flow_ode_tableau(-1));
    TEST_ASSERT_TRIPS((void)flow_ode_tableau(FLOW_ODE_COUNT));
}

/* ---- one step -------------------------------------------------------------------------------- */

#define MOST 64

/* A coupled, nonlinear, nonautonomous system of any size n. */
typedef struct {
    int n;
    int calls;               /* so far */
    int bad_call;            /* the call, from 1, that fails; 0: none */
    int bad_code;            /* what it then returns; FLOW_OK: a NaN in dx instead */
    flow_real times[STAGES]; /* at which f was called */
} wheel;

static int wheel_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    wheel *w = (wheel *)ctx;
    int i;
    if (w->calls < STAGES) w->times[w->calls] = t;
    for (i = 0; i < w->n; i++) dx[i] = FLOWI_R(cos((double)t * (i + 1))) - x[i] * x[(i + 1) % w->n];
    if (++w->calls == w->bad_call && w->bad_code == FLOW_OK) {
        dx[w->n - 1] = FLOWI_INFINITY - FLOWI_INFINITY;
    } else if (w->calls == w->bad_call) {
        return w->bad_code;
    }
    return FLOW_OK;
}

static wheel wheel_of(int n) {
    wheel w;
    memset(&w, 0, sizeof w);
    w.n = n;
    return w;
}

/* k_i = f(x + h sum_j a_ij k_j, t + c_i h), x + h sum_i b_i k_i, in double, as it stands. */
static void twin_step(const flow_tableau *b, double *x, double t, double h, int n) {
    double k[STAGES][MOST], point[MOST];
    int i, j, l;
    for (i = 0; i <= b->stages; i++) {
        const flow_real *weight = i < b->stages ? b->a[i] : b->b;
        for (l = 0; l < n; l++) {
            point[l] = x[l];
            for (j = 0; j < i; j++) point[l] += h * (double)weight[j] * k[j][l];
        }
        for (l = 0; l < n && i < b->stages; l++)
            k[i][l] = cos((t + (double)b->c[i] * h) * (l + 1)) - point[l] * point[(l + 1) % n];
    }
    for (l = 0; l < n; l++) x[l] = point[l];
}

/* Stages mixed up between coordinates, h or its sign lost, evaluations not counted; a state
 * shorter than the solver's capacity. */
static void test_step_formula(void) {
    static const int sizes[3] = {1, 7, MOST};
    int method, i, l;
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (i = 0; i < 6; i++) {
            const int n = sizes[i / 2];
            const double t = 0.3, h = i % 2 ? -0.2 : 0.2;
            flow_rng rng = test_rng(1);
            wheel w = wheel_of(n);
            flow_ode s;
            flow_real x[MOST];
            double want[MOST];
            flow_normal_sample(&rng, x, n, 1);
            for (l = 0; l < n; l++) want[l] = (double)x[l];
            TEST_ERR(flow_ode_init(&s, method, i % 2 ? n : MOST), FLOW_OK);
            TEST_ERR(flow_ode_step(&s, wheel_rate, &w, x, (flow_real)t, (flow_real)h, n), FLOW_OK);
            twin_step(s.tableau, want, t, h, n);
            TEST_NEAR_ALL(x, want, n, 100 * EPS);
            for (l = 0; l < s.tableau->stages; l++)
                TEST_NEAR(w.times[l], t + (double)s.tableau->c[l] * h, 4 * EPS);
            TEST_EQ_INT(s.evals, s.tableau->stages);
            TEST_EQ_INT(w.calls, s.tableau->stages);
            flow_ode_free(&s);
        }
}

/* An error of f swallowed, a NaN that goes on unnoticed, an x half-way when a step has failed. */
static void test_step_errors(void) {
    int method, bad, code;
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (bad = 1; bad <= flow_ode_tableau(method)->stages; bad++)
            for (code = 0; code >= -99; code -= 99) {
                const flow_real start[2] = {1, 2};
                flow_real x[2] = {1, 2};
                wheel w = wheel_of(2);
                flow_ode s;
                w.bad_call = bad;
                w.bad_code = code;
                TEST_ERR(flow_ode_init(&s, method, 2), FLOW_OK);
                TEST_ERR(flow_ode_step(&s, wheel_rate, &w, x, 0, FLOWI_R(0.1), 2),
                         code ? code : FLOW_E_FINITE);
                TEST_NEAR_ALL(x, start, 2, 0);
                TEST_EQ_INT(s.evals, code ? bad : s.tableau->stages);
                flow_ode_free(&s);
            }
}

/* ---- solutions ------------------------------------------------------------------------------- */

/* x0' = -2 t x0^2 x1/e^(sin t), x1' = x1 cos t + x0 - 1/(1 + t^2): coupled, nonlinear and
 * nonautonomous, solved by x0 = 1/(1 + t^2), x1 = e^(sin t). */
static int known_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    const double s = (double)t, x0 = (double)x[0], x1 = (double)x[1];
    (void)ctx;
    dx[0] = FLOWI_R(-2 * s * x0 * x0 * x1 / exp(sin(s)));
    dx[1] = FLOWI_R(x1 * cos(s) + x0 - 1 / (1 + s * s));
    return FLOW_OK;
}

static void known_solution(flow_real *x, double t) {
    x[0] = FLOWI_R(1 / (1 + t * t));
    x[1] = FLOWI_R(exp(sin(t)));
}

/* The error at t1 of a solution that starts exactly at t0. */
static double solution_error(int method, double t0, double t1, int steps) {
    flow_real x[2], want[2];
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, method, 2), FLOW_OK);
    known_solution(x, t0);
    known_solution(want, t1);
    TEST_ERR(flow_ode_solve(&s, known_rate, NULL, x, (flow_real)t0, (flow_real)t1, steps, 2),
             FLOW_OK);
    TEST_EQ_INT(s.evals, steps * s.tableau->stages);
    flow_ode_free(&s);
    return hypot((double)x[0] - (double)want[0], (double)x[1] - (double)want[1]);
}

/* A method of lower order than it says, in either direction of time: halving the step divides the
 * error by 2^order. In float only orders 1 and 2 stand out of the rounding. */
static void test_orders(void) {
    static const double times[2][2] = {{0, 1}, {1, 0}};
    int method, back;
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (back = 0; back < 2; back++) {
            const double t0 = times[back][0], t1 = times[back][1];
            const int order = flow_ode_tableau(method)->order, steps = order < 4 ? 256 : 32;
            const double coarse = solution_error(method, t0, t1, steps);
            const double fine = solution_error(method, t0, t1, 2 * steps);
            TEST(fine < 2 * pow(2 * steps, -order) + 100 * EPS);
            if (EPS < 1e-10 || order == 1) TEST_NEAR(log2(coarse / fine), order, 0.1);
        }
}

/* Steps that do not add up to the interval: for dx/dt = cos t the errors of the quadrature rules
 * are known, and h, the number of steps and the times of each must be right. */
static int cosine_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    flow_real *last = (flow_real *)ctx;
    (void)x;
    *last = t;
    *dx = FLOWI_R(cos((double)t));
    return FLOW_OK;
}

static void test_steps_tile_the_interval(void) {
    int back, k;
    for (back = 0; back < 2; back++) {
        const double t0 = back ? 2 : -1, t1 = back ? -1 : 2, h = (t1 - t0) / 7;
        double left = 0, middle = 0;
        flow_real x, last = 0;
        flow_ode s;
        for (k = 0; k < 7; k++) left += h * cos(t0 + h * k);
        for (k = 0; k < 7; k++) middle += h * cos(t0 + h * (k + 0.5));
        x = 0;
        TEST_ERR(flow_ode_init(&s, FLOW_EULER, 1), FLOW_OK);
        TEST_ERR(flow_ode_solve(&s, cosine_rate, &last, &x, (flow_real)t0, (flow_real)t1, 7, 1),
                 FLOW_OK);
        TEST_NEAR(x, left, 20 * EPS);
        TEST_NEAR(last, t1 - h, 4 * EPS);
        flow_ode_free(&s);
        x = 0;
        TEST_ERR(flow_ode_init(&s, FLOW_MIDPOINT, 1), FLOW_OK);
        TEST_ERR(flow_ode_solve(&s, cosine_rate, &last, &x, (flow_real)t0, (flow_real)t1, 7, 1),
                 FLOW_OK);
        TEST_NEAR(x, middle, 20 * EPS);
        flow_ode_free(&s);
    }
}

/* dx/dt = sqrt(t (1 - t)) exists on [0, 1] only. */
static int within_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    (void)ctx;
    (void)x;
    *dx = FLOWI_R(sqrt((double)t * (1 - (double)t)));
    return FLOW_OK;
}

/* A last stage that rounding puts beyond the end, or beside it. */
static void test_no_stage_lies_beyond(void) {
    int method, steps, back;
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (steps = 1; steps <= 200; steps++)
            for (back = 0; back < 2; back++) {
                flow_real x = 0;
                flow_ode s;
                TEST_ERR(flow_ode_init(&s, method, 1), FLOW_OK);
                TEST_ERR(flow_ode_solve(&s, within_rate, NULL, &x, FLOWI_R(back), FLOWI_R(1 - back),
                                        steps, 1),
                         FLOW_OK);
                if (steps > 100) TEST_NEAR(x, (back ? -1 : 1) * 0.39269908169872414, 1e-3);
                flow_ode_free(&s);
            }
}

/* dx/dt = t, refused outside an interval. */
static int fenced_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    const flow_real *fence = (const flow_real *)ctx;
    (void)x;
    *dx = t;
    return t < fence[0] || t > fence[1] ? FLOW_E_UNKNOWN : FLOW_OK;
}

/* The same between other times, of which t0 + (t1 - t0) can round to beyond t1. */
static void test_no_stage_lies_beyond_by_rounding(void) {
    int i, j, steps;
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 1), FLOW_OK);
    for (i = -30; i <= 30; i++)
        for (j = -30; j <= 30; j++) {
            const flow_real t0 = FLOWI_R(i / 10.0), t1 = FLOWI_R(j / 10.0);
            const double want = ((double)t1 * (double)t1 - (double)t0 * (double)t0) / 2;
            flow_real x = 0, fence[2];
            fence[0] = t0 < t1 ? t0 : t1;
            fence[1] = t0 < t1 ? t1 : t0;
            for (steps = 1; steps <= 3; steps++, x = 0) {
                TEST_ERR(flow_ode_solve(&s, fenced_rate, fence, &x, t0, t1, steps, 1), FLOW_OK);
                TEST_NEAR(x, want, 100 * EPS);
            }
            TEST_ERR(flow_ode_adapt(&s, fenced_rate, fence, &x, t0, t1, 1, NULL, NULL, 0), FLOW_OK);
            TEST_NEAR(x, want, 100 * EPS);
        }
    flow_ode_free(&s);
}

/* A failure in the fourth step that undoes the three good ones, or keeps part of the fourth. */
static void test_solve_stops_at_last_good_step(void) {
    int code;
    for (code = 0; code >= -99; code -= 99) {
        flow_real x[2] = {1, 2}, want[2] = {1, 2};
        wheel good = wheel_of(2), bad = wheel_of(2);
        flow_ode s;
        bad.bad_call = 3 * 4 + 2;
        bad.bad_code = code;
        TEST_ERR(flow_ode_init(&s, FLOW_RK4, 2), FLOW_OK);
        TEST_ERR(flow_ode_solve(&s, wheel_rate, &bad, x, 0, 1, 8, 2), code ? code : FLOW_E_FINITE);
        TEST_ERR(flow_ode_solve(&s, wheel_rate, &good, want, 0, FLOWI_R(0.375), 3, 2), FLOW_OK);
        TEST_NEAR_ALL(x, want, 2, 20 * EPS);
        flow_ode_free(&s);
    }
}

/* No steps, no time, no state, or numbers that are not finite. */
static void test_solve_edges(void) {
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY, start[2] = {1, 2};
    flow_real x[2] = {1, 2}, lost[2] = {0, 0};
    wheel w = wheel_of(2);
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_HEUN, 2), FLOW_OK);
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, 0, 1, 0, 2), FLOW_E_EMPTY);
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, 0, 1, -1, 2), FLOW_E_EMPTY);
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, 3, 3, 0, 2), FLOW_E_EMPTY);
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, 3, 3, 5, 2), FLOW_OK);
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, nan, 1, 5, 2), FLOW_E_FINITE);
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, 0, FLOWI_INFINITY, 5, 2), FLOW_E_FINITE);
    TEST_NEAR_ALL(x, start, 2, 0);
    lost[1] = nan;
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, lost, 0, 1, 5, 2), FLOW_E_FINITE);
    TEST_EQ_INT(w.calls, 0);
    TEST_EQ_INT(s.evals, 0);
    w.n = 0;
    TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, 0, 1, 1, 0), FLOW_OK);
    TEST_NEAR_ALL(x, start, 2, 0);
    flow_ode_free(&s);
}

/* A positive return value taken for an error. */
static int cheerful_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    (void)ctx, (void)x, (void)t;
    *dx = 1;
    return 1;
}

static void test_only_negative_is_an_error(void) {
    flow_real x = 0;
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 1), FLOW_OK);
    TEST_ERR(flow_ode_solve(&s, cheerful_rate, NULL, &x, 0, 1, 2, 1), FLOW_OK);
    TEST_NEAR(x, 1, 8 * EPS);
    flow_ode_free(&s);
}

/* ---- adaptive steps -------------------------------------------------------------------------- */

/* The error of an adaptive solution of the known system; *evals as counted. */
static double adaptive_error(double t0, double t1, double tol, long *evals) {
    flow_real x[2], want[2];
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
    s.atol = s.rtol = (flow_real)tol;
    known_solution(x, t0);
    known_solution(want, t1);
    TEST_ERR(
        flow_ode_adapt(&s, known_rate, NULL, x, (flow_real)t0, (flow_real)t1, 2, NULL, NULL, 0),
        FLOW_OK);
    *evals = s.evals;
    TEST_EQ_INT(s.evals, 1 + 6 * (s.accepted + s.rejected));
    flow_ode_free(&s);
    return hypot((double)x[0] - (double)want[0], (double)x[1] - (double)want[1]);
}

/* An error that does not follow the tolerance, in either direction of time, or steps that do not
 * follow it by its fifth root: 10^5 times as exact in 10 times as many. */
static void test_adapt_accuracy(void) {
    long coarse, fine;
    int back;
    for (back = 0; back < 2; back++) {
        const double t0 = back ? 3 : -1, t1 = back ? -1 : 3;
        if (EPS > 1e-10) {
            TEST(adaptive_error(t0, t1, 1e-4, &coarse) < 1e-2);
        } else {
            TEST(adaptive_error(t0, t1, 1e-5, &coarse) < 1e-3);
            TEST(adaptive_error(t0, t1, 1e-10, &fine) < 1e-8);
            TEST(fine > 6 * coarse && fine < 12 * coarse);
        }
    }
}

/* Every call of a rate, as it was: a slow wave, which at t = 3 begins to climb steeply. */
#define CALLS 2000
typedef struct {
    int count;
    double t[CALLS], x[CALLS][2], k[CALLS][2];
} record;

static int recorded_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    record *r = (record *)ctx;
    const double s = (double)t;
    int i;
    dx[0] = FLOWI_R(sin(s) + 40 / (1 + exp((3 - s) / 0.02)));
    dx[1] = -x[1] / 4;
    if (r->count == CALLS) return -99;
    r->t[r->count] = s;
    for (i = 0; i < 2; i++) {
        r->x[r->count][i] = (double)x[i];
        r->k[r->count][i] = (double)dx[i];
    }
    r->count++;
    return FLOW_OK;
}

/* The error of the try whose calls are number at ... at + 5, its first stage being call `first`:
 * the root of the mean square of h sum_j e_j k_j over atol + rtol max(|x before|, |x after|). */
static double recorded_error(const record *r, const flow_ode *s, int first, int at, double h) {
    double sum = 0;
    int i, j;
    for (i = 0; i < 2; i++) {
        const double before = fabs(r->x[first][i]), after = fabs(r->x[at + 5][i]);
        double e = (double)s->tableau->e[0] * r->k[first][i];
        for (j = 1; j < STAGES; j++) e += (double)s->tableau->e[j] * r->k[at + j - 1][i];
        sum += pow(h * e / ((double)s->atol + (double)s->rtol * fmax(before, after)), 2);
    }
    return sqrt(sum / 2);
}

/* A step accepted that should not be, or the other way round; a next step of another length than
 * 0.9 error^(-1/5) of this one, between 0.2 and 5 and, after a refusal, at most 1. All this can be
 * read off the times and values of the calls. */
static void check_recorded_tries(const record *r, const flow_ode *s, double t1, int *clamped) {
    const double loose = EPS < 1e-10 ? 1e-6 : 3e-2;
    int at, first = 0, refused = 0, accepted = 0, rejected = 0;
    for (at = 1; at + 5 < r->count; at += 6) {
        const double t = r->t[first], h = r->t[at + 5] - t;
        const double error = recorded_error(r, s, first, at, h);
        double factor = fmin(5, fmax(0.2, 0.9 * pow(error, -0.2)));
        const int good = error <= 1, last = at + 6 >= r->count;
        clamped[0] += factor < 0.2000001;
        clamped[1] += factor > 4.99999;
        if (good && refused) factor = fmin(factor, 1);
        accepted += good, rejected += !good, refused = !good;
        if (good) first = at + 5;
        TEST_NEAR(r->t[at], t + h / 5, 24 * EPS);
        if (last || fabs(r->t[at + 11] - t1) < 24 * EPS) continue; /* cut short by the end */
        TEST_NEAR((r->t[at + 11] - r->t[first]) / h, factor, loose * factor);
    }
    TEST_EQ_INT(s->accepted, accepted);
    TEST_EQ_INT(s->rejected, rejected);
    TEST(accepted > 5 && rejected > 0);
    TEST_NEAR(r->t[r->count - 1], t1, 24 * EPS);
}

static void test_adapt_tries(void) {
    static record r;
    int k, clamped[2] = {0, 0};
    for (k = 0; k < 24; k++) {
        const double tol = (EPS < 1e-10 ? 1e-8 : 1e-5) * pow(EPS < 1e-10 ? 2 : 1.3, k / 2);
        const flow_real t0 = k % 2 ? 6 : 0, t1 = k % 2 ? 0 : 6;
        flow_real x[3] = {FLOWI_R(0.5), 1, 0};
        flow_ode s;
        r.count = 0;
        TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 3), FLOW_OK);
        s.atol = (flow_real)tol, s.rtol = (flow_real)(3 * tol);
        TEST_ERR(flow_ode_adapt(&s, recorded_rate, &r, x, t0, t1, 2, NULL, NULL, 0), FLOW_OK);
        TEST_EQ_INT(s.evals, r.count);
        check_recorded_tries(&r, &s, (double)t1, clamped);
        flow_ode_free(&s);
    }
    TEST(clamped[1] > 0);
    TEST(clamped[0] > 0 || EPS > 1e-10); /* the tolerance for float is too loose for that */
}

/* dx/dt = speed, up to the time of an end beyond which it is a NaN. */
typedef struct {
    flow_real speed[2], t, end;
    int n;
} cart;

static int cart_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    cart *c = (cart *)ctx;
    const int beyond = c->end > 0 ? t > c->end : t < -c->end;
    int i;
    (void)x;
    c->t = t;
    for (i = 0; i < c->n; i++) dx[i] = beyond ? FLOWI_INFINITY - FLOWI_INFINITY : c->speed[i];
    return FLOW_OK;
}

static cart cart_of(double speed0, double speed1) {
    cart c;
    c.speed[0] = (flow_real)speed0, c.speed[1] = (flow_real)speed1;
    c.end = FLOWI_R(1e30), c.t = 0, c.n = 2;
    return c;
}

/* The length of the first step from t = 0 and (x0, x1): no second one is allowed. */
static double first_step(double x0, double x1, double speed0, double speed1, double t1) {
    flow_real x[2];
    cart c = cart_of(speed0, speed1);
    flow_ode s;
    int err;
    x[0] = (flow_real)x0, x[1] = (flow_real)x1;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
    s.atol = FLOWI_R(1e-4), s.rtol = FLOWI_R(1e-3), s.most = 1, s.least = FLOWI_R(1e-30);
    err = flow_ode_adapt(&s, cart_rate, &c, x, 0, (flow_real)t1, 2, NULL, NULL, 0);
    TEST_ERR(err, fabs((double)c.t) < fabs(t1) ? FLOW_E_CONVERGE : FLOW_OK);
    TEST(s.accepted == 1 && s.evals == 7);
    flow_ode_free(&s);
    return (double)c.t;
}

/* A first step out of proportion: it moves x by a hundredth of x, both in the norm of the error,
 * where x = (2, 0) is (2/0.0021, 0) and a speed of (1, 0.06) is (1/0.0021, 600); from nearly
 * nothing or with nearly no speed, below 1e-5 in that norm, it is a millionth of the way. It never
 * goes beyond the end. */
static void test_adapt_first_step(void) {
    const double d0 = 2 / 0.0021, d1 = sqrt(pow(1 / 0.0021, 2) + pow(0.06 / 0.0001, 2));
    TEST_NEAR(first_step(2, 0, 1, 0.06, 9), d0 / d1 / 100, 10 * EPS);
    TEST_NEAR(first_step(-2, 0, 1, -0.06, -9), -d0 / d1 / 100, 10 * EPS);
    TEST_NEAR(first_step(2, -2, 0.5, 0.5, 9), 0.04, 10 * EPS);
    TEST_NEAR(first_step(0, 0, 0.5, 0.5, 9), 9e-6, 1e-5 * EPS);
    TEST_NEAR(first_step(0.95e-9, 0.95e-9, 1, 1, 9), 9e-6, 1e-5 * EPS);
    TEST_NEAR(first_step(1.05e-9, 1.05e-9, 1, 1, 9), 1.05e-11, 1e-10 * EPS);
    TEST_NEAR(first_step(2, 2, 2e-8, 2e-8, 9), 9e-6, 1e-5 * EPS);
    TEST_NEAR(first_step(2, 2, 2.2e-8, 2.2e-8, 9), 9, 0);
    TEST_NEAR(first_step(2, 2, 0.5, 0.5, 0.03125), 0.03125, 0);
}

/* The number of tries made by a first step of `first` times least, all of which fail, each a fifth
 * of the last. */
static long tries_above(double first, double least, int given, int back) {
    flow_real x[2] = {2, 2};
    cart c = cart_of(0, 0);
    flow_ode s;
    long tries;
    c.speed[0] = c.speed[1] = (flow_real)(0.02 / (first * least));
    c.end = back ? -2 : 1;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
    if (given) s.least = (flow_real)least;
    TEST_ERR(flow_ode_adapt(&s, cart_rate, &c, x, back ? 2 : 1, back ? 1 : 2, 2, NULL, NULL, 0),
             FLOW_E_FINITE);
    tries = s.rejected;
    TEST(s.accepted == 0 && s.evals == 1 + 6 * tries);
    flow_ode_free(&s);
    return tries;
}

/* Steps shorter than the least, or a least that is not 16 eps times the larger end's size. */
static void test_adapt_least_step(void) {
    int back;
    for (back = 0; back < 2; back++) {
        TEST_EQ_INT(tries_above(4.9, 32 * EPS, 0, back), 1);
        TEST_EQ_INT(tries_above(5.1, 32 * EPS, 0, back), 2);
        TEST_EQ_INT(tries_above(4.9, 1e-3, 1, back), 1);
        TEST_EQ_INT(tries_above(5.1, 1e-3, 1, back), 2);
        TEST_EQ_INT(tries_above(26, 1e-3, 1, back), 3);
    }
}

/* A wave that becomes ever faster. */
static int chirp_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    record *r = (record *)ctx;
    (void)x;
    if (r->count == CALLS) return -99;
    r->t[r->count++] = (double)t;
    *dx = FLOWI_R(cos((double)t * (double)t * (double)t));
    return FLOW_OK;
}

/* A step that has become too short, tried nevertheless: accepted ones are followed by the least,
 * and where that will not do it ends. */
static void test_adapt_keeps_to_least(void) {
    static record r;
    flow_real x = 0;
    flow_ode s;
    double shortest = 9;
    int at;
    r.count = 0;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 1), FLOW_OK);
    s.least = FLOWI_R(0.0625), s.atol = s.rtol = FLOWI_R(1e-4);
    TEST_ERR(flow_ode_adapt(&s, chirp_rate, &r, &x, 1, 20, 1, NULL, NULL, 0), FLOW_E_CONVERGE);
    for (at = 1; at + 5 < r.count; at += 6) /* from the time at h/5 to that at h */
        shortest = fmin(shortest, (r.t[at + 5] - r.t[at]) * 1.25);
    TEST_NEAR(shortest, 0.0625, 100 * EPS);
    flow_ode_free(&s);
}

/* A step that does not grow where there is no error at all: a millionth of the way, five times as
 * much, ... is all of it after ten. */
static void test_adapt_no_error(void) {
    flow_real x[2] = {1, 1};
    cart c = cart_of(0, 0);
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
    TEST_ERR(flow_ode_adapt(&s, cart_rate, &c, x, 0, 3, 2, NULL, NULL, 0), FLOW_OK);
    TEST_EQ_INT(s.accepted, 10);
    TEST_EQ_INT(s.rejected, 0);
    flow_ode_free(&s);
}

/* Values at given times that belong to another time or to an end of the step. */
static void test_adapt_dense_output(void) {
    enum { MANY = 1025 }; /* several a step */
    const double tol = EPS < 1e-10 ? 1e-9 : 1e-4;
    int back, i, m;
    for (back = 0; back < 2; back++) {
        const flow_real t0 = back ? 2 : -1, t1 = back ? -1 : 2;
        flow_real x[2], want[2];
        static flow_real out[MANY * 2 + 1], times[MANY];
        flow_ode s;
        for (m = MANY, i = 0; i < m; i++) times[i] = t0 + (t1 - t0) * (flow_real)i / (MANY - 1);
        known_solution(x, (double)t0);
        out[MANY * 2] = 7;
        TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
        s.atol = s.rtol = (flow_real)tol;
        TEST_ERR(flow_ode_adapt(&s, known_rate, NULL, x, t0, t1, 2, out, times, m), FLOW_OK);
        for (i = 0; i < m; i++) {
            known_solution(want, (double)times[i]);
            TEST_NEAR_ALL(out + 2 * i, want, 2, 300 * tol);
        }
        known_solution(want, (double)t0);
        TEST_NEAR_ALL(out, want, 2, 0);
        TEST_NEAR_ALL(out + 2 * (MANY - 1), x, 2, 4 * EPS);
        TEST(out[MANY * 2] == 7);
        flow_ode_free(&s);
    }
}

/* t + (t1 - t) may round to just before t1: the last time must not be left out for that. */
static void test_adapt_last_time(void) {
    int i;
    for (i = 0; i < 200; i++) {
        const flow_real t0 = FLOWI_R(-0.01) * (flow_real)i, t1 = FLOWI_R(0.7) + (flow_real)i / 97;
        flow_real x[2], out[2] = {7, 7};
        flow_ode s;
        known_solution(x, (double)t0);
        TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
        s.atol = s.rtol = FLOWI_R(0.01);
        TEST_ERR(flow_ode_adapt(&s, known_rate, NULL, x, t0, t1, 2, out, &t1, 1), FLOW_OK);
        TEST_NEAR_ALL(out, x, 2, 8 * EPS);
        flow_ode_free(&s);
    }
}

/* No time to go: nothing is evaluated, and every output is x. */
static void test_adapt_edges(void) {
    const flow_real nan = FLOWI_INFINITY - FLOWI_INFINITY, start[2] = {1, 2}, times[2] = {3, 3};
    flow_real x[2] = {1, 2}, lost[2] = {0, 0}, out[5] = {7, 7, 7, 7, 7};
    wheel w = wheel_of(2);
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
    TEST_NEAR(s.atol, EPS < 1e-10 ? 1e-6 : 1e-4, EPS);
    TEST_NEAR(s.rtol, s.atol, 0);
    TEST(s.least == 0 && s.most == 100000);
    TEST_ERR(flow_ode_adapt(&s, wheel_rate, &w, x, 3, 3, 2, out, times, 2), FLOW_OK);
    TEST(out[0] == 1 && out[1] == 2 && out[2] == 1 && out[3] == 2 && out[4] == 7);
    TEST_ERR(flow_ode_adapt(&s, wheel_rate, &w, x, nan, 1, 2, NULL, NULL, 0), FLOW_E_FINITE);
    TEST_ERR(flow_ode_adapt(&s, wheel_rate, &w, x, 0, FLOWI_INFINITY, 2, NULL, NULL, 0),
             FLOW_E_FINITE);
    lost[1] = nan;
    TEST_ERR(flow_ode_adapt(&s, wheel_rate, &w, lost, 0, 1, 2, NULL, NULL, 0), FLOW_E_FINITE);
    TEST_NEAR_ALL(x, start, 2, 0);
    TEST_EQ_INT(w.calls, 0);
    w.n = 0;
    TEST_ERR(flow_ode_adapt(&s, wheel_rate, &w, x, 0, 1, 0, NULL, NULL, 0), FLOW_OK);
    TEST_ASSERT_TRIPS(flow_ode_adapt(&s, wheel_rate, &w, x, 0, 1, 3, NULL, NULL, 0));
    TEST_ASSERT_TRIPS(flow_ode_adapt(&s, wheel_rate, &w, x, 0, 1, -1, NULL, NULL, 0));
    flow_ode_free(&s);
    TEST_ERR(flow_ode_init(&s, FLOW_RK4, 2), FLOW_OK);
    TEST_ASSERT_TRIPS(flow_ode_adapt(&s, wheel_rate, &w, x, 0, 1, 2, NULL, NULL, 0));
    flow_ode_free(&s);
}

/* An error code of f, whichever call it comes from, that does not come out, or an x that is not
 * that of the last good step. */
static void test_adapt_field_errors(void) {
    int bad;
    for (bad = 1; bad <= 25; bad++) {
        flow_real x[2] = {1, 2}, want[2] = {1, 2};
        wheel w = wheel_of(2), good = wheel_of(2);
        flow_ode s;
        w.bad_call = bad;
        w.bad_code = -99;
        TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
        TEST_ERR(flow_ode_adapt(&s, wheel_rate, &w, x, 0, 2, 2, NULL, NULL, 0), -99);
        TEST_EQ_INT(s.evals, bad);
        s.most = bad < 2 ? 0 : (bad - 2) / 6;
        TEST_ERR(flow_ode_adapt(&s, wheel_rate, &good, want, 0, 2, 2, NULL, NULL, 0),
                 FLOW_E_CONVERGE);
        TEST_NEAR_ALL(x, want, 2, 0);
        flow_ode_free(&s);
    }
}

/* x' = x^2 from x = 1, which is infinite at t = 1; x' = 1 - x, unknown (a NaN) above a wall. */
static int explosion(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    (void)ctx, (void)t;
    *dx = *x * *x;
    return FLOW_OK;
}

static int walled_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    (void)t;
    *dx = *x < *(const flow_real *)ctx ? 10 * (1 - *x) : FLOWI_INFINITY - FLOWI_INFINITY;
    return FLOW_OK;
}

/* dx/dt = 1 in units of *ctx. */
static int steady_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    (void)x;
    (void)t;
    *dx = *(const flow_real *)ctx;
    return FLOW_OK;
}

/* An infinite point, beside which no error is large, accepted. */
static void test_adapt_overflow(void) {
    flow_real most = sizeof(flow_real) == sizeof(double) ? (flow_real)1e308 : FLOWI_R(2e38);
    flow_real x = most;
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 1), FLOW_OK);
    TEST_ERR(flow_ode_adapt(&s, steady_rate, &most, &x, 0, 1, 1, NULL, NULL, 0), FLOW_E_FINITE);
    TEST(x >= most && x - x == 0);
    flow_ode_free(&s);
}

/* dx/dt = 1, and from t = 1 on 1000: steps that have grown are too long at once. */
static int jump_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    (void)ctx;
    (void)x;
    *dx = t < 1 ? 1 : 1000;
    return FLOW_OK;
}

/* Rejected tries that do not count among the most that there may be. */
static void test_adapt_most(void) {
    flow_real x = 0;
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 1), FLOW_OK);
    s.most = 12;
    TEST_ERR(flow_ode_adapt(&s, jump_rate, NULL, &x, 0, 10, 1, NULL, NULL, 0), FLOW_E_CONVERGE);
    TEST(s.rejected > 0);
    TEST_EQ_INT(s.accepted + s.rejected, 12);
    flow_ode_free(&s);
}

/* A singularity run into for ever; a NaN in a mere try that ends the solution, or one at the start
 * that does not. */
static void test_adapt_failures(void) {
    flow_real x = 1, wall = FLOWI_R(1.01);
    flow_ode s;
    int err;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 1), FLOW_OK);
    err = flow_ode_adapt(&s, explosion, NULL, &x, 0, 2, 1, NULL, NULL, 0);
    TEST(err == FLOW_E_CONVERGE || err == FLOW_E_FINITE);
    TEST(x > 100 && x - x == 0);
    x = 1, s.rejected = 0; /* also where both times are negative it ends by a step too short */
    TEST(flow_ode_adapt(&s, explosion, NULL, &x, -2, FLOWI_R(-0.5), 1, NULL, NULL, 0) < 0);
    TEST(s.rejected < 1000);
    x = 1, s.least = FLOWI_R(0.01);
    TEST_ERR(flow_ode_adapt(&s, explosion, NULL, &x, 0, 2, 1, NULL, NULL, 0), FLOW_E_CONVERGE);
    TEST(x > 2 && x < 200);
    x = 1, s.least = 0, s.most = 3;
    TEST_ERR(flow_ode_adapt(&s, explosion, NULL, &x, 0, 2, 1, NULL, NULL, 0), FLOW_E_CONVERGE);
    TEST(x > 1 && x < 2);
    x = FLOWI_R(0.9), s.most = 1000;
    TEST_ERR(flow_ode_adapt(&s, walled_rate, &wall, &x, 0, 50, 1, NULL, NULL, 0), FLOW_OK);
    TEST_NEAR(x, 1, 1e-3);
    x = FLOWI_R(1.02), s.evals = 0;
    TEST_ERR(flow_ode_adapt(&s, walled_rate, &wall, &x, 0, 1, 1, NULL, NULL, 0), FLOW_E_FINITE);
    TEST_EQ_INT(s.evals, 1);
    wall = x = FLOWI_R(0.9), x -= FLOWI_R(0.1);
    TEST_ERR(flow_ode_adapt(&s, walled_rate, &wall, &x, 0, 1, 1, NULL, NULL, 0), FLOW_E_FINITE);
    TEST(x > FLOWI_R(0.85) && x < FLOWI_R(0.9));
    flow_ode_free(&s);
}

/* Of ctx numbers the first explodes, the others stay. */
static int lone_explosion(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    int i;
    for (i = 1; i < *(const int *)ctx; i++) dx[i] = 0;
    return explosion(NULL, dx, x, t);
}

/* Without atol, a number that stays 0 has an error of 0/0; a tolerance that nothing reaches is no
 * infinity; over a short time the product of two times underflows. */
static void test_adapt_extremes(void) {
    const flow_real tiny = EPS < 1e-10 ? FLOWI_R(1e-200) : FLOWI_R(1e-30);
    flow_real x[2] = {1, 0}, out[2] = {0, 0}, times[2], one = 1;
    int two = 2;
    flow_ode s;
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 2), FLOW_OK);
    s.atol = 0;
    TEST_ERR(flow_ode_adapt(&s, lone_explosion, &two, x, 0, FLOWI_R(0.5), 2, NULL, NULL, 0),
             FLOW_OK);
    TEST_NEAR(x[0], 2, EPS < 1e-10 ? 1e-4 : 1e-2);
    TEST_NEAR(x[1], 0, 0);
    x[0] = 1, s.atol = tiny, s.rtol = 0;
    TEST_ERR(flow_ode_adapt(&s, explosion, NULL, x, 0, FLOWI_R(0.5), 1, NULL, NULL, 0),
             FLOW_E_CONVERGE);
    flow_ode_free(&s);
    TEST_ERR(flow_ode_init(&s, FLOW_DOPRI5, 1), FLOW_OK);
    x[0] = 0, times[0] = 2 * tiny, times[1] = 4 * tiny;
    TEST_ERR(flow_ode_adapt(&s, steady_rate, &one, x, 0, 4 * tiny, 1, out, times, 2), FLOW_OK);
    TEST_NEAR(out[0] / tiny, 2, 50 * EPS);
    TEST_NEAR(out[1] / tiny, 4, 50 * EPS);
    flow_ode_free(&s);
}

/* ---- the reverse of a step ------------------------------------------------------------------- */

#define SIZE 5

/* dx_i = theta_0 cos(t (i+1)) - theta_1 x_i x_(i+1), its reverse, and a loss: lambda'(x after). */
typedef struct {
    flow_real theta[2], dtheta[2], lambda[SIZE], x[SIZE];
    flow_real t, h;
    flow_ode s;
    int calls, bad_call; /* of vjp */
} mill;

static int mill_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    const mill *m = (const mill *)ctx;
    int i;
    for (i = 0; i < SIZE; i++)
        dx[i] = m->theta[0] * FLOWI_R(cos((double)t * (i + 1))) -
                m->theta[1] * x[i] * x[(i + 1) % SIZE];
    return FLOW_OK;
}

static int mill_vjp(void *ctx, flow_real *wx, const flow_real *w, const flow_real *x, flow_real t) {
    mill *m = (mill *)ctx;
    int i;
    if (++m->calls == m->bad_call) return -99;
    for (i = 0; i < SIZE; i++) {
        const int next = (i + 1) % SIZE, before = (i + SIZE - 1) % SIZE;
        wx[i] = -m->theta[1] * (w[i] * x[next] + w[before] * x[before]);
        m->dtheta[0] += w[i] * FLOWI_R(cos((double)t * (i + 1)));
        m->dtheta[1] -= w[i] * x[i] * x[next];
    }
    return FLOW_OK;
}

static double mill_loss(void *ctx) {
    mill *m = (mill *)ctx;
    flow_real x[SIZE];
    double loss = 0;
    int i;
    memcpy(x, m->x, sizeof x);
    TEST_ERR(flow_ode_step(&m->s, mill_rate, m, x, m->t, m->h, SIZE), FLOW_OK);
    for (i = 0; i < SIZE; i++) loss += (double)m->lambda[i] * (double)x[i];
    return loss;
}

static void mill_init(mill *m, int method, int back) {
    flow_rng rng = test_rng(2);
    memset(m, 0, sizeof *m);
    flow_normal_sample(&rng, m->lambda, SIZE, 1);
    flow_normal_sample(&rng, m->x, SIZE, 1);
    m->theta[0] = FLOWI_R(0.7), m->theta[1] = FLOWI_R(1.3);
    m->t = FLOWI_R(0.3), m->h = back ? FLOWI_R(-0.25) : FLOWI_R(0.25);
    TEST_ERR(flow_ode_init(&m->s, method, SIZE), FLOW_OK);
}

/* a_ij for a_ji, h or b_i lost, a stage left out, the identity's share of lambda forgotten. */
static void test_step_backward(void) {
    int method, back;
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (back = 0; back < 2; back++) {
            flow_real lambda[SIZE], work[2 * STAGES * SIZE];
            mill m;
            mill_init(&m, method, back);
            memcpy(lambda, m.lambda, sizeof lambda);
            TEST_ERR(flow_ode_step_backward(&m.s, mill_rate, mill_vjp, &m, lambda, m.x, m.t, m.h,
                                            SIZE, work),
                     FLOW_OK);
            TEST_EQ_INT(m.s.evals, m.s.tableau->stages - 1);
            TEST_EQ_INT(m.calls, m.s.tableau->stages);
            TEST(gradient_error(mill_loss, &m, m.x, lambda, SIZE, SIZE) < 30 * STEP * STEP);
            TEST(gradient_error(mill_loss, &m, m.theta, m.dtheta, 2, 2) < 30 * STEP * STEP);
            flow_ode_free(&m.s);
        }
}

/* An error of f or of vjp, or a NaN, that is swallowed; work written beyond 2 stages n. */
static void test_step_backward_errors(void) {
    int method, bad;
    for (method = 0; method < FLOW_ODE_COUNT; method++)
        for (bad = 0; bad <= flow_ode_tableau(method)->stages; bad++) {
            const int length = 2 * flow_ode_tableau(method)->stages * SIZE;
            flow_real lambda[SIZE], work[2 * STAGES * SIZE + 1];
            wheel w = wheel_of(SIZE);
            mill m;
            mill_init(&m, method, 0);
            memcpy(lambda, m.lambda, sizeof lambda);
            work[length] = 7;
            m.bad_call = bad;
            if (bad == 0) lambda[SIZE - 1] = FLOWI_INFINITY - FLOWI_INFINITY;
            TEST_ERR(flow_ode_step_backward(&m.s, mill_rate, mill_vjp, &m, lambda, m.x, m.t, m.h,
                                            SIZE, work),
                     bad ? -99 : FLOW_E_FINITE);
            TEST(work[length] == 7);
            w.bad_call = bad, w.bad_code = -98;
            if (bad > 0 && bad < m.s.tableau->stages)
                TEST_ERR(flow_ode_step_backward(&m.s, wheel_rate, mill_vjp, &w, lambda, m.x, m.t,
                                                m.h, SIZE, work),
                         -98);
            TEST_ASSERT_TRIPS(flow_ode_step_backward(&m.s, mill_rate, mill_vjp, &m, lambda, m.x,
                                                     m.t, m.h, SIZE + 1, work));
            flow_ode_free(&m.s);
        }
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* A leak; arrays that are too short (test_free sees it); mistakes that go unnoticed. */
static void test_memory(void) {
    flow_real x[MOST + 1] = {0};
    wheel w = wheel_of(MOST);
    flow_ode s;
    int method, i;
    for (method = 0; method < FLOW_ODE_COUNT; method++) {
        TEST_EVERY_ALLOC(flow_ode_init(&s, method, MOST), flow_ode_free(&s));
        memset(&s, 0xFF, sizeof s);
        test_alloc_fail_at(1);
        TEST_ERR(flow_ode_init(&s, method, MOST), FLOW_E_MEMORY);
        test_alloc_fail_at(0);
        flow_ode_free(&s);
        TEST_ERR(flow_ode_init(&s, method, MOST), FLOW_OK);
        TEST_EQ_INT(s.capacity, MOST);
        for (i = 0; i < (s.tableau->stages + 1) * MOST; i++) s.k[i] = 7;
        for (i = 0; i < MOST; i++) s.x[i] = 8;
        TEST(s.k[(s.tableau->stages + 1) * MOST - 1] == 7);
        TEST_ERR(flow_ode_solve(&s, wheel_rate, &w, x, 0, FLOWI_R(0.1), 1, MOST), FLOW_OK);
        TEST_ASSERT_TRIPS(flow_ode_step(&s, wheel_rate, &w, x, 0, 1, MOST + 1));
        TEST_ASSERT_TRIPS(flow_ode_step(&s, wheel_rate, &w, x, 0, 1, -1));
        TEST_ASSERT_TRIPS(flow_ode_step(&s, NULL, &w, x, 0, 1, MOST));
        flow_ode_free(&s);
        flow_ode_free(&s);
        TEST_ASSERT_TRIPS(flow_ode_step(&s, wheel_rate, &w, x, 0, 1, 0));
    }
    TEST_ASSERT_TRIPS(flow_ode_init(&s, FLOW_EULER, 0));
    TEST_ASSERT_TRIPS(flow_ode_init(NULL, FLOW_EULER, 1));
}

int main(void) {
    test_section("tableaux");
    test_order_conditions();
    test_error_weights();
    test_dense_weights();
    test_tableaux();
    test_section("one step");
    test_step_formula();
    test_step_errors();
    test_section("solutions");
    test_orders();
    test_steps_tile_the_interval();
    test_no_stage_lies_beyond();
    test_no_stage_lies_beyond_by_rounding();
    test_solve_stops_at_last_good_step();
    test_solve_edges();
    test_only_negative_is_an_error();
    test_section("adaptive steps");
    test_adapt_accuracy();
    test_adapt_tries();
    test_adapt_first_step();
    test_adapt_least_step();
    test_adapt_keeps_to_least();
    test_adapt_no_error();
    test_adapt_dense_output();
    test_adapt_last_time();
    test_adapt_edges();
    test_adapt_field_errors();
    test_adapt_failures();
    test_adapt_extremes();
    test_adapt_most();
    test_adapt_overflow();
    test_section("the reverse of a step");
    test_step_backward();
    test_step_backward_errors();
    test_section("memory");
    test_memory();
    return test_done();
}
