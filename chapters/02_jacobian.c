/* 02_jacobian - what a map of the plane does to areas and densities
 *
 * Near a point c a smooth map is its Jacobian: phi(c + v) = phi(c) + J v + O(|v|^2). A small square
 * around c becomes nearly a parallelogram of |det J| times its area. The mass in it stays, hence
 *
 *     p_y(y) = p_x(x) / |det J(x)|,   x = phi^-1(y)
 *     p_K(x_K) = p_0(x_0) / (|det J_1(x_0)| |det J_2(x_1)| ... |det J_K(x_(K-1))|)
 *
 * for one map and for K in a row, each determinant at the point where its own map met the sample.
 *
 * Beside: "Introduction to Conditional Flow Matching, Part I: Normalizing Flows" (A), "Generalizing
 * to higher dimensions" and "Combining multiple flows"; "Flow Matching Series, Part 1" (B), "Change
 * of Variables"; "Flow Matching: A Deep Dive" (D), "Change of Variables Theorem" and "Likelihood
 * Calculation"; "Flow-based generative models" (E), "The change of variable formula".
 *
 * The map is A's: phi(x) = [x1 + t sin x2, x2 + t sin x1], with det J = 1 - t^2 cos x1 cos x2. That
 * is positive everywhere for |t| < 1 only: beyond, the plane folds, phi has no inverse, and the
 * rule does not apply, though the grid can still be drawn.
 *
 * You will see squares shrink onto their parallelograms, a Gaussian pushed through phi, and one
 * bent into a horseshoe by K maps.
 *
 * Alone: cc -O2 -I. chapters/02_jacobian.c -lm -o 02_jacobian && ./02_jacobian --t 0.5
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

/* ---- config --------------------------------------------------------------------------------- */

#define EDGE 4.5     /* the plane is drawn on [-EDGE, EDGE]^2 */
#define GRID 120     /* cells a side of a drawn density */
#define BINS 50      /* bins a side of the histogram ... */
#define SUB 4        /* ... and midpoints a side in each, for its mass */
#define SIDE 64      /* points on a side of a square */
#define SQUARES 17   /* of side 4, 2, 1 ... 1/16384 ... */
#define FIT 5        /* ... and how many of the smallest give the slope */
#define SAMPLES 1000 /* sent through the composition */

/* phi_K o ... o phi_1 with phi_k(x) = [x1 + t sin(x2 + k-1), x2 + t sin(x1 - k+1)]: the first is
 * A's, the others are the same map about other centres. */
typedef struct {
    double t;
    int layers;
} map;

/* ---- compute -------------------------------------------------------------------------------- */

/* What one layer does at a point: y = phi_k(x), J_k(x) (row i = d y_i/dx), its factors and log|det|
 * (NaN should it have none, which |t| < 1 excludes). */
typedef struct {
    double y[2], j[4], lu[4], logdet;
    int piv[2];
} image;

static image apply(const map *m, int k, const double *x) {
    double u = x[1] + k - 1, v = x[0] - k + 1, a = m->t * cos(u), b = m->t * cos(v);
    image i = {{x[0] + m->t * sin(u), x[1] + m->t * sin(v)}, {1, a, b, 1}, {1, a, b, 1}, 0, {0, 0}};
    i.logdet = flow_lu(i.lu, i.piv, 2) < 0 ? (double)NAN : flow_lu_logdet(i.lu, i.piv, NULL, 2);
    return i;
}

/* Newton's method for phi_k(x) = y, from x = y, in place: solve J dx = y - phi_k(x), x <- x + dx.
 * *logdet = log|det J_k(x)|, of the map, not of its inverse. */
static int invert(const map *m, int k, double *x, double *logdet) {
    const double y[2] = {x[0], x[1]};
    for (int step = 0; step < 50; step++) {
        image i = apply(m, k, x);
        double dx[2] = {y[0] - i.y[0], y[1] - i.y[1]};
        flow_lu_solve(i.lu, i.piv, dx, 2);
        x[0] += dx[0];
        x[1] += dx[1];
        *logdet = i.logdet;
        if (fabs(dx[0]) + fabs(dx[1]) <= 1e-12 * (1 + fabs(x[0]) + fabs(x[1]))) return FLOW_OK;
    }
    return FLOW_E_CONVERGE;
}

