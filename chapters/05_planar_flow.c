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

static const int depth[SIZES] = {2, 8, DEEPEST};
static const double share[SIZES] = {0.25, 0.375, 1}; /* of --steps: deeper chains learn longer */
static const double beta_from[SIZES] = {0.1, 0.3, 0.3};
static const double most[ENERGIES] = {0.03, 0.03, 0.1, 0.1}; /* nats of KL(q|p) at K = 32 */
static const double log_z[ENERGIES] = {1.87750, 2.08209, 2.64171, 2.68297}; /* computed apart */

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
    double beta; /* the flow sees beta U */
    double rest; /* gains the mean of (1 - beta) U in every call */
} target;

/* -log(e^-a + e^-b); *share is the part of the first in its gradient. */
static double either(double a, double b, double *share) {
    *share = 1 / (1 + exp(a - b));
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

/* log of exp(-U), of which Z is the integral */
static int boltzmann(void *ctx, double *logp, const double *z, int n) {
    double du[2];
    for (int i = 0; i < n; i++) {
        energy(ctx, logp + i, du, z + 2 * i, 1);
        logp[i] = -logp[i];
    }
    return FLOW_OK;
}

static int chain_logprob(void *ctx, double *logp, const double *x, int n) {
    return flow_chain_logprob((flow_chain *)ctx, logp, x, n);
}

typedef struct {
    flow_chain *chain;
    target *t;
    double free_energy;
} gauge;

/* log q for the quadrature of its mass, which thus adds up the sum of q (log q + U) as well. */
static int weigh(void *ctx, double *logq, const double *x, int n) {
    gauge *g = (gauge *)ctx;
    int err = flow_chain_logprob(g->chain, logq, x, n);
    for (int i = 0; i < n; i++) {
        double u, du[2];
        energy(g->t, &u, du, x + 2 * i, 1);
        g->free_energy += exp(logq[i]) * (logq[i] + u);
    }
    return err;
}

/* Adam on E_q[log q + beta U], beta rising from low to 1 over the first 38% of the steps so that
 * no mode is left out. Writes the distance that the samples of the steps show, at beta = 1. */
static void descend(chapter *c, flow_chain *chain, target *t, double low, int steps, double begun,
                    flow_rng *rng) {
    flow_opt adam;
    double loss, sum = 0;
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, 0.01, chain->params), "Adam");
    adam.beta2 = 0.99;
    adam.decay = 0.01; /* brings back layers that went where no sample is */
    for (int i = 0; i < steps; i++) {
        t->beta = fmin(1, low + (1 - low) * i / (0.38 * steps));
        t->rest = 0;
        adam.rate = 0.01 * flow_schedule_cosine(i, steps);
        chapter_try(c, flow_chain_reverse_kl(chain, &loss, energy, t, rng, BATCH), "the reverse KL");
        chapter_try(c, flow_opt_step(&adam, chain->theta, chain->grad), "a step of Adam");
        sum += loss + t->rest + log_z[t->which];
        if ((i + 1) % (steps / MARKS) == 0) {
            chapter_row3(c, begun + i + 1 - steps / MARKS / 2, chain->count - 1, sum / (steps / MARKS));
            sum = 0;
        }
    }
    flow_opt_free(&adam);
}
