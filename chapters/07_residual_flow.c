/* 07_residual_flow: x + g(x) is invertible when g contracts.
 *
 * Beside it: article B, "Residual Flows: Toward Continuous Transformations", with Banach's fixed
 * point theorem and spectral normalization; article D, "From Discrete to Continuous" (ResNets).
 *
 *     y = x + g(x),   Lip(g) <= L < 1
 *
 * For every y the map x -> y - g(x) brings any two points closer by the factor L, so repeating it
 * leads to one fixed point, and that is the inverse: x_0 = y, x_(k+1) = y - g(x_k), with an error
 * that falls at least as fast as L^k. (The article's argument shows that two x never share a y; it
 * is this sequence which shows that every y has its x. And it is Lip(g) < 1 that makes I + J_g
 * nonsingular, not the rank of J_g.) L is enforced by dividing each weight matrix by its largest
 * singular value. The Jacobian is full, and its log-determinant is a series,
 *
 *     log|det(I + J_g)| = tr J_g - tr J_g^2/2 + tr J_g^3/3 - ...
 *
 * which cut off is biased, and with a random, reweighted cut (Russian roulette) is not.
 *
 * Alone: cc -O2 -I. chapters/07_residual_flow.c -lm -o 07_residual_flow && ./07_residual_flow
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

/* ---- one block, by itself ------------------------------------------------------------------- */

typedef struct {
    flow_residual_spec spec;
    flow_bijection b;
    double *theta, *cache;
} block;

/* A block of random parameters, `scale` times a fresh network's. */
static void block_init(chapter *c, block *f, int d, int act, double bound, double scale,
                       flow_rng *rng) {
    const flow_residual_spec spec = {32, 1, act, bound, 0, 0, 0};
    f->spec = spec;
    f->b = flow_residual(d, &f->spec);
    f->theta = chapter_alloc(c, (size_t)f->b.params);
    f->cache = chapter_alloc(c, (size_t)(f->b.work + f->b.cache));
    f->b.init(&f->b, f->theta, rng);
    for (int i = 0; i < f->b.params; i++) f->theta[i] *= scale;
}

/* g(x) = f(x) - x, one point: what flow_check_jacobian and the iteration below need. */
static int block_g(void *ctx, double *g, const double *x) {
    block *f = (block *)ctx;
    double logdet = 0;
    const int err = f->b.forward(&f->b, f->theta, g, &logdet, x, 1, f->cache);
    for (int j = 0; j < f->b.d; j++) g[j] -= x[j];
    return err;
}

static double norm(const double *x, const double *y, int d) {
    double sum = 0;
    for (int j = 0; j < d; j++) sum += (x[j] - y[j]) * (x[j] - y[j]);
    return sqrt(sum);
}

/* The Lipschitz constant as it is: the largest singular value of J_g over sampled points. */
static double lipschitz(chapter *c, block *f, const double *x, int n) {
    double jacobian[64], u[8], v[8], most = 0;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < f->b.d; j++) v[j] = 1.0 / (j + 1);
        chapter_try(c, flow_check_jacobian(jacobian, block_g, f, x + i * f->b.d, f->b.d, 1e-5),
                    "the Jacobian");
        most = chapter_worse(most, flow_spectral_norm(jacobian, u, v, f->b.d, f->b.d, 200));
    }
    return most;
}

/* ---- the inverse as a fixed point ----------------------------------------------------------- */

enum { ITERATIONS = 60 };

/* error[k] = |x_k - x| of x_(k+1) = y - g(x_k), from x_0 = y = x + g(x), which is left in y. */
static void iterate(chapter *c, block *f, const double *x, double *y, double *error) {
    double at[8], g[8];
    const int d = f->b.d;
    chapter_try(c, block_g(f, g, x), "g");
    for (int j = 0; j < d; j++) at[j] = y[j] = x[j] + g[j];
    for (int k = 0; k <= ITERATIONS; k++) {
        error[k] = norm(at, x, d);
        if (!(error[k] < 1e12) || block_g(f, g, at) < 0) { /* it has run away */
            for (; k <= ITERATIONS; k++) error[k] = 1e12;
            return;
        }
        for (int j = 0; j < d; j++) at[j] = y[j] - g[j];
    }
}

/* Second weights W' for first ones W: g(x) = W'tanh(W x + ...), where W'DW is J_g for some diagonal
 * D >= 0. Its eigenvalues are not below 0, so that y = x + g(x) still has one x only. */
static void mirror(block *f) {
    const int d = f->b.d, width = f->spec.width;
    for (int i = 0; i < d * width; i++)
        f->theta[width * (d + 1) + i] = f->theta[i % width * d + i / width];
}