/* log p_K(y) = log N(x_0; 0, I) - sum_k log|det J_k(x_(k-1))|,   x_(k-1) = phi_k^-1(x_k) */
static int logprob(void *ctx, double *logp, const double *y, int n) {
    const map *m = (const map *)ctx;
    for (int i = 0; i < n; i++) {
        double x[2] = {y[2 * i], y[2 * i + 1]}, sum = 0, logdet = 0;
        for (int k = m->layers; k >= 1; k--) {
            int err = invert(m, k, x, &logdet);
            if (err < 0) return err;
            sum += logdet;
        }
        flow_normal_logprob(&logp[i], x, 1, 2);
        logp[i] -= sum;
    }
    return FLOW_OK;
}

/* Takes x_0 = y to x_K and returns the sum of the K log|det J_k(x_(k-1))|. */
static double push(const map *m, double *y) {
    double sum = 0;
    for (int k = 1; k <= m->layers; k++) {
        image i = apply(m, k, y);
        sum += i.logdet;
        memcpy(y, i.y, sizeof i.y);
    }
    return sum;
}

/* log|det J_1(x)|, and all layers as one map: what the pictures and the brute force ask for. */
static int logdet_1(void *ctx, double *logdet, const double *x, int n) {
    for (int i = 0; i < n; i++) logdet[i] = apply((const map *)ctx, 1, x + 2 * i).logdet;
    return FLOW_OK;
}

static int compose(void *ctx, double *y, const double *x) {
    memcpy(y, x, 2 * sizeof *y);
    push((const map *)ctx, y);
    return FLOW_OK;
}

/* ---- check and write ------------------------------------------------------------------------ */

/* How far the outline of a square of side h is carried from the parallelogram phi(c) + J (x - c),
 * and *area, that of its image as a polygon, by the shoelace formula. */
static double measure(const map *m, const double *c, double h, double *area) {
    image to = apply(m, 1, c);
    double y[2] = {0, 0}, distance = 0;
    *area = 0;
    for (int i = 0; i <= 4 * SIDE; i++) {
        double u = i % SIDE / (double)SIDE - 0.5, before[2] = {y[0], y[1]};
        double ring[4][2] = {{u, -0.5}, {0.5, u}, {-u, 0.5}, {-0.5, -u}};
        double *v = ring[i / SIDE % 4], x[2] = {c[0] + h * v[0], c[1] + h * v[1]};
        for (int j = 0; j < 2; j++) y[j] = apply(m, 1, x).y[j] - to.y[j];
        distance = chapter_worse(distance, hypot(y[0] - h * (to.j[0] * v[0] + to.j[1] * v[1]),
                                         y[1] - h * (to.j[2] * v[0] + to.j[3] * v[1])));
        if (i > 0) *area += (before[0] * y[1] - y[0] * before[1]) / 2;
    }
    return distance;
}

/* By Taylor the mean of det J over the square is det J(c) within t^2 h^2/12, and the distance is
 * (t h^2/8) |(sin c2, sin c1)| within sqrt(2) t h^3/48. */
static void check_square(chapter *c, const map *m, const double *centre) {
    double det = exp(apply(m, 1, centre).logdet), t = fabs(m->t), area;
    double bend = t / 8 * hypot(sin(centre[0]), sin(centre[1])), side[SQUARES], distance[SQUARES];
    chapter_near(c, "det J at c by LU: 1 - t^2 cos c1 cos c2",
                 1 - t * t * cos(centre[0]) * cos(centre[1]), det, 1e-14);
    chapter_block(c, "squares", "h ratio det distance bend");
    for (int i = 0; i < SQUARES; i++) {
        double h = side[i] = ldexp(4, -i);
        distance[i] = measure(m, centre, h, &area);
        chapter_row5(c, h, area / (h * h), det, distance[i], bend * h * h);
        if (i != SQUARES - FIT) continue;
        chapter_near(c, "area ratio of a square of side 1/1024", det, area / (h * h), h * h / 10);
        chapter_near(c, "its distance to the parallelogram, / h^2", bend, distance[i] / (h * h),
                     t * h / 30);
    }
    double fit = chapter_slope(side + SQUARES - FIT, distance + SQUARES - FIT, FIT);
    if (bend > 0.01 * t)
        chapter_near(c, "slope of log distance on log h", 2, fit, 0.02);
    else
        chapter_say(c, "slope of log distance on log h", fit, "phi hardly bends at c");
}

/* Lines of a square net around c: where phi takes them, and where the linear map does. */
static void write_net(chapter *c, const map *m, const char *name, const double *centre, double h) {
    image to = apply(m, 1, centre);
    chapter_block(c, name, "y1 y2 linear1 linear2 centre1 centre2 h x1 x2");
    for (int i = 0; i < 18; i++, chapter_gap(c))
        for (int j = 0; j <= 48; j++) {
            double u = h * (i % 9 / 8.0 - 0.5), v = h * (j / 48.0 - 0.5);
            double d1 = i < 9 ? u : v, d2 = i < 9 ? v : u, x[] = {centre[0] + d1, centre[1] + d2};
            image y = apply(m, 1, x);
            double row[] = {y.y[0], y.y[1], to.y[0] + to.j[0] * d1 + to.j[1] * d2,
                            to.y[1] + to.j[2] * d1 + to.j[3] * d2, to.y[0], to.y[1], h, x[0], x[1]};
            chapter_row(c, row, 9);
        }
}

