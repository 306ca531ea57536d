/* 05_planar_flow - the simplest layer, what keeps it invertible, and what a stack of it can do
 *
 * A planar layer pushes every point along one direction u, as far as its place along w says:
 *
 *     f(x) = x + u tanh(w'x + b),   log|det df/dx| = log|1 + (1 - tanh^2(w'x + b)) w'u|
 *
 * by the matrix determinant lemma, det(I + h' u w') = 1 + h' w'u. Along w it acts as the profile
 * a -> a + w'u tanh(a + b), which turns back when w'u < -1: the map folds, points have three
 * preimages, and the formula is no density any more. C mentions a constraint and leaves it out, as
 * do B and E; Rezende and Mohamed (2015, appendix A.1) replace u by u^, which is u moved along w
 * until w'u^ > -1. A chain f_K(... f_1(x)) adds up its log-determinants. It is trained
 *   noise -> target  where a density is known up to its scale: KL(q|p) = E_q[ln q + U] + ln Z
 *   data -> noise    where samples are known: maximum likelihood, and new samples by inversion
 *
 * Beside: "Flow Matching Series, Part 1" (B), "Planar Flows"; "Flow Matching" (C), section 2;
 * "Flow Matching: A Deep Dive" (D), composition; "Flow-based generative models" (E), "Examples of
 * normalizing flows"; Rezende and Mohamed 2015, sections 4.1 and 6.1.
 *
 * You will see one layer at work (figure geometry) and folding (fold), four densities matched by
 * 2, 8 and 32 layers (energies), a density after each layer and two moons becoming noise (layers),
 * and the distance to the target falling (loss).
 *
 * Build and run it alone:
 *     cc -O2 -I. chapters/05_planar_flow.c -lm -o 05_planar_flow && ./05_planar_flow
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

/* ---- config --------------------------------------------------------------------------------- */

#define PI 3.141592653589793
enum { ENERGIES = 4, SIZES = 3, DEEPEST = 32, BATCH = 64, DRAWN = 1000, STEPS = 16000, MARKS = 40 };
#define RATE 0.01

static const int depth[SIZES] = {2, 8, DEEPEST};
static const double share[SIZES] = {0.25, 0.375, 1}; /* of --steps: deeper chains learn longer */
static const double beta_from[SIZES] = {0.1, 0.3, 0.3};
static const double most[ENERGIES] = {0.03, 0.03, 0.1, 0.1}; /* nats of KL(q|p) at K = 32 */
static const double known[ENERGIES] = {1.87750, 2.08209, 2.64171, 2.68297}; /* ln Z */

/* An affine layer, which sets place and scale, then k planar ones. */
static void stack(chapter *c, flow_chain *chain, int k, int direction, int batch, flow_rng *rng) {
    flow_bijection layer[1 + DEEPEST];
    layer[0] = flow_affine(2);
    for (int i = 1; i <= k; i++) layer[i] = flow_planar(2);
    chapter_try(c, flow_chain_init(chain, layer, 1 + k, direction, batch, rng), "a chain");
}

/* The layers that both chains have; those that only `to` has stay as they are. */
static void copy_layers(flow_chain *to, const flow_chain *from) {
    const int count = to->params < from->params ? to->params : from->params;
    memcpy(to->theta, from->theta, (size_t)count * sizeof *to->theta);
}

/* ---- one layer ------------------------------------------------------------------------------ */

static double dot(const double *x, const double *y, int d) {
    double sum = 0;
    for (int j = 0; j < d; j++) sum += x[j] * y[j];
    return sum;
}

/* theta = u[d], w[d], b: |u| and |w| uniform up to longest, and the steep part near the origin. */
static void random_layer(double *theta, flow_rng *rng, double longest, int d) {
    flow_normal_sample(rng, theta, 2, d);
    theta[2 * d] = 0;
    for (double *v = theta; v <= theta + d; v += d) {
        const double scale = longest * flow_rng_uniform(rng) / sqrt(dot(v, v, d));
        for (int j = 0; j < d; j++) v[j] *= scale;
    }
    for (int j = 0; j < d; j++) theta[2 * d] -= theta[d + j] * (4 * flow_rng_uniform(rng) - 2);
}

static int layer_map(void *ctx, double *y, const double *x) {
    double logdet = 0;
    return flow_chain_forward((flow_chain *)ctx, y, &logdet, x, 1);
}

