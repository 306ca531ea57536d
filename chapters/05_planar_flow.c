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
enum { ENERGIES = 4, SIZES = 3, BATCH = 64, STEPS = 16000, DRAWN = 320 };

static const int depth[SIZES] = {2, 8, 32};
static const double share[SIZES] = {0.25, 0.375, 1}; /* of --steps: deeper chains learn longer */
static const double most[ENERGIES] = {0.03, 0.03, 0.1, 0.1}; /* nats of KL(q|p) at K = 32 */
static const double known[ENERGIES] = {1.87750, 2.08209, 2.64171, 2.68297}; /* ln Z */

static double dot(const double *x, const double *y, int d) {
    double sum = 0;
    for (int j = 0; j < d; j++) sum += x[j] * y[j];
    return sum;
}

/* ---- one layer ------------------------------------------------------------------------------ */

/* A chain of nothing but one planar layer: theta = u[d], w[d], b. */
static void single(chapter *c, flow_chain *layer, int d, flow_rng *rng) {
    const flow_bijection planar = flow_planar(d);
    chapter_try(c, flow_chain_init(layer, &planar, 1, FLOW_FROM_NOISE, 2, rng), "a layer");
}

static int single_map(void *ctx, double *y, const double *x) {
    double logdet = 0;
    return flow_chain_forward((flow_chain *)ctx, y, &logdet, x, 1);
}

/* The worst of: [0] the round trip where w'u < 0 and [1] where w'u > 0, [2] the slope along w,
 * [3] the log-determinant. */
static void try_layer(chapter *c, flow_chain *layer, flow_rng *rng, double *worst) {
    const int d = layer->d;
    const double reach = 10 / sqrt(d); /* of a coordinate, so that |u| and |w| reach 10 */
    double x[10], y[10], back[10], logdet[3] = {0}, undone[2] = {0}, brute = 0;
    double *u = layer->theta, *w = u + d;
    flow_uniform_sample(rng, u, -1, 1, 2 * d + 1, 1); /* gentle enough for finite differences */
    flow_uniform_sample(rng, x, -4, 4, 1, d);
    chapter_try(c, flow_chain_forward(layer, y, logdet + 2, x, 1), "a planar layer");
    chapter_try(c, flow_check_logdet(&brute, single_map, layer, x, d, 1e-5), "its Jacobian");
    worst[3] = fmax(worst[3], fabs(logdet[2] - brute));

    flow_uniform_sample(rng, u, -reach, reach, 2 * d + 1, 1);
    for (int j = 0; j < d; j++) x[d + j] = -u[2 * d] * w[j] / dot(w, w, d); /* w'x + b = 0 */
    chapter_try(c, flow_chain_forward(layer, y, logdet, x, 2), "a planar layer");
    chapter_try(c, flow_chain_inverse(layer, back, undone, y, 2), "its inverse");
    double *trip = worst + (dot(u, w, d) > 0);
    for (int j = 0; j < 2 * d; j++) *trip = fmax(*trip, fabs(back[j] - x[j]));
    worst[2] = fmin(worst[2], exp(logdet[1])); /* least where tanh is steepest */
}

static void random_layers(chapter *c, flow_rng *rng) {
    double worst[4] = {0, 0, 1, 0};
    for (int d = 2; d <= 5; d++) {
        flow_chain layer;
        single(c, &layer, d, rng);
        for (int i = 0; i < 250; i++) try_layer(c, &layer, rng, worst);
        flow_chain_free(&layer);
    }
    chapter_near(c, "log-det: lemma - LU of brute-force Jacobian", 0, worst[3], 1e-6);
    chapter_near(c, "  forward, then inverse; w'u < 0", 0, worst[0], 1e-10);
    chapter_near(c, "  forward, then inverse; w'u > 0", 0, worst[1], 1e-10);
    chapter_above(c, "  least slope along w with u^", worst[2], 0);
}

/* A sheet of squares under f as C writes it, and under the layer with u^. Returns how far a move
 * is from u^ h: along u^, and as long all over a hyperplane w'x = const. theta = u, w, b. */
