/* 09_continuous_flow: a velocity field moves particles, and with them their density.
 *
 * Beside it: article B, "Continuous Normalizing Flows" to "The Continuous Change of Variables
 * Formula" (figures 5 to 8); article C, "3. Continuous Normalizing Flow"; article D, "Continuous
 * Normalizing Flows (CNFs)"; slides E, "Mathematical toolbox: the IVP trifecta".
 *
 *     velocity field     v(x, t)       where a particle at x is heading at time t
 *     flow map           phi_t(x0)     where it is: dx/dt = v(x, t), x(0) = x0;  T = phi_1
 *     probability path   p_t           how dense they are: the density of phi_t(z), z ~ p_0
 *
 *     dp/dt + div(p v) = 0                           at a fixed place: the continuity equation
 *     d log p(x(t), t)/dt = -div v(x(t), t)          along a particle: change of variables
 *     log p_1(x(1)) = log p_0(x(0)) - integral of div v(x(t), t) from 0 to 1
 *
 * Nothing is learned here: v and p_t have closed forms, and each equation is held against them. You
 * will see noise part into two humps, on the line and in the plane, each particle carrying its own
 * density; a source thin it, a sink gather it, a rotation carry it on; log p grow exact with steps.
 *
 * Alone: cc -O2 -I. chapters/09_continuous_flow.c -lm -o 09_continuous_flow && ./09_continuous_flow
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

static const int FRAMES = 12, DRAWN = 130; /* of the figures: t = 0, 1/12 ... 1, and particles */

/* A flow whose density is known. From N(0, I) to a mixture, data.k humps of it, by its closed form
 * (flow.h, section 11); or, where there are none, from N((1.2, 0), I/16) by dx/dt = A x, A = [a -w;
 * w a]: away from 0 at rate a, around it at w radians a unit of time; div v = tr A = 2a. */
typedef struct {
    const char *name;
    flow_mixture data;
    flow_marginal exact;
    double a, w;
    flow_cnf cnf;
} example;

static int linear_velocity(void *ctx, double *v, const double *x, const double *t, int n) {
    const example *f = (const example *)ctx;
    const double matrix[4] = {f->a, -f->w, f->w, f->a};
    (void)t;
    flow_matmul(v, x, 0, matrix, 1, n, 2, 2, 0);
    return FLOW_OK;
}

/* v[n*d] at x[n*d] and time t, and div v [n] behind it. */
static double *velocity(chapter *c, example *f, double t, const double *x, int n) {
    int d = f->cnf.field.d;
    double *v = chapter_alloc(c, (size_t)n * (size_t)(d + 2)), *time = v + n * (d + 1);
    for (int i = 0; i < n; i++) time[i] = t;
    chapter_try(c, flow_cnf_divergence(&f->cnf, v, v + n * d, x, time, n), "div v");
    return v;
}

/* p_t [n] in closed form. Component k of a mixture is N(t m_k, (1-t)^2 I + t^2 C_k) on its way; a
 * Gaussian in a linear field stays one, turned by w t and stretched by e^(at). */
static double *density(chapter *c, const example *f, double t, const double *x, int n) {
    const double one = 1, grow = exp(f->a * t), var = grow * grow / 16, cov[4] = {var, 0, 0, var};
    const double mean[2] = {1.2 * grow * cos(f->w * t), 1.2 * grow * sin(f->w * t)};
    double *p = chapter_alloc(c, (size_t)n);
    flow_mixture pt;
    if (f->data.k) chapter_try(c, flow_mixture_at(&pt, &f->data, FLOW_LINEAR, t), "p_t");
    else chapter_try(c, flow_mixture_init(&pt, &one, mean, cov, 1, 2), "p_t");
    flow_mixture_logprob(&pt, p, x, n);
    flow_mixture_free(&pt);
    for (int i = 0; i < n; i++) p[i] = exp(p[i]);
    return p;
}

static void write_frame(chapter *c, example *f, int frame, int side) {
    int d = f->cnf.field.d, n = d == 1 ? side : side * side;
    double t = 1.0 * frame / FRAMES, *x = chapter_grid(c, -3.5, 3.5, side, d);
    const double *v = velocity(c, f, t, x, n), *value[3] = {v, density(c, f, t, x, n), v + n * d};
    const int width[3] = {d, 1, 1};
    chapter_grid_block(c, chapter_text("%s%02d", f->name, frame), "x, v, p, div v", x, side, d,
                       value, width, 3);
}

/* Along a particle: d log p/dt = -div v. Particles x ~ p_0 move from t = 0 to 1, each carrying its
 * own log p, which should be log p_t(x(t)). *error: the largest difference at all frames. */