/* The worst of: [0] the round trip where w'u < 0 and [1] where w'u > 0, [2] how the move changes
 * along a hyperplane w'x = const, [3] the slope along w, [4] the log-determinant. */
static void try_layer(chapter *c, flow_chain *layer, flow_rng *rng, double *worst) {
    const int d = layer->d;
    double x[15], y[15], back[15], logdet[3] = {0}, undone[3] = {0}, brute = 0;
    double *u = layer->theta, *w = u + d;
    random_layer(u, rng, 2, d); /* gentle enough for finite differences */
    flow_uniform_sample(rng, x, -4, 4, 2, d);
    chapter_try(c, flow_chain_forward(layer, y, logdet, x, 1), "a planar layer");
    chapter_try(c, flow_check_logdet(&brute, layer_map, layer, x, d, 1e-5), "its Jacobian");
    worst[4] = fmax(worst[4], fabs(logdet[0] - brute));

    random_layer(u, rng, 10, d);
    const double ww = dot(w, w, d), off = (dot(w, x + d, d) - dot(w, x, d)) / ww;
    for (int j = 0; j < d; j++) {
        x[d + j] -= off * w[j];              /* on the hyperplane of the first point */
        x[2 * d + j] = -u[2 * d] * w[j] / ww; /* on w'x + b = 0, where the slope is least */
    }
    logdet[0] = logdet[1] = logdet[2] = 0;
    chapter_try(c, flow_chain_forward(layer, y, logdet, x, 3), "a planar layer");
    chapter_try(c, flow_chain_inverse(layer, back, undone, y, 3), "its inverse");
    double *trip = worst + (dot(u, w, d) > 0);
    for (int j = 0; j < 3 * d; j++) *trip = fmax(*trip, fabs(back[j] - x[j]));
    for (int j = 0; j < d; j++) worst[2] = fmax(worst[2], fabs(y[j] - x[j] - y[d + j] + x[d + j]));
    worst[3] = fmin(worst[3], exp(logdet[2]));
}

/* 250 layers in each of 2, 3, 4 and 5 dimensions. */
static void random_layers(chapter *c, flow_rng *rng) {
    double worst[5] = {0, 0, 0, 1, 0};
    for (int d = 2; d <= 5; d++) {
        const flow_bijection planar = flow_planar(d);
        flow_chain layer;
        chapter_try(c, flow_chain_init(&layer, &planar, 1, FLOW_FROM_NOISE, 3, rng), "a layer");
        for (int i = 0; i < 250; i++) try_layer(c, &layer, rng, worst);
        flow_chain_free(&layer);
    }
    chapter_near(c, "1000 layers: move along a hyperplane changes by", 0, worst[2], 1e-11);
    chapter_near(c, "  log-det: lemma - LU of the brute-force Jacobian", 0, worst[4], 1e-6);
    chapter_above(c, "  smallest slope along w with u^", worst[3], 0);
    chapter_near(c, "  inverse of forward, w'u < 0: error", 0, worst[0], 1e-10);
    chapter_near(c, "  inverse of forward, w'u > 0: error", 0, worst[1], 1e-10);
}

/* How often a + wu tanh(a) = y: the solutions lie within |wu| of y. */
static int preimages(double wu, double y) {
    int count = 0, below = 1;
    for (int i = -2000; i <= 2000; i++) {
        const double a = y + (fabs(wu) + 1) * i / 2000;
        if ((a + wu * tanh(a) < y) == below) continue;
        below = !below;
        count++;
    }
    return count;
}

/* A sheet of squares under the raw formula and under the layer with u^, theta = u, w, b. */
static void sheet(chapter *c, const char *name, const double *theta, flow_rng *rng) {
    const flow_bijection planar = flow_planar(2);
    const double *u = theta, *w = theta + 2;
    flow_chain layer;
    chapter_try(c, flow_chain_init(&layer, &planar, 1, FLOW_FROM_NOISE, 1, rng), "a layer");
    memcpy(layer.theta, theta, 5 * sizeof *theta);
    chapter_block(c, name, "x1 x2 raw1 raw2 y1 y2 h logdet");
    for (int i = 0; i < 34 * 81; i++) {
        const double fixed = (i / 81 % 17 - 8) / 2.0, along = (i % 81 - 40) / 10.0;
        const double x[2] = {i < 17 * 81 ? fixed : along, i < 17 * 81 ? along : fixed};
        const double h = tanh(dot(w, x, 2) + theta[4]);
        double y[2], logdet = 0;
        chapter_try(c, flow_chain_forward(&layer, y, &logdet, x, 1), "a layer");
        const double row[] = {x[0], x[1], x[0] + u[0] * h, x[1] + u[1] * h, y[0], y[1], h, logdet};
        if (i % 81 == 0) chapter_gap(c);
        chapter_row(c, row, 8);
    }
    flow_chain_free(&layer);
}