/* The last g is not bounded: there is an x, but the sequence does not lead to it. */
static void fixed_point(chapter *c, flow_rng *rng) {
    const double bounds[] = {0.3, 0.6, 0.9, HUGE_VAL};
    double x[4], y[4], error[4][ITERATIONS + 1], worst = 0, logdet = 0;
    int err;
    block f;
    flow_normal_sample(rng, x, 1, 4);
    for (int b = 0; b < 4; b++) {
        block_init(c, &f, 4, FLOW_TANH, bounds[b], 4, rng);
        if (b == 3) mirror(&f);
        iterate(c, &f, x, y, error[b]);
        for (int k = 1; k <= ITERATIONS && b < 3; k++) /* 1e-14: rounding */
            worst = chapter_worse(worst, (error[b][k] - 1e-14) /
                                             (error[b][0] * exp(k * log(bounds[b]))));
    }
    chapter_below(c, "inverse: error/(first error L^k), worst", worst, 1 + 1e-9);
    chapter_above(c, "  without normalization, error after 60", error[3][ITERATIONS], 0.01);
    err = f.b.inverse(&f.b, f.theta, y, &logdet, y, 1, f.cache);
    chapter_near(c, "  and flow.h says so: FLOW_E_CONVERGE", FLOW_E_CONVERGE, err, 0);
    chapter_block(c, "bounds", "L of the first three");
    chapter_row(c, bounds, 3);
    chapter_block(c, "iterations", "k, errors for these L, error unbounded");
    for (int k = 0; k <= ITERATIONS; k++)
        chapter_row5(c, k, error[0][k], error[1][k], error[2][k], error[3][k]);
}

/* ---- the log-determinant as a series -------------------------------------------------------- */

/* Mean and standard error of `draws` roulette estimates with one probe each, two terms for sure. */
static double roulette(chapter *c, block *f, const double *x, flow_rng *rng, int draws,
                       double *se) {
    double *value = chapter_alloc(c, (size_t)draws);
    for (int i = 0; i < draws; i++)
        chapter_try(c, flow_residual_series(&f->b, f->theta, &value[i], rng, x, 1, 1, 2, 0.5,
                                            f->cache), "the series");
    return chapter_mean(value, draws, se);
}

static void series(chapter *c, flow_rng *rng) {
    const int most = c->quick ? 10 : 14; /* up to 2^most draws */
    double x[8], g[8], exact = 0, cut = 0, se = 0, mean = 0;
    block f;
    flow_normal_sample(rng, x, 1, 8);
    block_init(c, &f, 8, FLOW_LIPSWISH, 0.9, 10, rng);
    chapter_try(c, f.b.forward(&f.b, f.theta, g, &exact, x, 1, f.cache), "the block");
    chapter_block(c, "cut", "terms series exact");
    for (int terms = 1; terms <= 200; terms = terms < 20 ? terms + 1 : terms * 2) {
        chapter_try(c, flow_residual_series(&f.b, f.theta, &cut, rng, x, 1, 0, terms, 0, f.cache),
                    "the series");
        chapter_row3(c, terms, cut, exact);
    }
    chapter_near(c, "log-det: series of 160 terms, exact traces", exact, cut, 1e-7);
    chapter_block(c, "roulette", "draws mean standard_error exact");
    for (int k = 4; k <= most; k++) {
        mean = roulette(c, &f, x, rng, 1 << k, &se);
        chapter_row4(c, 1 << k, mean, se, exact);
    }
    chapter_near(c, "  Russian roulette, one probe each (6 s.e.)", exact, mean, 6 * se);
}

/* ---- trained on the toy sets ---------------------------------------------------------------- */

static const struct {
    int set, width, blocks, steps;
    double bound, rate, limit; /* limit: nats above the entropy */
} plan[] = {
    {FLOW_TOY_MOONS, 16, 16, 5000, 0.99, 1e-2, 0.06},
    {FLOW_TOY_8GAUSSIANS, 24, 16, 5000, 0.999, 1.5e-2, 0.05},
    {FLOW_TOY_CHECKERBOARD, 24, 24, 6000, 0.999, 1.5e-2, 0.32},
};

/* Blocks with an actnorm before each and one at the end, data -> noise. */
static void model_init(chapter *c, flow_chain *flow, flow_residual_spec *spec, int blocks,
                       flow_rng *rng) {
    flow_bijection layer[65];
    for (int k = 0; k <= 2 * blocks; k++)
        layer[k] = k % 2 ? flow_residual(2, spec) : flow_actnorm(2);
    chapter_try(c, flow_chain_init(flow, layer, 2 * blocks + 1, FLOW_TO_NOISE, 64, rng),
                "the flow");
}

static void train(chapter *c, flow_chain *flow, int set, int steps, double rate, flow_rng *rng) {
    const char *name = flow_toy_name(set);
    double x[2 * 64], loss;
    flow_opt adam;
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, rate, flow->params), "Adam");
    adam.beta2 = 0.99;
    flow_toy_sample(set, rng, x, NULL, 64);
    chapter_try(c, flow_chain_fit(flow, x, 64), "the start");
    for (int step = 0; step < steps; step++) {
        flow_toy_sample(set, rng, x, NULL, 64);
        chapter_step(c, flow_chain_nll(flow, &loss, x, 64), name, step);
        adam.rate = rate * flow_schedule_cosine(step, steps) * flow_schedule_warmup(step, 100);
        chapter_step(c, flow_opt_step(&adam, flow->theta, flow->grad), name, step);
        chapter_progress(c, name, step + 1, steps);
    }
    flow_opt_free(&adam);
}

