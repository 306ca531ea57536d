/* 15_diffusion - a diffusion model and flow matching are one model, read in two ways
 *
 * Beside it: slides "Flow-based generative models" (E), "equivalence with diffusion"; "Flow
 * Matching: A Deep Dive" (D), "Optimal Transport Flow"; "Flow Matching" (C), its reading list.
 * Song et al. 2021 (score, SDE and ODE), Song, Meng and Ermon 2021 (DDIM), Ma et al. 2024 (SiT).
 *
 * On any path x_t = alpha x1 + sigma x0, four predictions are linear in each other, given x_t:
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
 * DDIM, a diffusion model's sampler, goes from t to t' by x' = alpha' E x1 + sigma' E x0. In the
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

enum { LEVELS = 3, TIMES = 3, DRAWN = 24, MARKS = 160, BINS = 32, BATCH = 128, PROBES = 2000 };
static const double time_of[TIMES] = {0.3, 0.6, 1};

/* ---- a velocity knows the score -------------------------------------------------------------- */

static void score_of(chapter *c, flow_field f, int path, double *score, const double *x,
                     const double *t, int n) {
    chapter_try(c, f.velocity(f.ctx, score, x, t, n), "v");
    chapter_try(c, flow_path_convert(path, FLOW_SCORE, score, FLOW_VELOCITY, score, x, t, n, f.d),
                "score");
}

/* By conversion of the exact velocity, and straight from the density p_t. */
static double score_gap(chapter *c, const flow_mixture *data, int path, flow_rng *rng) {
    double worst = 0, x[2], converted[2], score[2];
    flow_marginal exact;
    flow_mixture pt;
    chapter_try(c, flow_marginal_of_mixture(&exact, data, path), "v*");
    for (int i = 0; i < 200; i++) {
        const double t = 0.02 + 0.95 * flow_rng_uniform(rng);
        chapter_try(c, flow_mixture_at(&pt, data, path, t), "p_t");
        flow_mixture_sample(&pt, rng, x, NULL, 1);
        flow_mixture_score(&pt, score, x, 1);
        score_of(c, flow_marginal_field(&exact), path, converted, x, &t, 1);
        for (int j = 0; j < 2; j++) worst = chapter_worse(worst, fabs(converted[j] - score[j]));
        flow_mixture_free(&pt);
    }
    flow_marginal_free(&exact);
    return worst;
}

static void train(chapter *c, flow_net *net, const flow_mixture *data, int steps, flow_rng *rng) {
    double x0[2 * BATCH], x1[2 * BATCH], xt[2 * BATCH], u[2 * BATCH], t[BATCH], loss;
    flow_opt adam;
    chapter_try(c, flow_net_init(net, 2, 0, 48, 3, FLOW_SILU, PROBES, rng), "network");
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, 0, net->params), "Adam");
    for (int step = 0; step < steps; step++) {
        int err;
        flow_mixture_sample(data, rng, x1, NULL, BATCH);
        flow_normal_sample(rng, x0, BATCH, 2);
        for (int i = 0; i < BATCH; i++) t[i] = flow_rng_uniform(rng);
        flow_path_sample(FLOW_LINEAR, xt, u, x0, x1, t, BATCH, 2);
        err = flow_cfm_loss(net, &loss, xt, t, NULL, u, BATCH);
        adam.rate = 6e-3 * flow_schedule_cosine(step, steps);
        if (err == FLOW_OK) err = flow_opt_step(&adam, net->theta, net->grad);
        chapter_step(c, err, "the network", step);
        chapter_progress(c, "training", step + 1, steps);
    }
    flow_opt_free(&adam);
}

/* On pairs at t in (0.02, 0.98): the loss as a velocity, and as a prediction of noise weighted by
 * 1/t^2, for v - u = -(E x0 - x0)/t; then how far the score is from the true one in units of the
 * noise, E|sigma (s - s*)|^2 against E|sigma s*|^2. */