/* The profiles of one layer with w'u = wu, raw and with u^, and what they do to a sheet. */
static void fold(chapter *c, double wu, flow_rng *rng) {
    const double theta[5] = {0.8 * wu - 0.3, 0.4 * wu + 0.6, 1, 0.5, 0};
    double uhat[2];
    const double hat = flow_planar_uhat(uhat, theta, theta + 2, 2);
    int most_raw = 0, most_hat = 0;
    chapter_block(c, "profile", "a raw constrained preimages");
    for (int i = -400; i <= 400; i++) {
        const double a = i / 80.0;
        const int raw = preimages(wu, a), one = preimages(hat, a);
        most_raw = raw > most_raw ? raw : most_raw;
        most_hat = one > most_hat ? one : most_hat;
        chapter_row4(c, a, a + wu * tanh(a), a + hat * tanh(a), raw);
    }
    chapter_near(c, "w'u = --fold, raw formula: most preimages", wu < -1 ? 3 : 1, most_raw, 0);
    chapter_near(c, "  with u^", 1, most_hat, 0);
    sheet(c, "folding", theta, rng);
}

/* ---- four energies -------------------------------------------------------------------------- */

typedef struct {
    int which;
    double beta;  /* the flow sees beta U */
    double rest;  /* every call adds the mean of (1 - beta) U */
    double log_z; /* of exp(-U) */
} target;

/* -log(e^-a + e^-b); *first is the part of the first in its gradient. */
static double either(double a, double b, double *first) {
    *first = 1 / (1 + exp(a - b));
    return fmin(a, b) - log1p(exp(-fabs(a - b)));
}

/* U1 = ((|z| - 2)/0.4)^2/2 - log(exp(-((z1 - 2)/0.6)^2/2) + exp(-((z1 + 2)/0.6)^2/2)) */
static double energy_ring(const double *z, double *g) {
    const double r = sqrt(dot(z, z, 2)) + 1e-300, p = (z[0] - 2) / 0.6, q = (z[0] + 2) / 0.6;
    double first;
    const double two = either(p * p / 2, q * q / 2, &first);
    g[0] = (r - 2) / 0.16 * z[0] / r + (first * p + (1 - first) * q) / 0.6;
    g[1] = (r - 2) / 0.16 * z[1] / r;
    return (r - 2) * (r - 2) / 0.32 + two;
}

/* U2 to U4: ribbons along z2 = w1 = sin(pi z1/2) and, in U3 and U4, along z2 = w1 - gap,
 * gap = 3 exp(-((z1 - 1)/0.6)^2/2) and 3 sigmoid((z1 - 1)/0.3). */
static double energy_ribbon(int which, const double *z, double *g) {
    const double sd = which == 2 ? 0.35 : 0.4, e = (z[0] - 1) / 0.6;
    const double bump = exp(-e * e / 2), step = 1 / (1 + exp(-(z[0] - 1) / 0.3));
    const double gap = which == 2 ? 3 * bump : 3 * step;
    const double dgap = which == 2 ? -5 * e * bump : 10 * step * (1 - step);
    const double p = (z[1] - sin(PI * z[0] / 2)) / sd, q = (p * sd + gap) / 0.35;
    double first = 1, u = p * p / 2;
    if (which > 1) u = either(p * p / 2, q * q / 2, &first);
    g[1] = first * p / sd + (1 - first) * q / 0.35;
    g[0] = -PI / 2 * cos(PI * z[0] / 2) * g[1] + (1 - first) * q / 0.35 * dgap;
    return u;
}

/* beta (U + envelope). U2 to U4 do not decay along z1, so that no density belongs to them: the
 * envelope sum_i softplus(10 (|z_i| - 4)) keeps all four within [-4, 4]^2, softly. */