static double sheet(chapter *c, const char *name, const double *theta, flow_rng *rng) {
    double uhat[2], off = 0;
    flow_chain layer;
    single(c, &layer, 2, rng);
    memcpy(layer.theta, theta, 5 * sizeof *theta);
    flow_planar_uhat(uhat, theta, theta + 2, 2);
    chapter_block(c, name, "x1 x2 raw1 raw2 y1 y2 raw_det logdet");
    for (int i = 0; i < 34 * 81; i++) {
        const double line = (i / 81 % 17 - 8) / 2.0, along = (i % 81 - 40) / 10.0;
        const double x[2] = {i < 17 * 81 ? line : along, i < 17 * 81 ? along : line};
        const double h = tanh(dot(theta + 2, x, 2) + theta[4]);
        double y[2], logdet = 0;
        chapter_try(c, flow_chain_forward(&layer, y, &logdet, x, 1), "a layer");
        const double row[] = {x[0], x[1], x[0] + theta[0] * h, x[1] + theta[1] * h, y[0], y[1],
                              1 + (1 - h * h) * dot(theta, theta + 2, 2), logdet};
        for (int j = 0; j < 2; j++) off = fmax(off, fabs(y[j] - x[j] - uhat[j] * h));
        if (i % 81 == 0) chapter_gap(c);
        chapter_row(c, row, 8);
    }
    flow_chain_free(&layer);
    return off;
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

/* A layer with w'u = wu by the raw formula and with u^: its profile along w, then a sheet. */
static void fold(chapter *c, double wu, flow_rng *rng) {
    const double theta[5] = {0.8 * wu - 0.3, 0.4 * wu + 0.6, 1, 0.5, 0};
    double uhat[2], most_raw = 0, most_hat = 0;
    const double hat = flow_planar_uhat(uhat, theta, theta + 2, 2);
    chapter_block(c, "profile", "a raw constrained preimages");
    for (int i = -400; i <= 400; i++) {
        const double a = i / 80.0, raw = preimages(wu, a);
        most_raw = fmax(most_raw, raw);
        most_hat = fmax(most_hat, preimages(hat, a));
        chapter_row4(c, a, a + wu * tanh(a), a + hat * tanh(a), raw);
    }
    chapter_near(c, "w'u = --fold, raw formula: most preimages", wu < -1 ? 3 : 1, most_raw, 0);
    chapter_near(c, "  with u^", 1, most_hat, 0);
    sheet(c, "folding", theta, rng);
}

/* ---- four energies: Rezende and Mohamed 2015, table 1 ---------------------------------------- */

typedef struct {
    int which;
    double beta;  /* the flow sees beta U */
    double rest;  /* every call adds the mean of (1 - beta) U */
    double log_z; /* of exp(-U) */
} target;

/* -log(e^-a + e^-b); *first is the part of e^-a in the sum. */
static double either(double a, double b, double *first) {
    *first = 1 / (1 + exp(a - b));
    return fmin(a, b) - log1p(exp(-fabs(a - b)));
}

/* U1 = ((|z| - 2)/0.4)^2/2 - log(exp(-((z1 - 2)/0.6)^2/2) + exp(-((z1 + 2)/0.6)^2/2)) */
static double ring(const double *z, double *dz) {
    const double r = sqrt(dot(z, z, 2)) + 1e-300, p = (z[0] - 2) / 0.6, q = (z[0] + 2) / 0.6;
    double first;
    const double u = either(p * p / 2, q * q / 2, &first);
    dz[0] = (r - 2) / 0.16 * z[0] / r + (first * p + (1 - first) * q) / 0.6;
    dz[1] = (r - 2) / 0.16 * z[1] / r;
    return u + (r - 2) * (r - 2) / 0.32;
}

/* U2 = ((z2 - w1)/0.4)^2/2, w1 = sin(pi z1/2); U3 and U4 are the -log of two such ribbons, gap
 * apart: 3 exp(-((z1 - 1)/0.6)^2/2) and 3 sigmoid((z1 - 1)/0.3). */
static double ribbons(int which, const double *z, double *dz) {
    const double sd = which == 2 ? 0.35 : 0.4, e = (z[0] - 1) / 0.6;
    const double bump = exp(-e * e / 2), step = 1 / (1 + exp(-2 * e));
    const double gap = which == 2 ? 3 * bump : 3 * step;
    const double dgap = which == 2 ? -5 * e * bump : 10 * step * (1 - step);
    const double p = (z[1] - sin(PI / 2 * z[0])) / sd, q = (p * sd + gap) / 0.35;
    double first = 1, u = p * p / 2;
    if (which > 1) u = either(p * p / 2, q * q / 2, &first);
    dz[1] = first * p / sd + (1 - first) * q / 0.35;
    dz[0] = (1 - first) * q / 0.35 * dgap - PI / 2 * cos(PI / 2 * z[0]) * dz[1];
    return u;
}

/* beta (U + envelope). U2 to U4 do not grow along z1, so that exp(-U) has no finite integral: the
 * envelope sum_i softplus(10 (|z_i| - 4)) keeps all four within [-4, 4]^2, softly. */
static int energy(void *ctx, double *u, double *du, const double *z, int n) {
    target *t = (target *)ctx;
    for (int i = 0; i < n; i++, z += 2, du += 2) {
        u[i] = t->which == 0 ? ring(z, du) : ribbons(t->which, z, du);
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
    const target *t = (const target *)ctx;
    double du[2];
    for (int i = 0; i < n; i++) {
        energy(ctx, logp + i, du, z + 2 * i, 1);
        logp[i] = -logp[i] - t->log_z;
    }
    return FLOW_OK;
}

/* ---- chains --------------------------------------------------------------------------------- */

/* An affine layer, which sets place and scale, then k planar ones; the first are those of `from`
 * when it is not NULL, the others stand near the identity, since u is small and m(0) = 0. */
static void stack(chapter *c, flow_chain *chain, const flow_chain *from, int k, int direction,
                  int batch, flow_rng *rng) {
    flow_bijection layer[33];
    layer[0] = flow_affine(2);
    for (int i = 1; i <= k; i++) layer[i] = flow_planar(2);
    chapter_try(c, flow_chain_init(chain, layer, 1 + k, direction, batch, rng), "a chain");
    for (int i = 0; from && i < chain->params && i < from->params; i++)
        chain->theta[i] = from->theta[i];
}

/* With a target, KL(q|p): the free energy E_q[log q + U] of this step's samples, plus log Z; the
 * gradient is that of E_q[log q + beta U], where beta rises from low to 1 over the first 38% of the
 * steps, lest a mode be left out. Without one, NLL - entropy of this step's moons. */
static double loss(chapter *c, flow_chain *chain, target *t, double low, double done,
                   flow_rng *rng) {
    double x[2 * BATCH], value;
    if (t) {
        t->beta = fmin(1, low + (1 - low) * done / 0.38);
        t->rest = 0;
        chapter_try(c, flow_chain_reverse_kl(chain, &value, energy, t, rng, BATCH), "reverse KL");
        return value + t->rest + t->log_z;
    }
    flow_toy_sample(FLOW_TOY_MOONS, rng, x, NULL, BATCH);
    chapter_try(c, flow_chain_nll(chain, &value, x, BATCH), "the likelihood");
    return value - flow_toy_entropy(FLOW_TOY_MOONS);
}

/* Adam with cosine decay. Writes the mean loss of every fortieth of the steps. */
static void train(chapter *c, flow_chain *chain, target *t, double low, double begun, int steps,
                  flow_rng *rng) {
    const int mark = steps / 40 + 1;
    double mean = 0;
    flow_opt adam;
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, 0.01, chain->params), "Adam");
    adam.beta2 = 0.99;
    adam.decay = 0.01; /* brings back layers that have gone where no sample is */
    for (int i = 0; i < steps; i++) {
        adam.rate = 0.01 * flow_schedule_cosine(i, steps);
        mean += loss(c, chain, t, low, (double)i / steps, rng) / mark;
        chapter_try(c, flow_opt_step(&adam, chain->theta, chain->grad), "a step of Adam");
        chapter_progress(c, t ? "reverse KL, step" : "maximum likelihood, step", i, steps);
        if ((i + 1) % mark > 0) continue;
        chapter_row3(c, begun + i + 1 - mark / 2.0, chain->count - 1, mean);
        mean = 0;
    }
    flow_opt_free(&adam);
}