/* The largest Lipschitz constant of the blocks' g, each at 50 of the points that enter it. */
static double trained_lipschitz(chapter *c, flow_chain *flow, int set, flow_rng *rng) {
    double x[2 * 64], most = 0, loss;
    flow_toy_sample(set, rng, x, NULL, 64);
    chapter_try(c, flow_chain_nll(flow, &loss, x, 64), "the flow");
    for (int k = 1; k < flow->count; k += 2) {
        block f;
        f.b = flow->layer[k];
        f.theta = flow_chain_theta(flow, k);
        f.cache = chapter_alloc(c, (size_t)(f.b.work + f.b.cache));
        most = chapter_worse(most, lipschitz(c, &f, flow_chain_points(flow, k), 50));
    }
    return most;
}

static void write_density(chapter *c, flow_chain *flow, const char *name) {
    enum { SIDE = 80, NODES = SIDE * SIDE };
    double *x = chapter_grid(c, -3.95, 3.95, SIDE, 2), *p = chapter_alloc(c, NODES);
    chapter_try(c, flow_chain_logprob(flow, p, x, NODES), "the density");
    for (int i = 0; i < NODES; i++) p[i] = exp(p[i]);
    chapter_plane_block(c, chapter_text("density_%s", name), "x1 x2 p", x, SIDE, p, 1);
}

/* Samples by inversion; carried forward they are their noise again. Returns the worst error. */
static double write_samples(chapter *c, flow_chain *flow, const char *name, flow_rng *rng) {
    const int n = c->n;
    double *z = chapter_alloc(c, 6 * (size_t)n), *x = z + 2 * n, *back = x + 2 * n, worst = 0;
    double logdet[50] = {0};
    flow_normal_sample(rng, z, n, 2);
    for (int i = 0; i < n; i += 50) {
        const int m = n - i < 50 ? n - i : 50;
        chapter_try(c, flow_chain_inverse(flow, x + 2 * i, logdet, z + 2 * i, m), "the inverse");
        chapter_try(c, flow_chain_forward(flow, back + 2 * i, logdet, x + 2 * i, m), "the flow");
    }
    for (int i = 0; i < n; i++) worst = chapter_worse(worst, norm(back + 2 * i, z + 2 * i, 2));
    chapter_points(c, chapter_text("samples_%s", name), "x1 x2", x, n, 2, n);
    return worst;
}

static void trained(chapter *c, int k, flow_rng *rng) {
    const int set = plan[k].set, steps = c->quick ? 200 : plan[k].steps;
    const int points = c->quick ? 500 : 10000; /* held-out */
    const char *name = flow_toy_name(set);
    flow_residual_spec spec = {plan[k].width, 1, FLOW_LIPSWISH, plan[k].bound, 1e-6, 0, 1};
    flow_chain flow;
    double mass, above, round_trip, error, *x = chapter_alloc(c, 2 * (size_t)points);
    model_init(c, &flow, &spec, c->quick ? 6 : plan[k].blocks, rng);
    train(c, &flow, set, steps, plan[k].rate, rng);
    spec.power = 0; /* one power iteration a step while training; now the norms are made exact */
    flow_toy_sample(set, rng, x, NULL, points);
    above = chapter_excess(c, chapter_chain_logprob, &flow, set, x, points, &error);
    chapter_try(c, flow_quadrature(&mass, chapter_chain_logprob, &flow, -8, 8, c->quick ? 80 : 256,
                                   2), "the integral");
    write_density(c, &flow, name);
    round_trip = write_samples(c, &flow, name, rng);
    const char *text = chapter_text("%s: held-out loss - entropy (nats)", name);
    if (c->quick) chapter_say(c, text, above, "untrained: --quick");
    else chapter_below(c, text, above, plan[k].limit);
    chapter_near(c, "  integral of the density", 1, mass, c->quick ? 0.05 : 1e-3);
    chapter_below(c, "  largest Lipschitz constant of a block",
                  trained_lipschitz(c, &flow, set, rng), plan[k].bound + 1e-6);
    chapter_below(c, "  noise -> sample -> noise, worst error", round_trip, 1e-3);
    flow_chain_free(&flow);
}

int main(int argc, char **argv) {
    chapter c;
    flow_rng rng;
    chapter_begin(&c, argc, argv, "07_residual_flow",
                  "x + g(x) with a contracting g", 500, NULL, 0);
    flow_rng_init(&rng, c.seed);
    fixed_point(&c, &rng);
    series(&c, &rng);
    for (int k = 0; k < 3; k++) trained(&c, k, &rng);
    return chapter_end(&c);
}

/* Try this:
 * 1. In fixed_point, let a bound be 0.99: by how much does the inverse beat its guarantee L^k in
 *    figure fixed_point?
 * 2. In roulette, draw 4 terms for sure (2, third from the end), then with 4 probes (1, before it):
 *    which of them lowers the standard error?
 * 3. In plan, give the checkerboard the bound 0.9: what does it cost in nats? */