static void probe(chapter *c, flow_field f, flow_field exact, const flow_mixture *data, int steps,
                  flow_rng *rng) {
    static double x0[2 * PROBES], x1[2 * PROBES], xt[2 * PROBES], u[2 * PROBES], t[PROBES];
    static double v[2 * PROBES], score[2 * PROBES], truth[2 * PROBES];
    double as_velocity = 0, as_noise = 0, miss = 0, size = 0;
    flow_mixture_sample(data, rng, x1, NULL, PROBES);
    flow_normal_sample(rng, x0, PROBES, 2);
    for (int i = 0; i < PROBES; i++) t[i] = 0.02 + 0.96 * flow_rng_uniform(rng);
    flow_path_sample(FLOW_LINEAR, xt, u, x0, x1, t, PROBES, 2);
    chapter_try(c, f.velocity(f.ctx, v, xt, t, PROBES), "v");
    score_of(c, f, FLOW_LINEAR, score, xt, t, PROBES);
    score_of(c, exact, FLOW_LINEAR, truth, xt, t, PROBES);
    for (int i = 0; i < 2 * PROBES; i++) {
        const double sigma = 1 - t[i / 2], noise = -sigma * score[i];
        as_velocity += (v[i] - u[i]) * (v[i] - u[i]) / PROBES;
        as_noise += (noise - x0[i]) * (noise - x0[i]) / (t[i / 2] * t[i / 2]) / PROBES;
        miss += sigma * sigma * (score[i] - truth[i]) * (score[i] - truth[i]);
        size += sigma * sigma * truth[i] * truth[i];
    }
    chapter_near(c, "loss as noise prediction/t^2, as velocity", as_velocity, as_noise,
                 1e-9 * as_velocity);
    chapter_below(c, "network's score: |s - s*|^2/|s*|^2", miss / size, steps < 1000 ? 0.3 : 0.08);
}

/* The network's score and the true one at t on a grid, and the density p_t. */
static void write_score(chapter *c, flow_field f, flow_field exact, const flow_mixture *data,
                        double t) {
    enum { ARROWS = 15, FINE = 81 };
    const double *x = chapter_grid(c, -3, 3, ARROWS, 2), *fine = chapter_grid(c, -3, 3, FINE, 2);
    double learned[2 * ARROWS * ARROWS], truth[2 * ARROWS * ARROWS], time[ARROWS * ARROWS];
    double *p = chapter_alloc(c, FINE * FINE);
    const double *const scores[2] = {learned, truth}, *const density[1] = {p};
    const int width[2] = {2, 2}, one = 1;
    flow_mixture pt;
    for (int i = 0; i < ARROWS * ARROWS; i++) time[i] = t;
    score_of(c, f, FLOW_LINEAR, learned, x, time, ARROWS * ARROWS);
    score_of(c, exact, FLOW_LINEAR, truth, x, time, ARROWS * ARROWS);
    chapter_grid_block(c, "score", "x1 x2, learned, true score", x, ARROWS, 2, scores, width, 2);
    chapter_try(c, flow_mixture_at(&pt, data, FLOW_LINEAR, t), "p_t");
    flow_mixture_logprob(&pt, p, fine, FINE * FINE);
    flow_mixture_free(&pt);
    for (int i = 0; i < FINE * FINE; i++) p[i] = exp(p[i]);
    chapter_grid_block(c, "density", "x1 x2 p_t", fine, FINE, 2, density, &one, 1);
}

/* ---- noise on the way, the same marginals ---------------------------------------------------- */

/* P(X <= x) of a one-dimensional mixture. */
static double mixture_cdf(void *ctx, double x) {
    const flow_mixture *m = (const flow_mixture *)ctx;
    double sum = 0;
    for (int k = 0; k < m->k; k++)
        sum += m->weight[k] * (1 + erf((x - m->mean[k]) / sqrt(2 * m->cov[k]))) / 2;
    return sum;
}

/* c->n samples x from N(0, spread^2) by the SDE with noise lambda. ks[TIMES]: their Kolmogorov
 * distance from p_t at t = 0.3, 0.6 and 1. */
static double *travel(chapter *c, flow_cnf *flow, const flow_mixture *data, double lambda,
                      double spread, int steps, flow_rng *rng, double *ks) {
    double *x = chapter_alloc(c, (size_t)c->n), from = 0;
    flow_normal_sample(rng, x, c->n, 1);
    for (int i = 0; i < c->n; i++) x[i] *= spread;
    for (int k = 0; k < TIMES; from = time_of[k++]) {
        const double to = time_of[k];
        flow_mixture pt;
        flow->steps = (int)(steps * (to - from)) + 1;
        chapter_try(c, flow_sde_transport(flow, rng, x, FLOW_LINEAR, lambda, from, to, c->n),
                    "the SDE");
        chapter_try(c, flow_mixture_at(&pt, data, FLOW_LINEAR, to), "p_t");
        chapter_try(c, flow_ks(&ks[k], x, c->n, mixture_cdf, &pt), "Kolmogorov's distance");
        flow_mixture_free(&pt);
    }
    return x;
}