static int energy(void *ctx, double *u, double *du, const double *z, int n) {
    target *t = (target *)ctx;
    for (int i = 0; i < n; i++, z += 2, du += 2) {
        u[i] = t->which == 0 ? energy_ring(z, du) : energy_ribbon(t->which, z, du);
        for (int j = 0; j < 2; j++) {
            const double over = 10 * (fabs(z[j]) - 4);
            u[i] += fmax(over, 0) + log1p(exp(-fabs(over)));
            du[j] = t->beta * (du[j] + (z[j] > 0 ? 10 : -10) / (1 + exp(-over)));
        }
        t->rest += (1 - t->beta) * u[i] / n;
        u[i] *= t->beta;
    }
    return FLOW_OK;
}

/* log p = -U - log Z; also the integrand of Z itself, while log_z = 0 and beta = 1 */
static int target_logprob(void *ctx, double *logp, const double *z, int n) {
    target *t = (target *)ctx;
    double du[2];
    for (int i = 0; i < n; i++) {
        energy(t, logp + i, du, z + 2 * i, 1);
        logp[i] = -logp[i] - t->log_z;
    }
    return FLOW_OK;
}

static int chain_logprob(void *ctx, double *logp, const double *x, int n) {
    return flow_chain_logprob((flow_chain *)ctx, logp, x, n);
}

/* The quadrature of a flow's mass asks for log q; on the way, the sum of q log(q/p) forms. */
typedef struct {
    flow_chain *chain;
    target *t;
    double sum;
} gauge;

static int gauge_logprob(void *ctx, double *logq, const double *x, int n) {
    gauge *g = (gauge *)ctx;
    const int err = flow_chain_logprob(g->chain, logq, x, n);
    for (int i = 0; i < n && err == FLOW_OK; i++) {
        double logp;
        target_logprob(g->t, &logp, x + 2 * i, 1);
        g->sum += exp(logq[i]) * (logq[i] - logp);
    }
    return err;
}

/* A density on a grid, to be drawn. */
static void image(chapter *c, const char *name, flow_logprob_fn logprob, void *ctx) {
    const int side = c->quick ? 40 : 80, n = side * side;
    const double *x = chapter_grid(c, -4, 4, side, 2);
    double *logp = chapter_alloc(c, (size_t)n);
    chapter_try(c, logprob(ctx, logp, x, n), name);
    chapter_block(c, name, "x1 x2 p");
    for (int i = 0; i < n; i++) chapter_row3(c, x[2 * i], x[2 * i + 1], exp(logp[i]));
}

static void adam_init(chapter *c, flow_opt *adam, int count) {
    chapter_try(c, flow_opt_init(adam, FLOW_ADAM, RATE, count), "Adam");
    adam->beta2 = 0.99;
    adam->decay = 0.01; /* brings back layers that have gone where no sample is */
}

/* Descends E_q[log q + beta U] while beta rises from `low` to 1 over the first 38% of the steps,
 * lest a mode be left out. Writes the KL that the samples of 1/40 of the steps show. */
static void descend(chapter *c, flow_chain *chain, target *t, double low, int begun, int steps,
                    flow_rng *rng) {
    flow_opt adam;
    double loss, sum = 0;
    int count = 0;
    adam_init(c, &adam, chain->params);
    for (int i = 0; i < steps; i++) {
        t->beta = fmin(1, low + (1 - low) * i / (0.38 * steps));
        t->rest = 0;
        adam.rate = RATE * flow_schedule_cosine(i, steps);
        chapter_try(c, flow_chain_reverse_kl(chain, &loss, energy, t, rng, BATCH), "reverse KL");
        chapter_try(c, flow_opt_step(&adam, chain->theta, chain->grad), "a step of Adam");
        chapter_progress(c, "reverse KL, step", i, steps);
        sum += loss + t->rest + t->log_z;
        count++;
        if ((i + 1L) * MARKS / steps == (long)i * MARKS / steps) continue;
        chapter_row3(c, begun + i + 1 - count / 2.0, chain->count - 1, sum / count);
        sum = count = 0;
    }
    t->beta = 1;
    flow_opt_free(&adam);
}

/* 2, then 8, then 32 layers. A longer chain begins where the shorter one ended: its new layers
 * stand near the identity (u is small and m(0) = 0), so that what is learnt is not lost. */
