/* 09_continuous_flow: a velocity field moves particles, and with them their density.
 *
 * Beside it: article B, "Continuous Normalizing Flows" to "The Continuous Change of Variables
 * Formula" (figures 5 to 8); article C, "3. Continuous Normalizing Flow"; article D, "Continuous
 * Normalizing Flows (CNFs)"; slides E, "Mathematical toolbox: the IVP trifecta".
 *
 * One flow, three views, and the equations that tie them together:
 *
 *     velocity field     v(x, t)       where a particle at x is heading at time t
 *     flow map           phi_t(x0)     where it is: dx/dt = v(x, t), x(0) = x0;  T = phi_1
 *     probability path   p_t           how dense they are: the density of phi_t(z), z ~ p_0
 *
 *     dp/dt + div(p v) = 0                           at a fixed place: the continuity equation
 *     d log p(x(t), t)/dt = -div v(x(t), t)          along a particle: change of variables
 *     log p_1(x(1)) = log p_0(x(0)) - integral of div v(x(t), t) from 0 to 1
 *
 * Nothing is learned here: for data from a Gaussian mixture v and p_t have closed forms (flow.h,
 * section 11), and each equation is held against them. You will see noise part into two humps, on
 * the line and in the plane, each particle carrying its own density; density thin out around a
 * source, gather in a sink and ride on a rotation unchanged; log p grow exact with the steps.
 *
 * Alone: cc -O2 -I. chapters/09_continuous_flow.c -lm -o 09_continuous_flow && ./09_continuous_flow
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { FRAMES = 24, DRAWN = 300 }; /* the figures: t = 0, 1/24 ... 1, up to 300 particles */

static double *numbers(chapter *c, int count) { return chapter_alloc(c, (size_t)count); }

/* The larger of two errors; unlike fmax it lets no NaN get lost. */
static double larger(double a, double b) { return b > a || isnan(b) ? b : a; }

/* ---- densities in closed form, to hold the flows against ------------------------------------ */

/* Writes log p_t(x) of the flow that ctx is. */
typedef void (*density_fn)(chapter *c, const void *ctx, double *logp, const double *x, double t,
                           int n);

/* From N(0, I) to a mixture: component k is N(t m_k, (1-t)^2 I + t^2 C_k) on its way. */
static void mixture_density(chapter *c, const void *ctx, double *logp, const double *x, double t,
                            int n) {
    flow_mixture pt;
    chapter_try(c, flow_mixture_at(&pt, (const flow_mixture *)ctx, FLOW_LINEAR, t), "p_t");
    flow_mixture_logprob(&pt, logp, x, n);
    flow_mixture_free(&pt);
}

/* dx/dt = A x, A = [a -w; w a]: away from 0 at rate a, around it at w radians a unit of time. A
 * source (a > 0), a sink (a < 0), a rotation (a = 0); div v = tr A = 2a everywhere. */
typedef struct {
    const char *name;
    double a, w;
} spiral;

/* A blob N(m, r^2 I) stays one: its centre moves to e^(at) R(wt) m, its radius to e^(at) r. */
static const double centre = 1.2, radius = 0.25;

static void spiral_density(chapter *c, const void *ctx, double *logp, const double *x, double t,
                           int n) {
    const spiral *f = (const spiral *)ctx;
    double m = exp(f->a * t) * centre, r = exp(f->a * t) * radius;
    (void)c;
    for (int i = 0; i < n; i++) {
        double y1 = (x[2 * i] - m * cos(f->w * t)) / r, y2 = (x[2 * i + 1] - m * sin(f->w * t)) / r;
        logp[i] = -0.5 * (y1 * y1 + y2 * y2) - log(6.283185307179586 * r * r);
    }
}

/* A field of one's own is a velocity and its tangents. This one is linear: dv/dx = A anywhere. */
static int spiral_tangent(void *ctx, double *v, double *jv, const double *x, const double *t,
                          const double *s, int n, int k) {
    const spiral *f = (const spiral *)ctx;
    const double matrix[4] = {f->a, -f->w, f->w, f->a};
    (void)t;
    flow_matmul(v, x, 0, matrix, 1, n, 2, 2, 0);
    if (k > 0) flow_matmul(jv, s, 0, matrix, 1, k * n, 2, 2, 0);
    return FLOW_OK;
}