/* The integrals of q and of q log(q/p) over [-6, 6]^2, and q and p within [-4, 4]^2 to be drawn. */
static double survey(chapter *c, const char *name, int number, flow_chain *chain, target *t,
                     double *mass) {
    const int side = c->quick ? 61 : 121, n = side * side;
    const double *x = chapter_grid(c, -6, 6, side, 2), cell = 144.0 / (side - 1) / (side - 1);
    double *logq = chapter_alloc(c, (size_t)n), *logp = chapter_alloc(c, (size_t)n), kl = 0;
    char text[20];
    snprintf(text, sizeof text, "%s%02d", name, number);
    chapter_try(c, flow_chain_logprob(chain, logq, x, n), "a density");
    target_logprob(t, logp, x, n);
    chapter_block(c, text, "x1 x2 q p");
    *mass = 0;
    for (int i = 0; i < n; i++) {
        const double q = exp(logq[i]);
        *mass += q * cell;
        kl += q * (logq[i] - logp[i]) * cell;
        if (fmax(fabs(x[2 * i]), fabs(x[2 * i + 1])) < 4.01)
            chapter_row4(c, x[2 * i], x[2 * i + 1], q, exp(logp[i]));
    }
    return kl;
}

/* One energy: 2, then 8, then 32 layers, each chain beginning where the shorter one ended. Then
 * the density after its first layers. Returns the largest |mass - 1|. */
