/* 15_diffusion - a diffusion model and flow matching are one model, read in two ways
 *
 * Beside it: slides "Flow-based generative models" (E), "equivalence with diffusion"; "Flow
 * Matching: A Deep Dive" (D), "Optimal Transport Flow"; "Flow Matching" (C), its reading list.
 * Song et al. 2021 (score, SDE and ODE), Song, Meng and Ermon 2021 (DDIM), Ma et al. 2024 (SiT).
 *
 * On any path x_t = alpha(t) x1 + sigma(t) x0, predictions are linear in each other, given x_t:
 *
 *     velocity v = alpha' E[x1|x_t] + sigma' E[x0|x_t],   score = grad log p_t = -E[x0|x_t]/sigma,
 *     x_t = alpha E[x1|x_t] + sigma E[x0|x_t]
 *
 * so that whoever has v, has the score. With it, noise may be added on the way and taken out again:
 *
 *     dx = [v + lambda sigma score] dt + sqrt(2 lambda sigma) dW      for any lambda >= 0
 *
 * moves every sample otherwise than dx = v dt, and the density p_t just the same: by Fokker and
 * Planck, dp/dt = -div(p v) - lambda sigma [div(p grad log p) - lap p], and the bracket is 0.
 * DDIM, a diffusion model's sampler, steps from t to s: x_s = alpha(s) E x1 + sigma(s) E x0. In the
 * units z = x/(alpha + sigma) and the time tau = alpha/(alpha + sigma) that is Euler's step on the
 * straight path z = (1 - tau) x0 + tau x1. D says that diffusion paths are curved "unlike" straight
 * ones: the path of each pair is, but the two flows carry the same points through the same places.
 *
 * You will see paths with and without noise over one p_t (figure ode_sde), and the score that a
 * velocity network has learned without being asked (score).
 *
 * Alone: cc -O2 -I. chapters/15_diffusion.c -lm -o 15_diffusion && ./15_diffusion
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { LEVELS = 3, DRAWN = 24, MARKS = 160, BINS = 32, BATCH = 128, PROBES = 2000 };

/* What the velocity f says of x[n*d]: FLOW_SCORE, FLOW_NOISE = E[x0|x_t], FLOW_DATA = E[x1|x_t]. */
static void predict(chapter *c, flow_field f, int path, int what, double *y, const double *x,
                    const double *t, int n) {
    chapter_try(c, f.velocity(f.ctx, y, x, t, n), "v");
    chapter_try(c, flow_path_convert(path, what, y, FLOW_VELOCITY, y, x, t, n, f.d), "predict");
}

/* The score by conversion of the exact velocity, and straight from the density p_t. */
static void check_scores(chapter *c, const flow_mixture *data, flow_rng *rng) {
    double worst = 0, x[2], converted[2], score[2];
    for (int path = FLOW_LINEAR; path <= FLOW_COSINE; path++) {
        flow_marginal exact;
        chapter_try(c, flow_marginal_of_mixture(&exact, data, path), "v*");
        for (int i = 0; i < 200; i++) {
            const double t = 0.02 + 0.95 * flow_rng_uniform(rng);
            flow_mixture pt;
            chapter_try(c, flow_mixture_at(&pt, data, path, t), "p_t");
            flow_mixture_sample(&pt, rng, x, NULL, 1);
            flow_mixture_score(&pt, score, x, 1);
            predict(c, flow_marginal_field(&exact), path, FLOW_SCORE, converted, x, &t, 1);
            for (int j = 0; j < 2; j++) worst = chapter_worse(worst, fabs(converted[j] - score[j]));
            flow_mixture_free(&pt);
        }
        flow_marginal_free(&exact);
    }
    chapter_near(c, "score from v, less score of p_t; three paths", 0, worst, 1e-7);
}

typedef struct {
    double x0[2 * PROBES], x1[2 * PROBES], xt[2 * PROBES], u[2 * PROBES], t[PROBES];
} pairs;

/* n pairs, each at a time t in (from, from + span). */
static void draw(pairs *p, const flow_mixture *data, double from, double span, int n,
                 flow_rng *rng) {
    flow_mixture_sample(data, rng, p->x1, NULL, n);
    flow_normal_sample(rng, p->x0, n, 2);
    for (int i = 0; i < n; i++) p->t[i] = from + span * flow_rng_uniform(rng);
    flow_path_sample(FLOW_LINEAR, p->xt, p->u, p->x0, p->x1, p->t, n, 2);
}