/* exp(f) at the midpoints of a grid */
static void write_grid(chapter *c, const char *name, flow_logprob_fn f, map *m) {
    chapter_block(c, name, "x1 x2 value");
    for (int i = 0; i < GRID * GRID; i++) {
        double x[2] = {EDGE * ((i % GRID + 0.5) / GRID * 2 - 1),
                       EDGE * ((i / GRID + 0.5) / GRID * 2 - 1)}, value;
        chapter_try(c, f(m, &value, x, 1), name);
        chapter_row3(c, x[0], x[1], exp(value));
        if (i % GRID == GRID - 1) chapter_gap(c);
    }
}

static double box_mass(chapter *c, map *m, double x1, double x2, double side) {
    double mass = 0, logp, cell = side / SUB;
    for (int j = 0; j < SUB * SUB; j++) {
        double at[] = {x1 + (j % SUB + 0.5) * cell, x2 + (j / SUB + 0.5) * cell};
        chapter_try(c, logprob(m, &logp, at, 1), "Newton's method");
        mass += exp(logp) * cell * cell;
    }
    return mass;
}

/* The share f of n samples in a bin of mass p has variance p (1 - p)/n, and the sum of
 * (f - p)^2 over the bins has a relative spread of about sqrt(2 sum p^2): six are allowed. */
static void check_histogram(chapter *c, map *m, const double *y) {
    double *bins = chapter_alloc(c, BINS * BINS), side = 2 * EDGE / BINS;
    double error = 0, want = 0, square = 0;
    chapter_try(c, flow_histogram2(bins, y, c->n, -EDGE, EDGE, BINS), "histogram");
    chapter_block(c, "histogram", "x1 x2 density");
    for (int i = 0; i < BINS * BINS; i++) {
        double x1 = i % BINS * side - EDGE, x2 = i / BINS * side - EDGE;
        double p = box_mass(c, m, x1, x2, side), gap = bins[i] * side * side - p;
        error += gap * gap;
        want += p * (1 - p) / c->n;
        square += p * p;
        chapter_row3(c, x1 + side / 2, x2 + side / 2, bins[i]);
        if (i % BINS == BINS - 1) chapter_gap(c);
    }
    chapter_near(c, "histogram of phi(x): squared error / theory", 1, error / want,
                 6 * sqrt(2 * square));
}

/* x ~ N(0, I) pushed through phi. */
static void check_push(chapter *c, map *m, flow_rng *rng) {
    double *x = chapter_alloc(c, 2 * (size_t)c->n), *y = chapter_alloc(c, 2 * (size_t)c->n);
    double back = 0, mass, logdet;
    flow_normal_sample(rng, x, c->n, 2);
    for (int i = 0; i < c->n; i++) {
        compose(m, y + 2 * i, x + 2 * i);
        double z[2] = {y[2 * i], y[2 * i + 1]};
        chapter_try(c, invert(m, 1, z, &logdet), "Newton's method");
        back = chapter_worse(back, hypot(z[0] - x[2 * i], z[1] - x[2 * i + 1]));
    }
    chapter_near(c, "Newton's way back from phi(x), worst sample", 0, back, 1e-11);
    check_histogram(c, m, y);
    chapter_try(c, flow_quadrature(&mass, logprob, m, -8, 8, c->quick ? 400 : 600, 2), "mass");
    chapter_near(c, "integral of p_y over the plane", 1, mass, c->quick ? 1e-5 : 1e-7);
}

/* A sample takes log p along: log p_k(x_k) = log p_(k-1)(x_(k-1)) - log|det J_k(x_(k-1))|. */
static void write_path(chapter *c, const map *m, const double *x0) {
    double at[2] = {x0[0], x0[1]}, p0, det = 1, sum = 0;
    flow_normal_logprob(&p0, x0, 1, 2);
    chapter_block(c, "path", "k x1 x2 det p");
    for (int k = 0; k <= m->layers; k++) {
        chapter_row5(c, k, at[0], at[1], det, exp(p0 - sum));
        image next = apply(m, k + 1, at);
        memcpy(at, next.y, sizeof at);
        sum += next.logdet;
        det = exp(next.logdet);
    }
}

