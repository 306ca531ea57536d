/* 08_layers_to_ode: many small layers are one step each of an ODE solver.
 *
 * Beside it: article B, "From Discrete Layers to Continuous Dynamics" (figure 4); article C,
 * "3. Continuous Normalizing Flow"; article D, "From Discrete to Continuous"; slides E, "From
 * discrete to continuous time: ResNets".
 *
 * A planar layer with a small step, u = dt u~, moves x by dt v(x, t), v(x, t) = u~_t h(w_t'x + b):
 *
 *     x_(k+1) = x_k + dt u~ h(w'x_k + b)                Euler's method, dt = 1/K
 *     dx/dt = v(x, t)                                   its limit as K grows
 *     sum of log(1 + dt h'(w'x_k + b) w'u~)  ->  integral of div v = h'(w'x + b) w'u~
 *
 * so layers are steps, the product of determinants becomes exp of an integral, and better solvers
 * than Euler's do with fewer steps. You will see layers close in on a trajectory as 1/K, the order
 * of each solver as a slope, and steps that adapt to a field which changes speed.
 *
 * Alone: cc -O2 -I. chapters/08_layers_to_ode.c -lm -o 08_layers_to_ode && ./08_layers_to_ode
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

/* ---- the planar field ----------------------------------------------------------------------- */

/* w_t and u~_t turn with time at a fixed angle, so that w'u~ = 3 cos 1 > 0: no layer folds. */
static void planar_at(double t, double *w, double *u) {
    w[0] = 2 * cos(3 * t), w[1] = 2 * sin(3 * t);
    u[0] = 1.5 * cos(3 * t + 1), u[1] = 1.5 * sin(3 * t + 1);
}

/* v = u~ tanh(w'x + 1/2);  (dv/dx) s = u~ h' w's */
static int planar_tangent(void *ctx, double *v, double *jv, const double *x, const double *t,
                          const double *s, int n, int k, double *kept) {
    (void)ctx, (void)kept;
    for (int i = 0; i < n; i++) {
        double w[2], u[2];
        planar_at(t[i], w, u);
        const double h = tanh(w[0] * x[2 * i] + w[1] * x[2 * i + 1] + 0.5);
        for (int l = 0; l < 2; l++) v[2 * i + l] = u[l] * h;
        for (int j = i; j < k * n; j += n)
            for (int l = 0; l < 2; l++)
                jv[2 * j + l] = u[l] * (1 - h * h) * (w[0] * s[2 * j] + w[1] * s[2 * j + 1]);
    }
    return FLOW_OK;
}

static int planar_velocity(void *ctx, double *v, const double *x, const double *t, int n) {
    return planar_tangent(ctx, v, NULL, x, t, NULL, n, 0, NULL);
}

/* The layer of the article at x[2], time t: x <- x + dt u~ h, logdet += log(1 + dt h' w'u~). */
static void planar_layer(double *x, double *logdet, double t, double dt) {
    double w[2], u[2];
    planar_at(t, w, u);
    const double h = tanh(w[0] * x[0] + w[1] * x[1] + 0.5);
    for (int l = 0; l < 2; l++) x[l] += dt * u[l] * h;
    *logdet += log(1 + dt * (1 - h * h) * (w[0] * u[0] + w[1] * u[1]));
}

static double *copy(chapter *c, const double *x, int count) {
    double *y = chapter_alloc(c, (size_t)count);
    memcpy(y, x, (size_t)count * sizeof *y);
    return y;
}

static double distance(const double *x, const double *y, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum / count);
}

/* ---- layers become a trajectory ------------------------------------------------------------- */

/* Where the limit takes x[n*2], and minus the integral of div v, by steps that adapt to 1e-12. */
static void limit(chapter *c, double *x, double *logp, int n) {
    flow_field field = flow_field_of(2, planar_velocity, NULL);
    flow_cnf cnf;
    field.tangent = planar_tangent;
    chapter_try(c, flow_cnf_init(&cnf, field, FLOW_DOPRI5, 1, n), "the limit");
    cnf.tol = 1e-12;
    chapter_try(c, flow_cnf_transport(&cnf, x, logp, 0, 1, n), "the limit");
    flow_cnf_free(&cnf);
}