static void match(chapter *c, target *t, flow_chain *chain, double *kl, double *mass, int steps,
                  flow_rng *rng) {
    const int mesh = c->quick ? 80 : 160;
    const double cell = 12.0 / mesh * 12.0 / mesh;
    char name[20];
    int begun = 0;
    snprintf(name, sizeof name, "U%d_steps", t->which + 1);
    chapter_block(c, name, "step layers KL");
    for (int k = 0; k < SIZES; k++) {
        const int some = (int)(share[k] * steps) + 1;
        gauge g = {&chain[k], t, 0};
        stack(c, &chain[k], depth[k], FLOW_FROM_NOISE, BATCH, rng);
        if (k > 0) copy_layers(&chain[k], &chain[k - 1]);
        descend(c, &chain[k], t, beta_from[k], begun, some, rng);
        chapter_try(c, flow_quadrature(&mass[k], gauge_logprob, &g, -6, 6, mesh, 2), "KL");
        kl[k] = g.sum * cell;
        begun += some;
    }
    snprintf(name, sizeof name, "U%d_target", t->which + 1);
    image(c, name, target_logprob, t);
    for (int k = 0; k < SIZES; k++) {
        snprintf(name, sizeof name, "U%d_K%02d", t->which + 1, depth[k]);
        image(c, name, chain_logprob, &chain[k]);
    }
}

/* The density after the first k of a chain's planar layers. */
static void layer_by_layer(chapter *c, const flow_chain *chain, flow_rng *rng) {
    const int shown[] = {0, 2, 4, 8, 16, 32};
    for (int i = 0; i < 6; i++) {
        flow_chain part;
        char name[20];
        snprintf(name, sizeof name, "after%02d", shown[i]);
        stack(c, &part, shown[i], FLOW_FROM_NOISE, BATCH, rng);
        copy_layers(&part, chain);
        image(c, name, chain_logprob, &part);
        flow_chain_free(&part);
    }
}

static void energies(chapter *c, int steps, int show, flow_rng *rng) {
    flow_chain chain[ENERGIES][SIZES];
    double kl[ENERGIES][SIZES], mass[ENERGIES][SIZES], z, off_z = 0, off_mass = 0, ratio = 1e9;
    for (int e = 0; e < ENERGIES; e++) {
        target t = {e, 1, 0, 0};
        chapter_try(c, flow_quadrature(&z, target_logprob, &t, -6, 6, 200, 2), "Z");
        t.log_z = log(z);
        off_z = fmax(off_z, fabs(t.log_z - known[e]));
        match(c, &t, chain[e], kl[e], mass[e], steps, rng);
        for (int k = 0; k < SIZES; k++) {
            off_mass = fmax(off_mass, fabs(mass[e][k] - 1));
            if (k > 0) ratio = fmin(ratio, kl[e][k - 1] / kl[e][k]);
        }
    }
    chapter_near(c, "ln Z of U1 to U4: distance from the known", 0, off_z, 1e-5);
    chapter_block(c, "divergence", "layers U1 U2 U3 U4");
    for (int k = 0; k < SIZES; k++) {
        const double row[] = {(double)depth[k], kl[0][k], kl[1][k], kl[2][k], kl[3][k]};
        chapter_row(c, row, 5);
    }
    for (int e = 0; e < ENERGIES; e++) {
        char text[64];
        snprintf(text, sizeof text, "U%d, KL(q|p) in nats: K = 32 (2: %.2f, 8: %.3f)", e + 1,
                 kl[e][0], kl[e][1]);
        chapter_below(c, text, kl[e][2], steps < STEPS ? 1 : most[e]);
    }
    chapter_above(c, "KL(2)/KL(8), KL(8)/KL(32): the least of 8", ratio, steps < STEPS ? 0.5 : 1);
    chapter_near(c, "mass of 12 densities: farthest from 1", 0, off_mass, c->quick ? 1e-2 : 1e-3);
    layer_by_layer(c, &chain[show - 1][SIZES - 1], rng);
    for (int e = 0; e < ENERGIES * SIZES; e++) flow_chain_free(&chain[e / SIZES][e % SIZES]);
}

/* ---- maximum likelihood --------------------------------------------------------------------- */

/* The mean of log p - log q over held-out points, both known: paired, so that the noise of the
 * sample all but cancels. *error is its standard error. */