static void follow(chapter *c, example *f, flow_rng *rng, int side, double *error) {
    int n = c->n, d = f->cnf.field.d, drawn = n < DRAWN ? n : DRAWN, columns = d + 2;
    double *x = chapter_alloc(c, (size_t)n * (size_t)(d + 1)), *logp = x + n * d, *p, start = 0;
    double *path = chapter_alloc(c, (size_t)((FRAMES + 1) * DRAWN * columns)), *row;
    flow_normal_sample(rng, x, n, d);
    for (int i = 0; !f->data.k && i < 2 * n; i++) x[i] = x[i] / 4 + (i % 2 ? 0 : 1.2);
    for (int k = 0; k <= FRAMES; k++) {
        double t = 1.0 * k / FRAMES, from = (k - 1.0) / FRAMES;
        if (k) chapter_try(c, flow_cnf_transport(&f->cnf, x, logp, from, t, n), f->name);
        p = density(c, f, t, x, n);
        for (int i = 0; i < n; i++) {
            if (k == 0) logp[i] = log(p[i]), start = logp[0];
            *error = chapter_worse(*error, fabs(logp[i] - log(p[i])));
            if (i >= drawn) continue;
            row = path + (i * (FRAMES + 1) + k) * columns;
            row[0] = t, row[d + 1] = logp[i];
            memcpy(row + 1, x + i * d, (size_t)d * sizeof *x);
        }
        if (k == 0 || f->data.k) write_frame(c, f, k, side);
    }
    chapter_near(c, chapter_text("%s: change of a particle's log p", f->name),
                 f->data.k ? log(p[0]) - start : 0 - 2 * f->a, logp[0] - start, 1e-5);
    chapter_block(c, chapter_text("%s_paths", f->name), "t, x, log p");
    for (int i = 0; i < drawn; i++, chapter_gap(c))
        for (int k = 0; k <= FRAMES; k++, path += columns) chapter_row(c, path, columns);
}

/* At a fixed place: dp/dt + div(p v) = 0. sum |dp/dt + div(p v)| / sum |dp/dt| at t = 1/2 on a grid
 * of spacing h, by central differences over 2h (h/4 in time): of order h^2 if v moves p; if v is 5%
 * too fast it tends to 0.05. */
static void residual(chapter *c, example *f, int cells, double *right, double *wrong) {
    int d = f->cnf.field.d, side = cells + 1, n = d == 1 ? side : side * side;
    double h = 12.0 / cells, total = 0;
    const double *x = chapter_grid(c, -6, 6, side, d), *v = velocity(c, f, 0.5, x, n);
    const double *before = density(c, f, 0.5 - h / 8, x, n), *p = density(c, f, 0.5, x, n);
    const double *after = density(c, f, 0.5 + h / 8, x, n);
    if (d == 1 && cells == 128) chapter_block(c, "terms", "x dp/dt -div(pv)");
    for (int i = 0; i < n; i++) {
        double change = (after[i] - before[i]) / (h / 4), outflow = 0;
        int edge = i % side == 0 || i % side == cells || (d == 2 && (i < side || i >= n - side));
        for (int j = 0, s = 1; j < d && !edge; j++, s *= side)
            outflow += (p[i + s] * v[(i + s) * d + j] - p[i - s] * v[(i - s) * d + j]) / (2 * h);
        *right += fabs(change + outflow), *wrong += fabs(change + 1.05 * outflow);
        total += fabs(change);
        if (d == 1 && cells == 128) chapter_row3(c, x[i], change, -outflow);
    }
    *right /= total, *wrong /= total;
}

static void check_continuity(chapter *c, example *f) {
    double h[4], right[4] = {0}, wrong[4] = {0};
    for (int k = 0; k < 4; k++) {
        h[k] = 12.0 / (32 << k);
        residual(c, f, 32 << k, &right[k], &wrong[k]);
    }
    chapter_block(c, f->cnf.field.d == 1 ? "residual_line" : "residual_plane", "h right too_fast");
    for (int k = 0; k < 4; k++) chapter_row3(c, h[k], right[k], wrong[k]);
    chapter_near(c, "  |dp/dt + div(p v)| as h to the", 2, chapter_slope(h + 1, right + 1, 3), 0.1);
    chapter_near(c, "  with v 5% too fast it stays at", 0.05, wrong[3], 0.005);
}

/* T^-1 is the same equation run from t = 1 to 0: so T is invertible for any smooth v (E's "why?"),
 * up to the solver's errors. Those of 4, 8 ... steps, averaged over data: of log p_1, which chapter
 * 10 trains by; of the total mass 1; of T(T^-1(x)), where RK4's leading errors cancel. (In C's
 * "log p_1(x) - log p_0(x)" for discrete flows the second point is z = T^-1(x).) */
