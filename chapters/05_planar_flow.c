/* 05_planar_flow - the simplest layer, what keeps it invertible, and what a stack of it can do
 *
 * A planar layer pushes all points along one direction u, as far as their place along w says:
 *
 *     f(x) = x + u tanh(w'x + b),   log|det df/dx| = log|1 + (1 - tanh^2(w'x + b)) w'u|
 *
 * by the matrix determinant lemma, det(I + h' u w') = 1 + h' w'u. Along w it is the profile
 * a -> a + w'u tanh(a + b), which turns back when w'u < -1: the map folds, points have three
 * preimages, and the formula is no density any more. C mentions a constraint and leaves it out, as
 * do B and E; Rezende and Mohamed (2015, appendix A.1) replace u by u^, moved along w until
 * w'u^ > -1. A chain of layers adds up their log-determinants, and is trained in two ways:
 *   noise -> target  a density known up to its scale: least KL(q|p) = E_q[log q + U] + log Z
 *   data -> noise    samples known: maximum likelihood; new samples by inversion
 *
 * Beside: "Flow Matching Series, Part 1" (B), "Planar Flows"; "Flow Matching" (C), section 2;
 * "Flow Matching: A Deep Dive" (D), composition; "Flow-based generative models" (E), "Examples of
 * normalizing flows"; Rezende and Mohamed 2015, sections 4.1 and 6.1.
 * You will see one layer at work (figure geometry) and folding (fold), four densities matched by
 * 2, 8 and 32 layers (energies), what each layer does (layers), and the training (loss).
 *
 * Alone: cc -O2 -I. chapters/05_planar_flow.c -lm -o 05_planar_flow && ./05_planar_flow
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { BATCH = 64, STEPS = 16000, DRAWN = 320, LAYERS = 1000 };

/* ---- one layer ------------------------------------------------------------------------------ */

typedef struct {
    flow_bijection f;
    double theta[11], cache[16]; /* u[d], w[d], b */
} layer;

static double dot(const double *x, const double *y, int d) {
    double sum = 0;
    for (int j = 0; j < d; j++) sum += x[j] * y[j];
    return sum;
}

static int layer_map(void *ctx, double *y, const double *x) {
    layer *l = (layer *)ctx;
    double logdet = 0;
    return l->f.forward(&l->f, l->theta, y, &logdet, x, 1, l->cache);
}

/* The lemma against brute force on gentle layers, where finite differences are good; then layers
 * with |u| and |w| up to 10: there and back again, also from where tanh is steepest. */
static void random_layers(chapter *c, flow_rng *rng) {
    double lemma = 0, trip[2] = {0, 0}, slope = 1;
    for (int i = 0; i < LAYERS; i++) {
        const int d = 2 + i % 4;
        const double reach = 10 / sqrt(d);
        layer l = {flow_planar(d), {0}, {0}};
        double *u = l.theta, *w = u + d, x[10], y[10], back[10], logdet[5] = {0}, brute = 0;
        flow_uniform_sample(rng, u, -1, 1, 2 * d + 1, 1);
        flow_uniform_sample(rng, x, -4, 4, 1, d);
        chapter_try(c, l.f.forward(&l.f, u, y, logdet, x, 1, l.cache), "a layer");
        chapter_try(c, flow_check_logdet(&brute, layer_map, &l, x, d, 1e-5), "its Jacobian");
        lemma = chapter_worse(lemma, fabs(logdet[0] - brute));
        flow_uniform_sample(rng, u, -reach, reach, 2 * d + 1, 1);
        for (int j = 0; j < d; j++) x[d + j] = -u[2 * d] * w[j] / dot(w, w, d);
        chapter_try(c, l.f.forward(&l.f, u, y, logdet + 1, x, 2, l.cache), "a layer");
        chapter_try(c, l.f.inverse(&l.f, u, back, logdet + 3, y, 2, l.cache), "its inverse");
        double *error = trip + (dot(u, w, d) > 0);
        for (int j = 0; j < 2 * d; j++) *error = chapter_worse(*error, fabs(back[j] - x[j]));
        slope = -chapter_worse(-slope, -exp(logdet[2]));
    }
    chapter_near(c, "log-det: lemma - LU of brute-force Jacobian", 0, lemma, 1e-6);
    chapter_near(c, "forward, then inverse, where w'u < 0", 0, trip[0], 1e-10);
    chapter_near(c, "  where w'u > 0", 0, trip[1], 1e-10);
    chapter_above(c, "  least slope along w, with u^", slope, 0);
}