/* Flow matching as in chapter 11: nobody asks for a score. */
static void train(chapter *c, flow_net *net, const flow_mixture *data, int steps, flow_rng *rng) {
    static pairs p;
    double loss;
    flow_opt adam;
    chapter_try(c, flow_net_init(net, 2, 0, 48, 3, FLOW_SILU, PROBES, rng), "network");
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, 0, net->params), "Adam");
    for (int step = 0; step < steps; step++) {
        draw(&p, data, 0, 1, BATCH, rng);
        chapter_step(c, flow_cfm_loss(net, &loss, p.xt, p.t, NULL, p.u, BATCH), "the network",
                     step);
        adam.rate = 6e-3 * flow_schedule_cosine(step, steps);
        chapter_step(c, flow_opt_step(&adam, net->theta, net->grad), "the network", step);
        chapter_progress(c, "training", step + 1, steps);
    }
    flow_opt_free(&adam);
}

/* On pairs at t in (0.02, 0.98): the loss as a velocity, and as a prediction of noise weighted by
 * 1/t^2, for v - u = -(E x0 - x0)/t; then how far the score s = -E x0/sigma is from the true s*. */
static void probe(chapter *c, flow_field f, flow_field exact, const flow_mixture *data, int steps,
                  flow_rng *rng) {
    static double v[2 * PROBES], noise[2 * PROBES], truth[2 * PROBES];
    static pairs p;
    double as_velocity = 0, as_noise = 0, miss = 0, size = 0;
    draw(&p, data, 0.02, 0.96, PROBES, rng);
    predict(c, f, FLOW_LINEAR, FLOW_VELOCITY, v, p.xt, p.t, PROBES);
    predict(c, f, FLOW_LINEAR, FLOW_NOISE, noise, p.xt, p.t, PROBES);
    predict(c, exact, FLOW_LINEAR, FLOW_NOISE, truth, p.xt, p.t, PROBES);
    for (int i = 0; i < 2 * PROBES; i++) {
        const double t = p.t[i / 2];
        as_velocity += (v[i] - p.u[i]) * (v[i] - p.u[i]) / (double)PROBES;
        as_noise += (noise[i] - p.x0[i]) * (noise[i] - p.x0[i]) / (t * t * PROBES);
        miss += (noise[i] - truth[i]) * (noise[i] - truth[i]);
        size += truth[i] * truth[i];
    }
    chapter_near(c, "loss as noise prediction/t^2, as velocity", as_velocity, as_noise,
                 1e-9 * as_velocity);
    chapter_below(c, "network's score: |s - s*|^2/|s*|^2", miss / size, steps < 1000 ? 0.3 : 0.08);
}

/* The network's score and the true one at t on a grid, and the density p_t. */
static void write_score(chapter *c, flow_field f, flow_field exact, const flow_mixture *data,
                        double t) {
    enum { ARROWS = 15, NODES = ARROWS * ARROWS, FINE = 81 };
    const double *x = chapter_grid(c, -3, 3, ARROWS, 2), *fine = chapter_grid(c, -3, 3, FINE, 2);
    double learned[2 * NODES], truth[2 * NODES], time[NODES], *p = chapter_alloc(c, FINE * FINE);
    const double *const scores[2] = {learned, truth};
    const int width[2] = {2, 2};
    flow_mixture pt;
    for (int i = 0; i < NODES; i++) time[i] = t;
    predict(c, f, FLOW_LINEAR, FLOW_SCORE, learned, x, time, NODES);
    predict(c, exact, FLOW_LINEAR, FLOW_SCORE, truth, x, time, NODES);
    chapter_grid_block(c, "score", "x1 x2, learned, true score", x, ARROWS, 2, scores, width, 2);
    chapter_try(c, flow_mixture_at(&pt, data, FLOW_LINEAR, t), "p_t");
    flow_mixture_logprob(&pt, p, fine, FINE * FINE);
    flow_mixture_free(&pt);
    for (int i = 0; i < FINE * FINE; i++) p[i] = exp(p[i]);
    chapter_plane_block(c, "density", "x1 x2 p_t", fine, FINE, p, 1);
}

static void learned_score(chapter *c, const flow_mixture *data, int steps, flow_rng *rng) {
    flow_marginal exact;
    flow_net net;
    chapter_try(c, flow_marginal_of_mixture(&exact, data, FLOW_LINEAR), "v*");
    train(c, &net, data, steps, rng);
    probe(c, flow_net_field(&net), flow_marginal_field(&exact), data, steps, rng);
    write_score(c, flow_net_field(&net), flow_marginal_field(&exact), data, 0.6);
    flow_net_free(&net);
    flow_marginal_free(&exact);
}