static double match(chapter *c, target *t, double *kl, int steps, int show, flow_rng *rng) {
    const int shown[] = {0, 2, 4, 8, 16, 32};
    flow_chain chain[SIZES], part;
    double mass[SIZES], unused;
    char name[20];
    double begun = 0;
    snprintf(name, sizeof name, "U%d_steps", t->which + 1);
    chapter_block(c, name, "step layers KL");
    for (int k = 0; k < SIZES; k++) {
        const int some = (int)ceil(share[k] * steps);
        stack(c, &chain[k], k ? &chain[k - 1] : NULL, depth[k], FLOW_FROM_NOISE, BATCH, rng);
        train(c, &chain[k], t, k > 0 ? 0.3 : 0.1, begun, some, rng);
        begun += some;
    }
    t->beta = 1;
    snprintf(name, sizeof name, "U%d_K", t->which + 1);
    for (int k = 0; k < SIZES; k++) kl[k] = survey(c, name, depth[k], &chain[k], t, &mass[k]);
    for (int i = 0; i < 6 && t->which + 1 == show; i++) {
        stack(c, &part, &chain[SIZES - 1], shown[i], FLOW_FROM_NOISE, BATCH, rng);
        survey(c, "after", shown[i], &part, t, &unused);
        flow_chain_free(&part);
    }
    for (int k = 0; k < SIZES; k++) flow_chain_free(&chain[k]);
    return fmax(fabs(mass[0] - 1), fmax(fabs(mass[1] - 1), fabs(mass[2] - 1)));
}

static void energies(chapter *c, int steps, int show, flow_rng *rng) {
    const int loose = steps < STEPS;
    double off = 0, off_z = 0, ratio = 1e9;
    for (int e = 0; e < ENERGIES; e++) {
        target t = {e, 1, 0, 0};
        double z, kl[SIZES];
        char text[64];
        chapter_try(c, flow_quadrature(&z, target_logprob, &t, -6, 6, 200, 2), "Z");
        t.log_z = log(z);
        off_z = fmax(off_z, fabs(t.log_z - known[e]));
        off = fmax(off, match(c, &t, kl, steps, show, rng));
        ratio = fmin(ratio, fmin(kl[0] / kl[1], kl[1] / kl[2]));
        snprintf(text, sizeof text, "U%d: KL at K = 32 (K = 2: %.2f, 8: %.3f)", e + 1, kl[0], kl[1]);
        chapter_below(c, text, kl[2], loose ? 1 : most[e]);
        snprintf(text, sizeof text, "U%d_KL", e + 1);
        chapter_block(c, text, "layers KL");
        for (int k = 0; k < SIZES; k++) chapter_row2(c, depth[k], kl[k]);
    }
    chapter_above(c, "  KL(2)/KL(8) and KL(8)/KL(32): the least", ratio, loose ? 0.5 : 1);
    chapter_near(c, "  mass of the 12 densities: off 1 by", 0, off, c->quick ? 1e-2 : 1e-3);
    chapter_near(c, "  ln Z of the energies: off the known by", 0, off_z, 1e-5);
}