/* Two sheets of lines, by the formula as C writes it and by the layer with u^. Returns how far its
 * moves are from u^ h: along u^, and equal all over a hyperplane w'x = const. */
static double sheet(chapter *c, const char *name, layer *l) {
    double *u = l->theta, *w = u + 2, uhat[2], y[2], off = 0;
    flow_planar_uhat(uhat, u, w, 2);
    chapter_block(c, name, "x1 x2 raw1 raw2 y1 y2 raw_det logdet");
    for (int i = 0; i < 34 * 81; i++) {
        const double s = (i / 81 % 17 - 8) / 2.0, t = (i % 81 - 40) / 10.0;
        const double x[2] = {i < 17 * 81 ? s : t, i < 17 * 81 ? t : s};
        const double h = tanh(dot(w, x, 2) + u[4]), det = 1 + (1 - h * h) * dot(w, u, 2);
        double logdet = 0;
        chapter_try(c, l->f.forward(&l->f, u, y, &logdet, x, 1, l->cache), "a layer");
        for (int j = 0; j < 2; j++) off = chapter_worse(off, fabs(y[j] - x[j] - uhat[j] * h));
        const double raw[2] = {x[0] + u[0] * h, x[1] + u[1] * h};
        const double row[8] = {x[0], x[1], raw[0], raw[1], y[0], y[1], det, logdet};
        if (i % 81 == 0) chapter_gap(c);
        chapter_row(c, row, 8);
    }
    return off;
}

/* How often a + slope tanh(a) comes to y, for a within reach of y. */
static int preimages(double y, double slope, double reach) {
    int count = 0;
    for (double a = y - reach, b; a < y + reach; a = b) {
        b = a + 0.01;
        count += (a + slope * tanh(a) < y) != (b + slope * tanh(b) < y);
    }
    return count;
}

/* The profile along w with w'u = wu, raw and with u^. */
static void fold(chapter *c, double wu) {
    layer l = {flow_planar(2), {0.8 * wu - 0.3, 0.4 * wu + 0.6, 1, 0.5, 0}, {0}};
    const double slope = flow_planar_uhat(l.cache, l.theta, l.theta + 2, 2), reach = fabs(wu) + 1;
    double most = 0, most_with = 0;
    chapter_block(c, "profile", "a raw constrained preimages");
    for (int i = -400; i <= 400; i++) {
        const double a = i / 80.0, count = preimages(a, wu, reach);
        most = fmax(most, count);
        most_with = fmax(most_with, preimages(a, slope, reach));
        chapter_row4(c, a, a + wu * tanh(a), a + slope * tanh(a), count);
    }
    chapter_near(c, "w'u = --fold, raw formula: most preimages", wu < -1 ? 3 : 1, most, 0);
    chapter_near(c, "  with u^", 1, most_with, 0);
    sheet(c, "folding", &l);
}

/* ---- four energies [Rezende and Mohamed 2015, table 1] --------------------------------------- */

typedef struct {
    int which;                /* 1 to 4, of flow_toy_energy */
    double log_z, beta, rest; /* the flow sees beta U; every call adds the mean of (1 - beta) U */
    double off;               /* how far the mass of its flows is from 1, at most */
} target;

/* beta (U + envelope). U2 to U4 do not grow along z1, so that exp(-U) has no finite integral: the
 * envelope sum_i softplus(10 (|z_i| - 4)) keeps all four within [-4, 4]^2, softly. */