static void layers(chapter *c, const double *start, int n) {
    const double *zero = chapter_alloc(c, (size_t)n);
    double count[9], miss[9], miss_log[9];
    double *end = copy(c, start, 2 * n), *logp = chapter_alloc(c, (size_t)n);
    limit(c, end, logp, n);
    chapter_block(c, "layers", "K error error_of_log_det");
    for (int k = 0; k < 9; k++) {
        const int depth = 1 << k;
        double *x = copy(c, start, 2 * n), *logdet = chapter_alloc(c, (size_t)n);
        for (int i = 0; i < n; i++) {
            for (int l = 0; l < depth; l++)
                planar_layer(x + 2 * i, logdet + i, (double)l / depth, 1.0 / depth);
            logdet[i] += logp[i]; /* logp is minus the integral of div v: its error remains */
        }
        const double row[] = {(double)depth, distance(x, end, 2 * n), distance(logdet, zero, n)};
        count[k] = row[0], miss[k] = row[1], miss_log[k] = row[2];
        chapter_row(c, row, 3);
    }
    chapter_near(c, "layers: error against K, slope", -1,
                 chapter_slope(count + 5, miss + 5, 4), 0.1);
    chapter_near(c, "  of the log-determinant", -1, chapter_slope(count + 5, miss_log + 5, 4), 0.1);
    chapter_below(c, "  at K = 256", miss[8], 0.05);
}

/* The polygons of 1, 2, 4, 16 and 256 layers (nearly the trajectory) from points on a ring. */
static void polygons(chapter *c) {
    const int depths[] = {1, 2, 4, 16, 256};
    for (int k = 0; k < 5; k++) {
        chapter_block(c, chapter_text("K%03d", depths[k]), "x1 x2 t");
        for (int i = 0; i < 12; i++) {
            double x[2] = {1.4 * cos(0.5236 * i), 1.4 * sin(0.5236 * i)}, logdet = 0;
            for (int l = 0; l <= depths[k]; l++) {
                const double t = (double)l / depths[k];
                chapter_row3(c, x[0], x[1], t);
                planar_layer(x, &logdet, t, 1.0 / depths[k]);
            }
            chapter_gap(c);
        }
    }
}

/* ---- the order of a solver ------------------------------------------------------------------ */

/* A particle on a circle, faster and faster: angular speed 1 + t, so its angle is t + t^2/2. A
 * solver knows nothing of flows: all it asks for is dx/dt. */
static int wheel(void *ctx, double *dx, const double *x, double t) {
    (void)ctx;
    dx[0] = -(1 + t) * x[1], dx[1] = (1 + t) * x[0];
    return FLOW_OK;
}

/* Where every solver has it at t = 2 (angle 4) after 8, 16 ... 512 steps, against where it is. */
static void orders(chapter *c) {
    const double exact[] = {cos(4), sin(4)};
    double error[FLOW_ODE_COUNT][7], steps[7];
    flow_ode s;
    for (int m = 0; m < FLOW_ODE_COUNT; m++) {
        const int last = m == FLOW_DOPRI5 ? 3 : 6; /* beyond, rounding is all that is left */
        chapter_try(c, flow_ode_init(&s, m, 2), "a solver");
        for (int k = 0; k < 7; k++) {
            double x[] = {1, 0};
            steps[k] = 8 << k;
            chapter_try(c, flow_ode_solve(&s, wheel, NULL, x, 0, 2, 8 << k, 2), "a solver");
            error[m][k] = distance(x, exact, 2);
        }
        chapter_near(c, chapter_text("order of %s", s.tableau->name), s.tableau->order,
                     -chapter_slope(steps + last - 2, error[m] + last - 2, 3), 0.1);
        flow_ode_free(&s);
    }
    chapter_block(c, "order", "count euler midpoint heun rk4 dopri5");
    for (int k = 0; k < 7; k++) {
        const double row[] = {steps[k], error[0][k], error[1][k], error[2][k], error[3][k],
                              error[4][k]};
        chapter_row(c, row, 6);
    }
}

/* ---- steps that adapt ----------------------------------------------------------------------- */

/* The wheel's angular speed now leaps at t = 1/2: w(t) = 1 + 40/(1 + ((t-1/2)/0.03)^2),
 * so that its angle is t + 1.2 (atan((t - 1/2)/0.03) + atan(0.5/0.03)). */
typedef struct {
    flow_ode ode;
    double end[2000]; /* where the accepted steps end */
    double last;      /* where the step tried last ends */
    long calls, accepted;
} gallop;