static int spiral_velocity(void *ctx, double *v, const double *x, const double *t, int n) {
    return spiral_tangent(ctx, v, NULL, x, t, NULL, n, 0);
}

/* ---- the nodes of a grid over [-r, r]^d, first coordinate fastest, and what is known there -- */

typedef struct {
    int d, side, count;
    double *x, *v, *p, *div, *time;
} grid;

static grid grid_make(chapter *c, int d, double r, int side) {
    grid g;
    g.d = d;
    g.side = side;
    g.count = d == 1 ? side : side * side;
    g.x = numbers(c, g.count * (2 * d + 3));
    g.v = g.x + g.count * d;
    g.p = g.v + g.count * d;
    g.div = g.p + g.count;
    g.time = g.div + g.count;
    for (int i = 0; i < g.count; i++) {
        g.x[i * d] = -r + 2 * r * (i % side) / (side - 1);
        if (d == 2) g.x[i * d + 1] = -r + 2 * r * (i / side) / (side - 1);
    }
    return g;
}

static void grid_density(chapter *c, const grid *g, double *p, density_fn density, const void *ctx,
                         double t) {
    density(c, ctx, p, g->x, t, g->count);
    for (int i = 0; i < g->count; i++) p[i] = exp(p[i]);
}

static void grid_field(chapter *c, const grid *g, flow_cnf *cnf, double t) {
    for (int i = 0; i < g->count; i++) g->time[i] = t;
    chapter_try(c, flow_cnf_divergence(cnf, g->v, g->div, g->x, g->time, g->count), "div v");
}

static void grid_write(chapter *c, const grid *g, const char *name, int frame) {
    char block[40];
    int d = g->d;
    snprintf(block, sizeof block, "%s%02d", name, frame);
    chapter_block(c, block, d == 1 ? "x v p div" : "x1 x2 v1 v2 p div");
    for (int i = 0; i < g->count; i++) {
        double row[6];
        memcpy(row, g->x + i * d, (size_t)d * sizeof *row);
        memcpy(row + d, g->v + i * d, (size_t)d * sizeof *row);
        row[2 * d] = g->p[i];
        row[2 * d + 1] = g->div[i];
        chapter_row(c, row, 2 * d + 2);
        if (d == 2 && i % g->side == g->side - 1) chapter_gap(c);
    }
}

/* ---- along a particle: d log p/dt = -div v -------------------------------------------------- */

/* Moves x[n*d] from t = 0 to 1 in place, each particle carrying its own log p. Writes a frame of
 * the field on the grid at every stop, then the paths of the first particles. Returns the largest
 * distance of a carried log p from the closed form, over all particles and stops. */
static double follow(chapter *c, flow_cnf *cnf, density_fn density, const void *ctx, double *x,
                     int n, grid g, const char *name) {
    int d = g.d, columns = d + 2, drawn = n < DRAWN ? n : DRAWN;
    double *logp = numbers(c, n), *truth = numbers(c, n), worst = 0;
    double *path = numbers(c, drawn * (FRAMES + 1) * columns);
    char block[40];
    density(c, ctx, logp, x, 0, n);
    for (int k = 0; k <= FRAMES; k++) {
        double t = k / (double)FRAMES, from = (k - 1) / (double)FRAMES;
        if (k > 0) chapter_try(c, flow_cnf_transport(cnf, x, logp, from, t, n), name);
        density(c, ctx, truth, x, t, n);
        for (int i = 0; i < n; i++) worst = larger(worst, fabs(logp[i] - truth[i]));
        for (int i = 0; i < drawn; i++) {
            double *row = path + (i * (FRAMES + 1) + k) * columns;
            row[0] = t;
            memcpy(row + 1, x + i * d, (size_t)d * sizeof *x);
            row[d + 1] = logp[i];
        }
        grid_density(c, &g, g.p, density, ctx, t);
        grid_field(c, &g, cnf, t);
        grid_write(c, &g, name, k);
    }
    snprintf(block, sizeof block, "%s_paths", name);
    chapter_block(c, block, d == 1 ? "t x logp" : "t x1 x2 logp");
    for (int i = 0; i < drawn * (FRAMES + 1); i++) {
        chapter_row(c, path + i * columns, columns);
        if (i % (FRAMES + 1) == FRAMES) chapter_gap(c);
    }
    return worst;
}