static int energy(void *ctx, double *u, double *du, const double *z, int n) {
    target *t = (target *)ctx;
    flow_toy_energy(t->which, u, du, z, n);
    for (int i = 0; i < n; i++, z += 2, du += 2) {
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

/* log p = -U - log Z */
static int target_logprob(void *ctx, double *logp, const double *z, int n) {
    double du[2];
    for (int i = 0; i < n; i++) {
        energy(ctx, logp + i, du, z + 2 * i, 1);
        logp[i] = -logp[i] - ((target *)ctx)->log_z;
    }
    return FLOW_OK;
}

/* ---- chains --------------------------------------------------------------------------------- */

/* An affine layer for place and scale, then k planar ones. Those that another chain has already
 * are taken from it; new ones are nearly the identity, since u is small: u = 0 gives u^ = 0. */
static void stack(chapter *c, flow_chain *chain, int k, const flow_chain *from, int direction,
                  flow_rng *rng) {
    flow_bijection part[33] = {flow_affine(2)};
    for (int i = 1; i <= k; i++) part[i] = flow_planar(2);
    chapter_try(c, flow_chain_init(chain, part, 1 + k, direction, DRAWN, rng), "a chain");
    for (int i = 0; from && i < chain->params && i < from->params; i++)
        chain->theta[i] = from->theta[i];
}

/* A loss and its gradient: of the reverse KL, E_q[log q + beta U] of fresh samples (beta rises from
 * 0.1 to 1, lest a mode be left out) or, without a target, of the NLL of fresh moons. Returns the
 * KL = free energy at beta = 1 + log Z, or the NLL - entropy. */
static double gradient(chapter *c, flow_chain *chain, target *t, int i, int steps, flow_rng *rng) {
    double loss, x[2 * BATCH];
    if (!t) {
        flow_toy_sample(FLOW_TOY_MOONS, rng, x, NULL, BATCH);
        chapter_step(c, flow_chain_nll(chain, &loss, x, BATCH), "the likelihood", i);
        return loss - flow_toy_entropy(FLOW_TOY_MOONS);
    }
    t->rest = 0, t->beta = fmin(1, 0.1 + 0.9 * i / (0.38 * steps));
    chapter_step(c, flow_chain_reverse_kl(chain, &loss, energy, t, rng, BATCH), "KL", i);
    return loss + t->rest + t->log_z;
}

/* Adam with cosine decay; writes the mean of every fortieth of the steps. */
static void train(chapter *c, flow_chain *chain, target *t, int begun, int steps, flow_rng *rng) {
    const int mark = steps / 40 + 1;
    double mean = 0;
    flow_opt adam;
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, 0.01, chain->params), "Adam");
    adam.beta2 = 0.99, adam.decay = 0.01; /* brings layers back from where no sample is */
    for (int i = 0; i < steps; i++) {
        mean += gradient(c, chain, t, i, steps, rng) / mark;
        adam.rate = 0.01 * flow_schedule_cosine(i, steps);
        chapter_step(c, flow_opt_step(&adam, chain->theta, chain->grad), "Adam", i);
        chapter_progress(c, t ? "reverse KL, step" : "maximum likelihood, step", i + 1, steps);
        if ((i + 1) % mark > 0) continue;
        chapter_row3(c, begun + i + 1 - mark / 2.0, chain->count - 1, mean);
        mean = 0;
    }
    flow_opt_free(&adam);
}

/* Integrates q and q log(q/p) over [-6, 6]^2; writes q and p within [-4, 4]^2, where every second
 * node is enough. Returns the KL. */