static int chain_logprob(void *ctx, double *logp, const double *x, int n) {
    return flow_chain_logprob((flow_chain *)ctx, logp, x, n);
}

/* Data -> noise. The score is the mean of log p - log q over the same points, so that the noise of
 * their entropy cancels. */
static void moons(chapter *c, int steps, flow_rng *rng) {
    const int n = c->quick && c->n > 2000 ? 2000 : c->n;
    double *x = chapter_alloc(c, 2 * (size_t)n), *logp = chapter_alloc(c, (size_t)n);
    double *logq = chapter_alloc(c, (size_t)n), *y = chapter_alloc(c, 2 * DRAWN);
    double logdet[DRAWN] = {0}, limit = steps < STEPS ? 0.5 : 0.04, gap = 0, mass;
    flow_chain chain;
    stack(c, &chain, NULL, 32, FLOW_TO_NOISE, DRAWN, rng);
    chapter_block(c, "moons_steps", "step layers excess");
    train(c, &chain, NULL, 1, 0, steps, rng);

    flow_toy_sample(FLOW_TOY_MOONS, rng, x, NULL, n);
    chapter_try(c, flow_toy_logprob(FLOW_TOY_MOONS, logp, x, n), "the density of the moons");
    chapter_try(c, flow_chain_logprob(&chain, logq, x, n), "the density of the chain");
    for (int i = 0; i < n; i++) gap += (logp[i] - logq[i]) / n;
    if (n < 10000) limit += 5 * sqrt(2 * limit / n); /* log p - log q has variance 2 KL */
    chapter_below(c, "two moons: held-out NLL - entropy, nats", gap, limit);
    chapter_try(c, flow_quadrature(&mass, chain_logprob, &chain, -8, 8, 200, 2), "the mass");
    chapter_near(c, "  mass of the density", 1, mass, 1e-3);

    flow_toy_sample(FLOW_TOY_MOONS, rng, y, NULL, DRAWN);
    chapter_try(c, flow_chain_forward(&chain, y, logdet, y, DRAWN), "data to noise");
    for (int k = 0; k <= 32; k += 8) {
        char name[20];
        snprintf(name, sizeof name, "moons%02d", k);
        chapter_points(c, name, "x1 x2", flow_chain_points(&chain, k ? k + 1 : 0), DRAWN, 2, DRAWN);
    }
    chapter_try(c, flow_chain_sample(&chain, rng, y, DRAWN), "samples");
    chapter_points(c, "moons_samples", "x1 x2", y, DRAWN, 2, DRAWN);
    flow_chain_free(&chain);
}

int main(int argc, char **argv) {
    int steps = STEPS, show = 4;
    double wu = -3;
    const chapter_flag flags[] = {
        {"--steps", CHAPTER_COUNT, &steps, "of training 32 layers"},
        {"--show", CHAPTER_COUNT, &show, "the energy of figure layers, 1 to 4"},
        {"--fold", CHAPTER_REAL, &wu, "w'u of figure fold"},
    };
    const double gentle[5] = {0.7, 1.1, 1.2, 0.5, 0};
    chapter c;
    flow_rng rng;
    chapter_begin(&c, argc, argv, "05_planar_flow", "planar layers, one and many", 10000, flags, 3);
    chapter_require(&c, show <= ENERGIES, "--show", "1, 2, 3 or 4");
    if (c.quick && steps > 1000) steps = 1000;
    flow_rng_init(&rng, c.seed);
    chapter_points(&c, "layer", "u1 u2 w1 w2 b", gentle, 1, 5, 1);
    chapter_near(&c, "a move, less u^ tanh(w'x + b)", 0, sheet(&c, "geometry", gentle, &rng), 1e-14);
    random_layers(&c, &rng);
    fold(&c, wu, &rng);
    energies(&c, steps, show, &rng);
    moons(&c, steps, &rng);
    return chapter_end(&c);
}

/* Try this:
 *   --fold -1.2, then -8: the fold begins at w'u = -1 and widens; the profile with u^ flattens but
 *     never turns.
 *   --steps 4000: U3 and U4 suffer first. What does a longer training than 16000 still gain?
 *   In match, give stack NULL instead of the shorter chain: every K starts from scratch. Run a few
 *     --seed: which of KL(2) > KL(8) > KL(32) is luck, which is not? */