/* P(X <= x) of a one-dimensional mixture. */
static double mixture_cdf(void *ctx, double x) {
    const flow_mixture *m = (const flow_mixture *)ctx;
    double sum = 0;
    for (int k = 0; k < m->k; k++)
        sum += m->weight[k] * (1 + erf((x - m->mean[k]) / sqrt(2 * m->cov[k]))) / 2;
    return sum;
}

/* c->n samples x of N(0, 1), sent along the SDE with noise lambda: are they where p_t is? The limit
 * is what chance allows, and Euler and Maruyama's error, O(1/steps). */
static double *travel(chapter *c, flow_cnf *flow, const flow_mixture *data, double lambda,
                      int steps, flow_rng *rng) {
    const double stop[3] = {0.3, 0.6, 1}, limit = flow_ks_critical(c->n, 1e-6) + 2.0 / steps;
    double *x = chapter_alloc(c, (size_t)c->n), t = 0, ks;
    flow_normal_sample(rng, x, c->n, 1);
    for (int k = 0; k < 3; t = stop[k++]) {
        flow_mixture pt;
        flow->steps = (int)(steps * (stop[k] - t)) + 1;
        chapter_try(c, flow_sde_transport(flow, rng, x, FLOW_LINEAR, lambda, t, stop[k], c->n),
                    "the SDE");
        chapter_try(c, flow_mixture_at(&pt, data, FLOW_LINEAR, stop[k]), "p_t");
        chapter_try(c, flow_ks(&ks, x, c->n, mixture_cdf, &pt), "Kolmogorov's distance");
        flow_mixture_free(&pt);
        chapter_below(c, chapter_text("lambda = %g, t = %g: distance from p_t", lambda, stop[k]),
                      ks, limit);
    }
    return x;
}

/* Paths from the same starts for every noise, and the histogram of where all samples end. */
static void write_level(chapter *c, flow_cnf *flow, int level, double lambda, const double *ends,
                        flow_rng rng) {
    double start[DRAWN], density[BINS];
    flow_normal_sample(&rng, start, DRAWN, 1);
    chapter_block(c, chapter_text("path%d", level), "t x, one path after another");
    flow->steps = 4;
    for (int i = 0; i < DRAWN; i++, chapter_gap(c)) {
        chapter_row2(c, 0, start[i]);
        for (int k = 0; k < MARKS; k++) {
            const double t = k / (double)MARKS, next = (k + 1) / (double)MARKS;
            int err = flow_sde_transport(flow, &rng, start + i, FLOW_LINEAR, lambda, t, next, 1);
            chapter_try(c, err, "a path");
            chapter_row2(c, next, start[i]);
        }
    }
    chapter_try(c, flow_histogram(density, ends, c->n, -4, 4, BINS), "histogram");
    chapter_block(c, chapter_text("ends%d", level), "x, density of the samples");
    for (int i = 0; i < BINS; i++) chapter_row2(c, -4 + 8 * (i + 0.5) / (double)BINS, density[i]);
}

/* p_t(x), behind the paths; its last row is the data's density. */
static void write_background(chapter *c, const flow_mixture *data) {
    chapter_block(c, "background", "t x p_t");
    for (int k = 0; k <= 80; k++, chapter_gap(c)) {
        flow_mixture pt;
        chapter_try(c, flow_mixture_at(&pt, data, FLOW_LINEAR, k / 80.0), "p_t");
        for (int i = 0; i <= 160; i++) {
            double x = -4 + i / 20.0, logp;
            flow_mixture_logprob(&pt, &logp, &x, 1);
            chapter_row3(c, k / 80.0, x, exp(logp));
        }
        flow_mixture_free(&pt);
    }
}