static double angle_at(double t) { return t + 1.2 * (atan((t - 0.5) / 0.03) + atan(0.5 / 0.03)); }

/* The first call is at t0; then six a step, the last of them at its end. */
static int gallop_ode(void *ctx, double *dx, const double *x, double t) {
    gallop *g = (gallop *)ctx;
    const double r = (t - 0.5) / 0.03, w = 1 + 40 / (1 + r * r);
    if (g->ode.accepted > g->accepted && g->accepted < 2000) g->end[g->accepted++] = g->last;
    if (g->calls++ % 6 == 0) g->last = t;
    dx[0] = -w * x[1], dx[1] = w * x[0];
    return FLOW_OK;
}

/* From (1, 0) to t = 1, and back when asked: the error of where it arrives. */
static double gallop_error(chapter *c, gallop *g, double tol, int back) {
    double x[] = {1, 0}, want[] = {cos(angle_at(1)), sin(angle_at(1))}, home[] = {1, 0};
    memset(g, 0, sizeof *g);
    chapter_try(c, flow_ode_init(&g->ode, FLOW_DOPRI5, 2), "the adaptive solver");
    g->ode.atol = g->ode.rtol = tol;
    chapter_try(c, flow_ode_adapt(&g->ode, gallop_ode, g, x, 0, 1, 2, NULL, NULL, 0), "there");
    if (back)
        chapter_try(c, flow_ode_adapt(&g->ode, gallop_ode, g, x, 1, 0, 2, NULL, NULL, 0), "back");
    flow_ode_free(&g->ode);
    return distance(x, back ? home : want, 2);
}

static void adaptive(chapter *c) {
    gallop g;
    double tol[9], error[9], back = 0, longest = 0, shortest = 1;
    chapter_block(c, "tolerance", "tolerance error there_and_back evaluations");
    for (int k = 0; k < 9; k++) {
        tol[k] = pow(10, -3 - k);
        const double returned = gallop_error(c, &g, tol[k], 1) / tol[k];
        error[k] = gallop_error(c, &g, tol[k], 0);
        const double row[] = {tol[k], error[k], returned * tol[k], (double)g.calls};
        back = chapter_worse(back, returned);
        chapter_row(c, row, 4);
    }
    chapter_near(c, "adaptive: error against tolerance, slope", 1,
                 chapter_slope(tol, error, 9), 0.2);
    chapter_below(c, "  there and back, error/tolerance", back, 10);
    gallop_error(c, &g, 1e-5, 0);
    g.end[g.accepted++] = 1; /* the last step of all */
    chapter_block(c, "gallop", "t h speed");
    for (long k = 0; k < g.accepted; k++) {
        const double from = k > 0 ? g.end[k - 1] : 0, h = g.end[k] - from, mid = from + h / 2;
        const double r = (mid - 0.5) / 0.03, row[] = {mid, h, 1 + 40 / (1 + r * r)};
        longest = chapter_worse(longest, h), shortest = fmin(shortest, h);
        chapter_row(c, row, 3);
    }
    chapter_above(c, "  longest step / shortest", longest / shortest, 5);
}

int main(int argc, char **argv) {
    chapter c;
    flow_rng rng;
    chapter_begin(&c, argc, argv, "08_layers_to_ode",
                  "planar layers become an ODE, and solvers its layers", 200, NULL, 0);
    double *start = chapter_alloc(&c, 2 * (size_t)c.n);
    chapter_require(&c, c.n >= 10, "--n", "a number of at least 10");
    flow_rng_init(&rng, c.seed);
    flow_normal_sample(&rng, start, c.n, 2);
    layers(&c, start, c.n);
    polygons(&c);
    orders(&c);
    adaptive(&c);
    return chapter_end(&c);
}

/* Try this:
 * 1. In planar_at, make the layers alike, w = (2, 0) and u = (0.8, 1.3) at all times: one velocity
 *    field without time, yet K layers still differ from the trajectory by 1/K.
 * 2. In planar_layer, evaluate w and u at t + dt/2: is the sum now of second order? (x is still
 *    that of the step's beginning.)
 * 3. Make the gallop sharper, 0.03 -> 0.02 wherever it stands and 1.2 = 40 * 0.03 -> 0.8: the steps
 *    in the leap shrink, those outside stay. */