/* The brute force knows of no layers: it differentiates the whole composition. */
static void check_composition(chapter *c, map *m, flow_rng *rng, const double *centre) {
    double whole = 0, ends = 0, astray = 0, mass, x[2 * SAMPLES];
    flow_normal_sample(rng, x, SAMPLES, 2);
    memcpy(x, centre, 2 * sizeof *x); /* the sample whose way is drawn */
    for (double *x0 = x; x0 < x + 2 * SAMPLES; x0 += 2) {
        double at[2] = {x0[0], x0[1]}, p0, logp, brute = 0, sum = push(m, at), stay = 0;
        for (int k = 1; k <= m->layers; k++) stay += apply(m, k, x0).logdet;
        flow_normal_logprob(&p0, x0, 1, 2);
        chapter_try(c, logprob(m, &logp, at, 1), "Newton's method");
        chapter_try(c, flow_check_logdet(&brute, compose, m, x0, 2, 1e-5), "brute force");
        whole = chapter_worse(whole, fabs(sum - brute));
        ends = chapter_worse(ends, fabs(p0 - sum - logp));
        astray += fabs(stay - brute) / SAMPLES;
    }
    chapter_near(c, "sum of K log|det| - that of the whole Jacobian", 0, whole, 1e-6);
    chapter_say(c, "the same with all K taken at x_0, mean error", astray, "nats");
    chapter_near(c, "log p_K carried forward - found backward", 0, ends, 1e-9);
    chapter_try(c, flow_quadrature(&mass, logprob, m, -10, 10, c->quick ? 240 : 400, 2), "mass");
    chapter_near(c, "integral of p_K over the plane", 1, mass, c->quick ? 1e-3 : 1e-5);
}

static void one_map(chapter *c, double t, const double *centre, flow_rng *rng) {
    const double origin[2] = {0, 0};
    map phi = {t, 1};
    check_square(c, &phi, centre);
    write_net(c, &phi, "plane", origin, 8);
    write_net(c, &phi, "zoom_a", centre, 2);
    write_net(c, &phi, "zoom_b", centre, 0.7);
    write_net(c, &phi, "zoom_c", centre, 0.2);
    write_grid(c, "determinant", logdet_1, &phi);
    check_push(c, &phi, rng);
    write_grid(c, "rule", logprob, &phi);
}

static void many_maps(chapter *c, double bend, int layers, const double *centre, flow_rng *rng) {
    map chain = {bend, layers};
    write_path(c, &chain, centre);
    check_composition(c, &chain, rng, centre);
    for (chain.layers = 0; chain.layers <= layers; chain.layers++)
        write_grid(c, chapter_text("p_%d", chain.layers), logprob, &chain);
}

int main(int argc, char **argv) {
    double t = 0.8, centre[2] = {1, 0.5}, bend = 0.6;
    int layers = 5;
    const chapter_flag flags[] = {{"--t", CHAPTER_REAL, &t, "strength of phi, up to 0.9"},
                                  {"--c1", CHAPTER_REAL, &centre[0], "centre of the squares"},
                                  {"--c2", CHAPTER_REAL, &centre[1], "its second coordinate"},
                                  {"--layers", CHAPTER_COUNT, &layers, "K, up to 8 maps in a row"},
                                  {"--bend", CHAPTER_REAL, &bend, "their strength, up to 0.6"}};
    chapter c;
    flow_rng rng;
    chapter_begin(&c, argc, argv, "02_jacobian", "what a map of the plane does to a density", 50000,
                  flags, 5);
    chapter_require(&c, fabs(t) >= 0.1 && fabs(t) <= 0.9, "--t", "0.1 to 0.9, or its negative");
    chapter_require(&c, hypot(centre[0], centre[1]) <= 4, "--c1, --c2", "within 4 of the origin");
    chapter_require(&c, layers <= 8, "--layers", "a whole number from 1 to 8");
    chapter_require(&c, fabs(bend) <= 0.6, "--bend", "a number from -0.6 to 0.6");
    chapter_require(&c, c.n >= 500, "--n", "at least 500");
    flow_rng_init(&rng, c.seed);

    one_map(&c, t, centre, &rng);
    many_maps(&c, bend, layers, centre, &rng);
    return chapter_end(&c);
}

/* Try this
 * 1. --t 0.5, then --t -0.8: where does phi stretch the plane, where does it squeeze it?
 * 2. --c1 0 --c2 0: at an inflection the distance falls as h^3. Which of Taylor's terms is gone?
 * 3. In logprob() take every determinant at y (apply(m, k, y + 2 * i).logdet): which checks see it?
 */