static void check_solver(chapter *c, example *f, flow_rng *rng, int method) {
    const flow_tableau *solver = flow_ode_tableau(method);
    int n = c->n < 100 ? 100 : c->n, most = c->quick ? 64 : 256; /* an order wants an average */
    double *x = chapter_alloc(c, 5 * (size_t)n), *back = x + 2 * n, *logp = back + 2 * n, *p, mass;
    double e[3], last = 0, order = 0;
    flow_mixture_sample(&f->data, rng, x, NULL, n);
    p = density(c, f, 1, x, n);
    chapter_block(c, solver->name, "steps log_p mass there_and_back");
    for (int steps = 4; steps <= most; steps *= 2, last = e[0]) {
        flow_cnf cnf;
        memcpy(back, x, 2 * (size_t)n * sizeof *x);
        chapter_try(c, flow_cnf_init(&cnf, f->cnf.field, method, steps, 256), "the solver");
        chapter_try(c, flow_cnf_logprob(&cnf, logp, x, n), "log p_1");
        chapter_try(c, flow_quadrature(&mass, chapter_cnf_logprob, &cnf, -6, 6, 40, 2), "the mass");
        chapter_try(c, flow_cnf_transport(&cnf, back, NULL, 1, 0, n), "T^-1");
        chapter_try(c, flow_cnf_transport(&cnf, back, NULL, 0, 1, n), "T");
        flow_cnf_free(&cnf);
        e[0] = e[2] = 0, e[1] = fabs(mass - 1);
        for (int i = 0; i < n; i++) e[0] += fabs(logp[i] - log(p[i])) / n;
        for (int i = 0; i < 2 * n; i++) e[2] += fabs(back[i] - x[i]) / n;
        chapter_row4(c, steps, e[0], e[1], e[2]);
        chapter_progress(c, solver->name, steps, most);
        order = log2(last / e[0]);
    }
    chapter_near(c, chapter_text("%s: error of log p_1 as 1/steps to the", solver->name),
                 solver->order, order, (c->quick ? 0.25 : 0.15) * solver->order);
    if (method == FLOW_EULER) return;
    chapter_near(c, "  error of log p_1 at the most steps", 0, e[0], 1e-6);
    chapter_near(c, "  error of the total mass", 0, e[1], 1e-6);
    chapter_near(c, "  T(T^-1(x)) - x", 0, e[2], 1e-6);
}

int main(int argc, char **argv) {
    const char *const name[5] = {"line", "plane", "source", "sink", "rotation"};
    const double a[5] = {0, 0, 0.7, -0.7, 0}, w[5] = {0, 0, 0, 0, 2}, weight[2] = {1, 1};
    const double mean[2][4] = {{-2, 2}, {-1.6, -0.8, 1.6, 0.8}};
    const double cov[2][8] = {{0.25, 0.25}, {0.35, -0.15, -0.15, 0.25, 0.25, 0.1, 0.1, 0.35}};
    double error = 0;
    flow_rng rng;
    chapter c;
    chapter_begin(&c, argc, argv, "09_continuous_flow", "a field moves a density", 1000, NULL, 0);
    flow_rng_init(&rng, c.seed);
    for (int k = 0; k < 5; k++) {
        example f;
        flow_field field = flow_field_of(2, linear_velocity, &f);
        memset(&f, 0, sizeof f);
        f.name = name[k], f.a = a[k], f.w = w[k];
        if (k < 2) {
            chapter_try(&c, flow_mixture_init(&f.data, weight, mean[k], cov[k], 2, k + 1), "data");
            chapter_try(&c, flow_marginal_of_mixture(&f.exact, &f.data, FLOW_LINEAR), "v");
            field = flow_marginal_field(&f.exact);
        }
        chapter_try(&c, flow_cnf_init(&f.cnf, field, FLOW_RK4, 16, 256), "the solver");
        follow(&c, &f, &rng, k == 0 ? 81 : k == 1 ? 39 : 10, &error);
        if (k < 2) check_continuity(&c, &f);
        if (k == 1) check_solver(&c, &f, &rng, FLOW_EULER), check_solver(&c, &f, &rng, FLOW_RK4);
        flow_cnf_free(&f.cnf);
        flow_marginal_free(&f.exact);
        flow_mixture_free(&f.data);
    }
    chapter_near(&c, "all five: worst error of a particle's log p", 0, error, 1e-5);
    return chapter_end(&c);
}

/* Try this
 * 1. Means of 0, 0 and then -3, 3 on the line: when do the humps part, and where is div v positive?
 * 2. a = -0.7 for the rotation: its log p changes exactly as the sink's. What does w change?
 * 3. FLOW_RK4 -> FLOW_EULER for f.cnf: log p is off, the continuity equation is not. Why? */