/* From noise to two humps with lambda = 0, most/4 and most. */
static void noise_levels(chapter *c, double most, int steps, flow_rng *rng) {
    const double weight[2] = {0.35, 0.65}, mean[2] = {-2, 1.5}, cov[2] = {0.16, 0.36};
    const double lambda[LEVELS] = {0, most / 4, most};
    flow_rng same = flow_rng_split(rng);
    chapter_exact humps;
    flow_cnf flow;
    chapter_try(c, flow_mixture_init(&humps.data, weight, mean, cov, 2, 1), "two humps");
    chapter_exact_init(c, &humps, FLOW_LINEAR, "the exact velocity");
    chapter_try(c, flow_cnf_init(&flow, humps.v, FLOW_EULER, 1, 256), "flow");
    write_background(c, &humps.data);
    chapter_block(c, "levels", "number lambda");
    for (int k = 0; k < LEVELS; k++) chapter_row2(c, k, lambda[k]);
    for (int k = 0; k < LEVELS; k++) {
        const double *ends = travel(c, &flow, &humps.data, lambda[k], steps, rng);
        write_level(c, &flow, k, lambda[k], ends, same);
    }
    flow_cnf_free(&flow);
    chapter_exact_free(&humps);
}

/* x by DDIM's steps on a path; z by Euler's on the straight one, at the times tau of the same
 * points, each with the closed form of its own path. Returns the worst |x - (alpha + sigma) z|. */
static double ddim(chapter *c, const flow_mixture *data, int path, int steps, flow_rng *rng) {
    double x[2], z[2], noise[2], clean[2], v[2], apart = 0;
    flow_marginal curved, straight;
    flow_path at = flow_path_at(path, 0);
    chapter_try(c, flow_marginal_of_mixture(&curved, data, path), "v* of the path");
    chapter_try(c, flow_marginal_of_mixture(&straight, data, FLOW_LINEAR), "v* of straight lines");
    flow_normal_sample(rng, x, 1, 2);
    for (int j = 0; j < 2; j++) z[j] = x[j] / (at.alpha + at.sigma);
    for (int k = 0; k < steps; k++) {
        const double t = (double)k / steps, tau = at.alpha / (at.alpha + at.sigma);
        predict(c, flow_marginal_field(&curved), path, FLOW_NOISE, noise, x, &t, 1);
        predict(c, flow_marginal_field(&curved), path, FLOW_DATA, clean, x, &t, 1);
        predict(c, flow_marginal_field(&straight), FLOW_LINEAR, FLOW_VELOCITY, v, z, &tau, 1);
        at = flow_path_at(path, (k + 1.0) / steps);
        for (int j = 0; j < 2; j++) {
            x[j] = at.alpha * clean[j] + at.sigma * noise[j]; /* DDIM, and Euler: */
            z[j] += (at.alpha / (at.alpha + at.sigma) - tau) * v[j];
            apart = chapter_worse(apart, fabs(x[j] - (at.alpha + at.sigma) * z[j]));
        }
    }
    flow_marginal_free(&curved);
    flow_marginal_free(&straight);
    return apart;
}

int main(int argc, char **argv) {
    int steps = 400, training = 5000;
    double lambda = 2, apart = 0;
    const chapter_flag flags[] = {{"--lambda", CHAPTER_REAL, &lambda, "the most noise on the way"},
                                  {"--steps", CHAPTER_COUNT, &steps, "of the SDE, from 0 to 1"},
                                  {"--train", CHAPTER_COUNT, &training, "steps of training"}};
    chapter c;
    flow_rng rng;
    flow_mixture data;
    chapter_begin(&c, argc, argv, "15_diffusion", "scores, SDEs and DDIM from a velocity", 20000,
                  flags, 3);
    chapter_require(&c, lambda > 0 && lambda <= 20, "--lambda", "a number above 0, at most 20");
    chapter_require(&c, steps >= 20, "--steps", "at least 20");
    if (c.quick && training > 500) training = 500;
    if (c.quick && c.n > 2000) c.n = 2000;
    flow_rng_init(&rng, c.seed);
    chapter_try(&c, flow_toy_mixture(&data, FLOW_TOY_8GAUSSIANS), "eight Gaussians");
    check_scores(&c, &data, &rng);
    learned_score(&c, &data, training, &rng);
    noise_levels(&c, lambda, steps, &rng);
    for (int i = 0; i < 40; i++)
        apart = chapter_worse(apart, ddim(&c, &data, i % 2 ? FLOW_COSINE : FLOW_VP, 20, &rng));
    chapter_near(&c, "DDIM less Euler on straight lines, 20 steps", 0, apart, 1e-8);
    flow_mixture_free(&data);
    return chapter_end(&c);
}

/* Try this
 * 1. --lambda 20 --steps 20: more noise wants smaller steps. What does the figure say first?
 * 2. In travel, halve all x[i] at the start: the ODE carries the mistake to the end. What does
 *    noise do to it, and how much noise does it take?
 * 3. In ddim, take (k + 1.0)/steps and t to their squares: other times, the same identity. */