/* Paths from the same starts for every noise, and the histogram of where all samples end. */
static void write_level(chapter *c, flow_cnf *flow, int level, double lambda, const double *ends,
                        flow_rng rng) {
    double start[DRAWN], density[BINS];
    char name[20];
    flow_normal_sample(&rng, start, DRAWN, 1);
    snprintf(name, sizeof name, "path%d", level);
    chapter_block(c, name, "t x, one path after another");
    flow->steps = 4;
    for (int i = 0; i < DRAWN; i++, chapter_gap(c)) {
        for (int k = 0; k <= MARKS; k++) {
            const double t = (double)k / MARKS;
            chapter_row2(c, t, start[i]);
            if (k == MARKS) continue;
            chapter_try(c, flow_sde_transport(flow, &rng, start + i, FLOW_LINEAR, lambda, t,
                                              (k + 1.0) / MARKS, 1), "a path");
        }
    }
    chapter_try(c, flow_histogram(density, ends, c->n, -4, 4, BINS), "histogram");
    snprintf(name, sizeof name, "ends%d", level);
    chapter_block(c, name, "x, density of the samples");
    for (int i = 0; i < BINS; i++) chapter_row2(c, -4 + 8 * (i + 0.5) / BINS, density[i]);
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

/* The same p_t for every lambda; and what noise is good for: started from noise of half the right
 * width, the ODE carries the mistake to the end, while the SDE forgets where it came from. */
static void noise_levels(chapter *c, double most, int steps, flow_rng *rng) {
    const double weight[2] = {0.35, 0.65}, mean[2] = {-2, 1.5}, cov[2] = {0.16, 0.36};
    const double lambda[LEVELS] = {0, most / 4, most};
    const double slack = 2.0 / steps; /* Euler and Maruyama: O(1/steps) */
    double ks[TIMES], wrong[2][TIMES];
    flow_rng same = flow_rng_split(rng);
    flow_mixture data;
    flow_marginal exact;
    flow_cnf flow;
    chapter_try(c, flow_mixture_init(&data, weight, mean, cov, 2, 1), "two humps");
    chapter_try(c, flow_marginal_of_mixture(&exact, &data, FLOW_LINEAR), "the exact velocity");
    chapter_try(c, flow_cnf_init(&flow, flow_marginal_field(&exact), FLOW_EULER, 1, 256), "flow");
    write_background(c, &data);
    chapter_block(c, "levels", "number lambda");
    for (int k = 0; k < LEVELS; k++) chapter_row2(c, k, lambda[k]);
    for (int k = 0; k < LEVELS; k++) {
        const double *x = travel(c, &flow, &data, lambda[k], 1, steps, rng, ks);
        write_level(c, &flow, k, lambda[k], x, same);
        for (int i = 0; i < TIMES; i++) {
            char text[60];
            snprintf(text, sizeof text, "lambda = %g, t = %g: distance from p_t", lambda[k],
                     time_of[i]);
            chapter_below(c, text, ks[i], flow_ks_critical(c->n, 1e-6) + slack);
        }
    }
    for (int k = 0; k < 2; k++) travel(c, &flow, &data, k ? most : 0, 0.5, steps, rng, wrong[k]);
    chapter_say(c, "start too narrow, lambda = 0: distance at 1", wrong[0][TIMES - 1], "");
    chapter_below(c, "  with noise, over that without", wrong[1][TIMES - 1] / wrong[0][TIMES - 1],
                  most < 1 ? 1.1 : 0.5 + slack + 5 / sqrt(c->n));
    flow_cnf_free(&flow);
    flow_marginal_free(&exact);
    flow_mixture_free(&data);
}

/* ---- DDIM is Euler --------------------------------------------------------------------------- */

/* x by DDIM's steps on a path; z by Euler's on the straight one, at the times tau of the same
 * points, each with the closed form of its own path. Returns the worst |x - (alpha + sigma) z|. */
static double ddim(chapter *c, const flow_mixture *data, int path, int steps, flow_rng *rng) {
    double x[2], z[2], noise[2], clean[2], straight[2], apart = 0;
    flow_marginal curved, line;
    flow_path at = flow_path_at(path, 0);
    chapter_try(c, flow_marginal_of_mixture(&curved, data, path), "v* of the path");
    chapter_try(c, flow_marginal_of_mixture(&line, data, FLOW_LINEAR), "v* of straight lines");
    const flow_field f = flow_marginal_field(&curved), g = flow_marginal_field(&line);
    flow_normal_sample(rng, x, 1, 2);
    for (int j = 0; j < 2; j++) z[j] = x[j] / (at.alpha + at.sigma);
    for (int k = 0; k < steps; k++) {
        const double t = (double)k / steps, tau = at.alpha / (at.alpha + at.sigma);
        at = flow_path_at(path, (k + 1.0) / steps);
        chapter_try(c, f.velocity(f.ctx, clean, x, &t, 1), "v");
        flow_path_convert(path, FLOW_NOISE, noise, FLOW_VELOCITY, clean, x, &t, 1, 2);
        flow_path_convert(path, FLOW_DATA, clean, FLOW_VELOCITY, clean, x, &t, 1, 2);
        chapter_try(c, g.velocity(g.ctx, straight, z, &tau, 1), "v");
        for (int j = 0; j < 2; j++) {
            x[j] = at.alpha * clean[j] + at.sigma * noise[j]; /* DDIM, and Euler: */
            z[j] += (at.alpha / (at.alpha + at.sigma) - tau) * straight[j];
            apart = chapter_worse(apart, fabs(x[j] - (at.alpha + at.sigma) * z[j]));
        }
    }
    flow_marginal_free(&curved);
    flow_marginal_free(&line);
    return apart;
}

int main(int argc, char **argv) {
    int steps = 400, training = 5000;
    double lambda = 2, worst = 0, apart = 0;
    const chapter_flag flags[] = {{"--lambda", CHAPTER_REAL, &lambda, "the most noise on the way"},
                                  {"--steps", CHAPTER_COUNT, &steps, "of the SDE, from 0 to 1"},
                                  {"--train", CHAPTER_COUNT, &training, "steps of training"}};
    chapter c;
    flow_rng rng;
    flow_mixture data;
    flow_marginal exact;
    flow_net net;
    chapter_begin(&c, argc, argv, "15_diffusion", "scores, SDEs and DDIM from a velocity", 20000,
                  flags, 3);
    chapter_require(&c, lambda > 0 && lambda <= 20, "--lambda", "a number above 0, at most 20");
    chapter_require(&c, steps >= 20, "--steps", "at least 20");
    if (c.quick && training > 500) training = 500;
    if (c.quick && c.n > 2000) c.n = 2000;
    flow_rng_init(&rng, c.seed);
    chapter_try(&c, flow_toy_mixture(&data, FLOW_TOY_8GAUSSIANS), "eight Gaussians");
    chapter_try(&c, flow_marginal_of_mixture(&exact, &data, FLOW_LINEAR), "v*");
    for (int path = FLOW_LINEAR; path <= FLOW_COSINE; path++)
        worst = chapter_worse(worst, score_gap(&c, &data, path, &rng));
    chapter_near(&c, "score from v, less score of p_t; three paths", 0, worst, 1e-7);
    train(&c, &net, &data, training, &rng);
    probe(&c, flow_net_field(&net), flow_marginal_field(&exact), &data, training, &rng);
    write_score(&c, flow_net_field(&net), flow_marginal_field(&exact), &data, 0.6);
    noise_levels(&c, lambda, steps, &rng);
    for (int i = 0; i < 40; i++)
        apart = chapter_worse(apart, ddim(&c, &data, i % 2 ? FLOW_COSINE : FLOW_VP, 20, &rng));
    chapter_near(&c, "DDIM less Euler on straight lines, 20 steps", 0, apart, 1e-8);
    flow_net_free(&net);
    flow_marginal_free(&exact);
    flow_mixture_free(&data);
    return chapter_end(&c);
}

/* Try this
 * 1. --lambda 20 --steps 20: more noise wants smaller steps. What does the figure say first?
 * 2. In noise_levels, give the last two travels lambda = 0.2 and 0.5: how much noise does it take
 *    to forget a wrong start?
 * 3. In ddim, take (k + 1.0)/steps and t to their squares: other times, the same identity. */