static double excess(chapter *c, flow_chain *chain, double *logq, const double *x,
                     const double *logp, int n, double *error) {
    double mean = 0, square = 0;
    chapter_try(c, flow_chain_logprob(chain, logq, x, n), "a likelihood");
    for (int i = 0; i < n; i++) mean += (logp[i] - logq[i]) / n;
    for (int i = 0; i < n; i++) square += (logp[i] - logq[i] - mean) * (logp[i] - logq[i] - mean);
    *error = sqrt(square) / n;
    return mean;
}

static void moons(chapter *c, int steps, flow_rng *rng) {
    const int n = c->n, few = n < 2000 ? n : 2000;
    double *x = chapter_alloc(c, 2 * (size_t)n), *logp = chapter_alloc(c, (size_t)n);
    double *logq = chapter_alloc(c, (size_t)n), *y = chapter_alloc(c, 2 * DRAWN);
    double batch[2 * BATCH], undone[DRAWN] = {0}, loss, error, mass;
    flow_chain chain;
    flow_opt adam;
    flow_toy_sample(FLOW_TOY_MOONS, rng, x, NULL, n);
    chapter_try(c, flow_toy_logprob(FLOW_TOY_MOONS, logp, x, n), "the moons");
    stack(c, &chain, DEEPEST, FLOW_TO_NOISE, DRAWN, rng);
    adam_init(c, &adam, chain.params);
    chapter_block(c, "moons_steps", "step excess");
    for (int i = 0; i < steps; i++) {
        if ((i + 1L) * MARKS / steps != (long)i * MARKS / steps)
            chapter_row2(c, i, excess(c, &chain, logq, x, logp, few, &error));
        adam.rate = RATE * flow_schedule_cosine(i, steps);
        flow_toy_sample(FLOW_TOY_MOONS, rng, batch, NULL, BATCH);
        chapter_try(c, flow_chain_nll(&chain, &loss, batch, BATCH), "the likelihood");
        chapter_try(c, flow_opt_step(&adam, chain.theta, chain.grad), "a step of Adam");
        chapter_progress(c, "maximum likelihood, step", i, steps);
    }
    const double gap = excess(c, &chain, logq, x, logp, n, &error);
    chapter_below(c, "two moons: held-out NLL - entropy, nats", gap,
                  (steps < STEPS ? 0.5 : 0.04) + (n < 10000 ? 5 * error : 0));
    chapter_try(c, flow_quadrature(&mass, chain_logprob, &chain, -8, 8, 200, 2), "mass of moons");
    chapter_near(c, "  mass of the density", 1, mass, c->quick ? 1e-2 : 1e-3);

    const int drawn = n < DRAWN ? n : DRAWN;
    chapter_try(c, flow_chain_forward(&chain, y, undone, x, drawn), "data to noise");
    for (int k = 0; k <= DEEPEST; k += 8) {
        char name[20];
        snprintf(name, sizeof name, "moons%02d", k);
        chapter_points(c, name, "x1 x2", flow_chain_points(&chain, k ? k + 1 : 0), drawn, 2, DRAWN);
    }
    chapter_try(c, flow_chain_sample(&chain, rng, y, DRAWN), "samples");
    chapter_points(c, "moons_samples", "x1 x2", y, DRAWN, 2, DRAWN);
    flow_opt_free(&adam);
    flow_chain_free(&chain);
}

int main(int argc, char **argv) {
    int steps = STEPS, show = 4;
    double wu = -3;
    const chapter_flag flags[] = {
        {"--steps", CHAPTER_COUNT, &steps, "of training, for 32 layers"},
        {"--show", CHAPTER_COUNT, &show, "the energy of figure layers, 1 to 4"},
        {"--fold", CHAPTER_REAL, &wu, "w'u of figure fold"},
    };
    const double stretch[5] = {0.7, 1.1, 1.2, 0.5, 0};
    chapter c;
    flow_rng rng;
    chapter_begin(&c, argc, argv, "05_planar_flow", "planar layers, one and many", 10000, flags, 3);
    chapter_require(&c, show <= ENERGIES, "--show", "1, 2, 3 or 4");
    if (c.quick && steps > 1000) steps = 1000;
    flow_rng_init(&rng, c.seed);
    random_layers(&c, &rng);
    sheet(&c, "geometry", stretch, &rng);
    fold(&c, wu, &rng);
    energies(&c, steps, show, &rng);
    moons(&c, steps, &rng);
    return chapter_end(&c);
}