/* ---- at a fixed place: dp/dt + div(p v) = 0 ------------------------------------------------- */

/* sum |dp/dt + speed div(p v)| / sum |dp/dt| at t = 1/2 on a grid of spacing h, all derivatives
 * central differences over 2h (h/4 in time): of order h^2 if v is what moves p; with v at the
 * wrong speed it tends to |speed - 1|. block, if not NULL, receives both terms. */
static double continuity(chapter *c, flow_cnf *cnf, const flow_mixture *m, double speed, int cells,
                         const char *block) {
    int side = cells + 1, d = m->d;
    grid g = grid_make(c, d, 6, side);
    double *before = numbers(c, g.count), *after = numbers(c, g.count);
    double h = 12.0 / cells, residual = 0, total = 0;
    grid_density(c, &g, before, mixture_density, m, 0.5 - h / 8);
    grid_density(c, &g, after, mixture_density, m, 0.5 + h / 8);
    grid_density(c, &g, g.p, mixture_density, m, 0.5);
    grid_field(c, &g, cnf, 0.5);
    if (block) chapter_block(c, block, "x dp/dt -div(pv)");
    for (int i = 0; i < g.count; i++) {
        int col = i % side, line = d == 1 ? 1 : i / side, next = 1;
        double change = (after[i] - before[i]) / (h / 4), outflow = 0, row[3];
        if (col == 0 || col == cells || line == 0 || line == cells) continue;
        for (int j = 0; j < d; j++, next *= side)
            outflow += (g.p[i + next] * g.v[(i + next) * d + j] -
                        g.p[i - next] * g.v[(i - next) * d + j]) / (2 * h);
        residual += fabs(change + speed * outflow);
        total += fabs(change);
        row[0] = g.x[i * d];
        row[1] = change;
        row[2] = -speed * outflow;
        if (block) chapter_row(c, row, 3);
    }
    return residual / total;
}

/* On finer and finer grids. *residual: that of the finest; returns its slope in h. */
static double continuity_order(chapter *c, flow_cnf *cnf, const flow_mixture *m, double speed,
                               double *residual, const char *block) {
    double row[2], slope = 0;
    chapter_block(c, block, "h residual");
    for (int cells = 32; cells <= (c->quick ? 256 : 512); cells *= 2) {
        row[0] = 12.0 / cells;
        row[1] = continuity(c, cnf, m, speed, cells, NULL);
        if (cells > 32) slope = log2(*residual / row[1]);
        *residual = row[1];
        chapter_row(c, row, 2);
    }
    return slope;
}

/* ---- T backwards: log p_1 of data, the total mass, and there and back ------------------------ */

static int cnf_logprob(void *cnf, double *logp, const double *x, int n) {
    return flow_cnf_logprob((flow_cnf *)cnf, logp, x, n);
}

static double rms(const double *x, const double *y, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(sum / n);
}

/* T^-1 is the same equation run from t = 1 to 0: so T is invertible for any smooth v (E's "why?"),
 * up to the solver's errors. Those of 4, 8 ... steps, over the data x[n*2]: of log p_1, of its
 * total mass 1, and of T(T^-1(x)), where RK4's leading errors, of order 4, cancel on the way back.
 * error[3]: those of the most steps. Returns the last slope of the first in 1/steps. */