static double survey(chapter *c, const char *name, flow_chain *chain, target *t) {
    const int side = c->quick ? 97 : 241, n = side * side;
    const double *x = chapter_grid(c, -6, 6, side, 2), cell = 144.0 / (side - 1) / (side - 1);
    double *logq = chapter_alloc(c, 2 * (size_t)n), *logp = logq + n, kl = 0, mass = 0;
    chapter_try(c, flow_chain_logprob(chain, logq, x, n), "log q");
    target_logprob(t, logp, x, n);
    chapter_block(c, name, "x1 x2 q p");
    for (int i = 0; i < n; i++, x += 2) {
        const double q = exp(logq[i]);
        mass += q * cell, kl += q * (logq[i] - logp[i]) * cell;
        if (i % 2 == 0 && i / side % 2 == 0 && fmax(fabs(x[0]), fabs(x[1])) < 4.01)
            chapter_row4(c, x[0], x[1], q, exp(logp[i]));
    }
    t->off = chapter_worse(t->off, fabs(mass - 1));
    return kl;
}

/* What remains of a chain when only its first 0, 2, 4 ... 32 planar layers are left. On its way the
 * density may leave the square, so the mass there is not counted: t is a copy. */
static void write_layers(chapter *c, const flow_chain *chain, target t, flow_rng *rng) {
    for (int k = 0; k <= 32; k = k ? 2 * k : 2) {
        flow_chain part;
        stack(c, &part, k, chain, FLOW_FROM_NOISE, rng);
        survey(c, chapter_text("after%02d", k), &part, &t);
        flow_chain_free(&part);
    }
}

/* KL of 2, then 8, then 32 layers, each chain begun where the shorter one ended. */
static void one_energy(chapter *c, target *t, int steps, int show, double *kl, flow_rng *rng) {
    const int e = t->which, depth[3] = {2, 8, 32};
    const int some[3] = {steps / 4 + 1, steps / 8 * 3 + 1, steps};
    flow_chain chain[3];
    chapter_block(c, chapter_text("steps%02d", e), "step layers KL");
    for (int k = 0, begun = 0; k < 3; begun += some[k++]) {
        stack(c, &chain[k], depth[k], k ? &chain[k - 1] : NULL, FLOW_FROM_NOISE, rng);
        train(c, &chain[k], t, begun, some[k], rng);
    }
    t->beta = 1;
    for (int k = 0; k < 3; k++)
        kl[k] = survey(c, chapter_text("U%d_K%02d", e, depth[k]), &chain[k], t);
    chapter_block(c, chapter_text("final%02d", e), "KL of 2, 8, 32 layers");
    chapter_row(c, kl, 3);
    if (e == show) write_layers(c, &chain[2], *t, rng);
    for (int k = 0; k < 3; k++) flow_chain_free(&chain[k]);
}

static void energies(chapter *c, int steps, int show, flow_rng *rng) {
    const double most[4] = {0.03, 0.03, 0.1, 0.1}, known[4] = {1.87750, 2.08209, 2.64171, 2.68297};
    double off = 0, off_z = 0, ratio = -1e9, z, kl[3];
    for (int e = 1; e <= 4; e++) {
        target t = {e, 0, 1, 0, 0};
        chapter_try(c, flow_quadrature(&z, target_logprob, &t, -6, 6, 200, 2), "Z");
        t.log_z = log(z);
        off_z = chapter_worse(off_z, fabs(t.log_z - known[e - 1]));
        one_energy(c, &t, steps, show, kl, rng);
        off = chapter_worse(off, t.off);
        ratio = chapter_worse(ratio, chapter_worse(-kl[0] / kl[1], -kl[1] / kl[2]));
        chapter_below(c, chapter_text("U%d: KL at K = 32 (K = 2: %.2f, 8: %.3f)", e, kl[0], kl[1]),
                      kl[2], steps < STEPS ? 1 : most[e - 1]);
    }
    chapter_above(c, "  KL(2)/KL(8) and KL(8)/KL(32): the least", -ratio, steps < STEPS ? 0.5 : 1);
    chapter_near(c, "  mass of all densities: off 1 by", 0, off, c->quick ? 1e-2 : 1e-3);
    chapter_near(c, "  ln Z of the energies: off the known by", 0, off_z, 1e-5);
}

/* Data -> noise, scored by the mean of log p - log q over fresh points, whose noise is small. */
static void moons(chapter *c, int steps, flow_rng *rng) {
    const int n = c->quick && c->n > 2000 ? 2000 : c->n;
    double *x = chapter_alloc(c, 2 * (size_t)n), limit = steps < STEPS ? 0.5 : 0.04;
    double gap, error, mass = 0, y[2 * DRAWN], logdet[DRAWN] = {0};
    flow_chain chain;
    stack(c, &chain, 32, NULL, FLOW_TO_NOISE, rng);
    chapter_block(c, "steps00", "step layers excess");
    train(c, &chain, NULL, 0, steps, rng);
    flow_toy_sample(FLOW_TOY_MOONS, rng, x, NULL, n);
    gap = chapter_excess(c, chapter_chain_logprob, &chain, FLOW_TOY_MOONS, x, n, &error);
    if (n < 10000) limit += 5 * sqrt(2 * limit / n); /* log p - log q has variance 2 KL */
    chapter_below(c, "two moons: held-out NLL - entropy, nats", gap, limit);
    chapter_try(c, flow_quadrature(&mass, chapter_chain_logprob, &chain, -8, 8, 200, 2),
                "the mass");
    chapter_near(c, "  mass of the density", 1, mass, 1e-3);

    flow_toy_sample(FLOW_TOY_MOONS, rng, y, NULL, DRAWN);
    chapter_try(c, flow_chain_forward(&chain, y, logdet, y, DRAWN), "data to noise");
    for (int k = 0; k <= 32; k += 8)
        chapter_points(c, chapter_text("moons%02d", k), "x1 x2",
                       flow_chain_points(&chain, k ? k + 1 : 0), DRAWN, 2, DRAWN);
    chapter_try(c, flow_chain_sample(&chain, rng, y, DRAWN), "samples");
    chapter_points(c, "samples", "x1 x2", y, DRAWN, 2, DRAWN);
    flow_chain_free(&chain);
}

int main(int argc, char **argv) {
    int steps = STEPS, show = 4;
    double wu = -3;
    const chapter_flag flags[] = {{"--steps", CHAPTER_COUNT, &steps, "of training 32 layers"},
                                  {"--show", CHAPTER_COUNT, &show, "figure layers: U1 to U4"},
                                  {"--fold", CHAPTER_REAL, &wu, "w'u of figure fold"}};
    layer gentle = {flow_planar(2), {0.7, 1.1, 1.2, 0.5, 0}, {0}};
    chapter c;
    flow_rng rng;
    chapter_begin(&c, argc, argv, "05_planar_flow", "planar layers, one and many", 10000, flags, 3);
    chapter_require(&c, show <= 4, "--show", "1, 2, 3 or 4");
    chapter_require(&c, fabs(wu) <= 100 && fabs(wu + 1) > 1e-3, "--fold", "-100 to 100, off -1");
    if (c.quick && steps > 500) steps = 500;
    flow_rng_init(&rng, c.seed);
    chapter_points(&c, "layer", "u1 u2 w1 w2 b", gentle.theta, 1, 5, 1);
    chapter_near(&c, "a move less u^ tanh(w'x + b)", 0, sheet(&c, "geometry", &gentle), 1e-14);
    random_layers(&c, &rng);
    fold(&c, wu);
    energies(&c, steps, show, &rng);
    moons(&c, steps, &rng);
    return chapter_end(&c);
}

/* Try this
 * 1. --fold -1.2, then -8: the fold opens at w'u = -1 and grows; with u^ the profile never turns.
 * 2. --steps 4000: which energy suffers most? What does 64000 still gain?
 * 3. In one_energy, give stack NULL for the shorter chain, so that each K starts afresh; over a few
 *    --seed: is KL(2) > KL(8) > KL(32) still certain? */