static double solver_order(chapter *c, double *error, flow_field field, int method, const double *x,
                           const double *truth, int n) {
    double *back = numbers(c, 2 * n), *logp = numbers(c, n), mass = 0, row[4], order = 0;
    int last = c->quick ? 64 : 256;
    chapter_block(c, flow_ode_tableau(method)->name, "steps log_p mass there_and_back");
    for (int steps = 4; steps <= last; steps *= 2) {
        flow_cnf cnf;
        chapter_try(c, flow_cnf_init(&cnf, field, method, steps, 256), "the solver");
        chapter_try(c, flow_cnf_logprob(&cnf, logp, x, n), "log p_1");
        chapter_try(c, flow_quadrature(&mass, cnf_logprob, &cnf, -6, 6, 40, 2), "the mass");
        memcpy(back, x, (size_t)(2 * n) * sizeof *x);
        chapter_try(c, flow_cnf_transport(&cnf, back, NULL, 1, 0, n), "T^-1");
        chapter_try(c, flow_cnf_transport(&cnf, back, NULL, 0, 1, n), "T");
        flow_cnf_free(&cnf);
        row[0] = steps;
        row[1] = rms(logp, truth, n);
        row[2] = fabs(mass - 1);
        row[3] = rms(back, x, 2 * n);
        chapter_row(c, row, 4);
        chapter_progress(c, "solver steps", steps, last);
        if (steps > 4) order = log2(error[0] / row[1]);
        memcpy(error, row + 1, 3 * sizeof *row);
    }
    return order;
}

/* ---- the three acts ------------------------------------------------------------------------- */

/* B, figures 6 and 7: from one hump to two, on the line (d = 1) and in the plane (d = 2). */
static void humps(chapter *c, flow_cnf *cnf, const flow_mixture *data, flow_rng *rng) {
    int d = data->d;
    grid g = grid_make(c, d, d == 1 ? 4 : 3.5, d == 1 ? 161 : 49);
    double *x = numbers(c, c->n * d), worst, order, residual;
    flow_normal_sample(rng, x, c->n, d);
    worst = follow(c, cnf, mixture_density, data, x, c->n, g, d == 1 ? "line" : "plane");
    chapter_near(c, d == 1 ? "line: worst error of a particle's own log p"
                           : "plane: worst error of a particle's own log p", 0, worst, 1e-5);
    order = continuity_order(c, cnf, data, 1, &residual, d == 1 ? "residual_1d" : "residual_2d");
    chapter_near(c, "  |dp/dt + div(p v)| falls as h to the", 2, order, 0.1);
    if (d == 2) return;
    continuity_order(c, cnf, data, 1.05, &residual, "residual_wrong");
    chapter_near(c, "  with v 5% too fast it stays at", 0.05, residual, 0.005);
    continuity(c, cnf, data, 1, 160, "terms");
}

/* B, figure 8. "div v = 0: density stays constant" holds along a particle; at a fixed place the
 * rotation's density does change, as the blob comes by. */
static void source_sink_rotation(chapter *c, flow_rng *rng) {
    spiral spirals[3] = {{"source", 0.7, 0}, {"sink", -0.7, 0}, {"rotation", 0, 2}};
    double *x = numbers(c, c->n * 2), worst = 0, before, after;
    for (int k = 0; k < 3; k++) {
        spiral *f = &spirals[k];
        char row[60];
        flow_field field;
        flow_cnf cnf;
        field.d = 2;
        field.ctx = f;
        field.velocity = spiral_velocity;
        field.tangent = spiral_tangent;
        chapter_try(c, flow_cnf_init(&cnf, field, FLOW_RK4, 8, 256), "the solver");
        flow_normal_sample(rng, x, c->n, 2);
        for (int i = 0; i < 2 * c->n; i++) x[i] = radius * x[i] + (i % 2 == 0 ? centre : 0);
        spiral_density(c, f, &before, x, 0, 1);
        worst = larger(worst, follow(c, &cnf, spiral_density, f, x, c->n,
                                     grid_make(c, 2, 3.3, 10), f->name));
        spiral_density(c, f, &after, x, 1, 1);
        snprintf(row, sizeof row, "%s: log p(x(1)) - log p(x(0)) = -div v", f->name);
        chapter_near(c, row, 0 - 2 * f->a, after - before, 1e-6); /* 0 - 0, not -0 */
        flow_cnf_free(&cnf);
    }
    chapter_near(c, "  worst error of a particle's own log p", 0, worst, 1e-6);
}

/* The likelihood that chapter 10 trains by, here against the truth. (In C's log p_1(x) - log p_0(x)
 * for discrete flows the second point is z = T^-1(x), as in its continuous formula.) */
static void likelihood(chapter *c, flow_field field, const flow_mixture *data, flow_rng *rng) {
    int n = c->n < 100 ? 100 : c->n; /* an order wants an average over some points */
    double *x = numbers(c, n * 2), *truth = numbers(c, n), error[3], order;
    double tol = c->quick ? 1e-5 : 1e-6;
    flow_mixture_sample(data, rng, x, NULL, n);
    flow_mixture_logprob(data, truth, x, n);
    order = solver_order(c, error, field, FLOW_EULER, x, truth, n);
    chapter_near(c, "Euler: error of log p_1 as 1/steps to the", 1, order, 0.15);
    order = solver_order(c, error, field, FLOW_RK4, x, truth, n);
    chapter_near(c, "RK4: error of log p_1 as 1/steps to the", 4, order, c->quick ? 1 : 0.5);
    chapter_near(c, "  error of log p_1 at the most steps", 0, error[0], tol);
    chapter_near(c, "  error of the total mass", 0, error[1], tol);
    chapter_near(c, "  T(T^-1(x)) - x", 0, error[2], tol);
}

int main(int argc, char **argv) {
    double gap = 2;
    const chapter_flag flags[] = {{"--gap", CHAPTER_REAL, &gap, "humps of the line: -gap, gap"}};
    chapter c;
    chapter_begin(&c, argc, argv, "09_continuous_flow", "a velocity field moves a density", 1000,
                  flags, 1);
    chapter_require(&c, gap >= 0 && gap <= 3, "--gap", "a number from 0 to 3");

    const double weight[2] = {0.5, 0.5}, line_mean[2] = {-gap, gap}, line_cov[2] = {0.25, 0.25};
    const double plane_mean[4] = {-1.6, -0.8, 1.6, 0.8};
    const double plane_cov[8] = {0.35, -0.15, -0.15, 0.25, 0.25, 0.1, 0.1, 0.35};
    flow_rng rng;
    flow_mixture data[2];
    flow_marginal velocity[2];
    flow_cnf cnf[2];
    flow_rng_init(&rng, c.seed);
    for (int k = 0; k < 2; k++) {
        chapter_try(&c, flow_mixture_init(&data[k], weight, k ? plane_mean : line_mean,
                                          k ? plane_cov : line_cov, 2, k + 1), "the mixture");
        chapter_try(&c, flow_marginal_of_mixture(&velocity[k], &data[k], FLOW_LINEAR), "velocity");
        chapter_try(&c, flow_cnf_init(&cnf[k], flow_marginal_field(&velocity[k]), FLOW_RK4, 8, 256),
                    "the solver");
        humps(&c, &cnf[k], &data[k], &rng);
    }
    source_sink_rotation(&c, &rng);
    likelihood(&c, cnf[1].field, &data[1], &rng);
    for (int k = 0; k < 2; k++) {
        flow_cnf_free(&cnf[k]);
        flow_marginal_free(&velocity[k]);
        flow_mixture_free(&data[k]);
    }
    return chapter_end(&c);
}

/* Try this
 * 1. --gap 0, then --gap 3. When do the humps part, and where on the line is div v positive?
 * 2. Let the rotation of source_sink_rotation also draw inwards, {"rotation", -0.7, 2}: its log p
 *    changes exactly as the sink's. w moves the blob, only a changes its density.
 * 3. FLOW_RK4 -> FLOW_EULER in main: the particles' own log p is off, the continuity equation is
 *    not. It is a statement about v, whoever solves for x. */
