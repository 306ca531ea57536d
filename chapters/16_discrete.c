/* 16_discrete.c - flow matching where nothing can flow: tokens jump from noise to data.
 *
 * Beside it: E, slides "Flow-based generative models", "discrete flow matching" among its topics
 * to discuss; the formulas are those of Campbell et al. 2024 and Gat et al. 2024.
 *
 * A point x is L tokens of K values: here two of 16, the row and column of a small picture. At time
 * t each token is the data's with probability t, else still noise: a mask, or any value at random.
 *
 *     p_t(x | x1) = prod_l (t [x^l = x1^l] + (1-t) p_0(x^l))     the path of chapter 11, for tokens
 *     u^l(y | x) = (P(x1^l = y | x_t = x) - [y = x^l])/(1-t)     the rate at which token l turns y
 *     loss = -E sum_l log P(x1^l | x_t)                          what is learned is the posterior P
 *
 * u is a velocity: p_t obeys Kolmogorov's forward equation dp_t(x)/dt = sum_z p_t(z) u(x | z), the
 * continuity equation of jumps. A step h sends each token on its own to y with probability h u,
 * so that two that jump at once know nothing of each other: the error of N steps is O(1/N).
 *
 * With a finite target the posterior is a closed form, the oracle, and 17 x 17 states are so few
 * that the law of the sampler is computed exactly, too. You will see p_t for both sources, samples
 * with the oracle and with a network, and how the distance to the target falls with N (discrete).
 *
 * Alone: cc -O2 -I. chapters/16_discrete.c -lm -o 16_discrete && ./16_discrete --set rings
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { K = 16, SIDE = K + 1, STATES = SIDE * SIDE, ROW = 2 * K };
enum { WIDTH = 48, BATCH = 128, STEPS = 64, MOST = 128, CHUNK = 1000 };

typedef struct {
    const char *name;
    flow_token_set oracle;       /* cells of the target, their probabilities; and its posterior */
    flow_token_net network;
    int cell[2 * K * K], x[2 * STATES]; /* of the target; all states */
    double weight[K * K], target[STATES];
    int steps;                   /* of the sampler, and */
    double *table;               /* [steps*STATES*ROW] a posterior at t = 0, 1/steps ... */
    flow_rng rng;
} grid;

/* The target: the density of a toy set in the middle of each cell of [-4, 4]^2. In states, token
 * K is the mask. */
static void aim(chapter *c, grid *g, int set, int source) {
    const flow_tokens s = {2, K, source};
    const double width = 8 / (double)K;
    double logp, total = 0;
    g->name = source == FLOW_MASK ? "mask" : "uniform";
    g->oracle.s = g->network.s = s;
    g->oracle.data = g->cell, g->oracle.weight = g->weight, g->oracle.count = 0;
    for (int i = 0; i < STATES; i++) {
        int *x = g->x + 2 * i, *cell = g->cell + 2 * g->oracle.count;
        double at[2] = {width * (i % SIDE + 0.5) - 4, width * (i / SIDE + 0.5) - 4};
        x[0] = i % SIDE, x[1] = i / SIDE, g->target[i] = 0;
        chapter_try(c, flow_toy_logprob(set, &logp, at, 1), "target");
        if (x[0] == K || x[1] == K || logp < -12) continue;
        memcpy(cell, x, 2 * sizeof *x);
        total += g->target[i] = g->weight[g->oracle.count++] = exp(logp);
    }
    for (int i = 0; i < STATES; i++) g->target[i] /= total;
    for (int i = 0; i < g->oracle.count; i++) g->weight[i] /= total;
}

/* p_0 of a token, and p_t of one whose data are y. */
static double noise(const grid *g, int x) {
    return g->oracle.s.source == FLOW_MASK ? x == K : x < K ? 1 / (double)K : 0;
}

static double token(const grid *g, int x, int y, double t) {
    return t * (x == y) + (1 - t) * noise(g, x);
}

/* By definition, summed over the whole target with w_i = weight_i p_t(x | x1_i): p_t(x) = sum w_i,
 * its derivative, and u^l(y | x) = sum w_i ([y = x1_i^l] - [y = x^l])/(1-t) / p_t(x). */
static double define(const grid *g, const int *x, double t, double *dp, double u[2][SIDE]) {
    double p = 0;
    *dp = 0;
    for (int y = 0; y < SIDE; y++) u[0][y] = u[1][y] = 0;
    for (int i = 0; i < g->oracle.count; i++) {
        const int *x1 = g->cell + 2 * i;
        double p0 = token(g, x[0], x1[0], t), p1 = token(g, x[1], x1[1], t);
        double w = g->weight[i] * p0 * p1;
        p += w;
        *dp += g->weight[i] * ((x[0] == x1[0]) - noise(g, x[0])) * p1;
        *dp += g->weight[i] * ((x[1] == x1[1]) - noise(g, x[1])) * p0;
        for (int l = 0; l < 2; l++) u[l][x1[l]] += w / (1 - t), u[l][x[l]] -= w / (1 - t);
    }
    for (int y = 0; y < SIDE && p > 0; y++) u[0][y] /= p, u[1][y] /= p;
    return p;
}

/* The library's rates against the definition, and both sides of the forward equation. */
static void check_rates(chapter *c, grid *g) {
    static double p[STATES * ROW], u[STATES][2][SIDE];
    double t[STATES], dp[STATES], exact[2][SIDE], worst = 0, unbalanced = 0;
    for (int k = 0; k < 20; k++) {
        double flux[STATES] = {0};
        for (int i = 0; i < STATES; i++) t[i] = 0.05 * k;
        chapter_try(c, flow_token_set_posterior(&g->oracle, p, g->x, t, STATES), "oracle");
        chapter_try(c, flow_tokens_rates(&g->oracle.s, u[0][0], p, g->x, t, STATES), "rates");
        for (int i = 0; i < STATES; i++) {
            double pt = define(g, g->x + 2 * i, t[i], dp + i, exact);
            for (int j = 0; j < 2 * SIDE && pt > 0; j++) {
                int l = j / SIDE, y = j % SIDE, to = i + (y - g->x[2 * i + l]) * (l ? SIDE : 1);
                flux[to] += pt * u[i][l][y];
                worst = chapter_worse(worst, fabs(u[i][l][y] - exact[l][y]));
            }
        }
        for (int i = 0; i < STATES; i++)
            unbalanced = chapter_worse(unbalanced, fabs(dp[i] - flux[i]));
    }
    chapter_near(c, chapter_text("%s: oracle's rates, less their definition", g->name), 0, worst,
                 1e-9);
    chapter_near(c, chapter_text("%s: forward equation, dp/dt - sum p u", g->name), 0, unbalanced,
                 1e-12);
}

/* The sampler asks at few times for few states: here are all the answers, */
static void tabulate(chapter *c, grid *g, int steps, flow_posterior_fn posterior, void *ctx) {
    double t[STATES];
    g->steps = steps;
    for (int k = 0; k < steps; k++) {
        for (int i = 0; i < STATES; i++) t[i] = (double)k / steps;
        chapter_try(c, posterior(ctx, g->table + k * STATES * ROW, g->x, t, STATES), "posterior");
    }
}

/* and a posterior that knows them. */
static int look_up(void *ctx, double *p, const int *x, const double *t, int n) {
    const grid *g = (const grid *)ctx;
    for (int i = 0; i < n; i++) {
        int k = (int)(t[i] * g->steps + 0.5), state = x[2 * i] + SIDE * x[2 * i + 1];
        memcpy(p + i * ROW, g->table + (k * STATES + state) * ROW, ROW * sizeof *p);
    }
    return FLOW_OK;
}

/* The exact law of the sampler after step k: each token is drawn anew with probability a = h/(1-t),
 * law(y) <- sum_x law(x) prod_l ((1 - a) [y^l = x^l] + a P(x1^l = y^l | x)). */
static void advance(const grid *g, double *law, int k) {
    double next[STATES] = {0}, move[2][SIDE], a = 1.0 / (g->steps - k);
    for (int i = 0; i < STATES; i++) {
        const double *p = g->table + (k * STATES + i) * ROW;
        if (!(law[i] > 0)) continue;
        for (int l = 0; l < 2; l++)
            for (int y = 0; y < SIDE; y++)
                move[l][y] = (1 - a) * (g->x[2 * i + l] == y) + (y < K ? a * p[l * K + y] : 0);
        for (int j = 0; j < STATES; j++)
            next[j] += law[i] * move[0][g->x[2 * j]] * move[1][g->x[2 * j + 1]];
    }
    memcpy(law, next, sizeof next);
}

static void put(chapter *c, const grid *g, const char *name, const double *p) {
    chapter_block(c, chapter_text("%s_%s", g->name, name), "token1 token2 p; token 16 is the mask");
    for (int i = 0; i < STATES; i++) {
        chapter_row3(c, g->x[2 * i], g->x[2 * i + 1], p[i]);
        if (i % SIDE == K) chapter_gap(c);
    }
}

/* The law after all steps; if asked for, with blocks of data at t = 0, 1/2 and 3/4. */
static void run_law(chapter *c, const grid *g, double *law, int keep) {
    const char *const name[] = {"t0", "t50", "t75"};
    const int at[] = {0, g->steps / 2, 3 * g->steps / 4};
    for (int i = 0; i < STATES; i++) law[i] = noise(g, g->x[2 * i]) * noise(g, g->x[2 * i + 1]);
    for (int k = 0; k < g->steps; k++) {
        for (int i = 0; i < 3 && keep; i++)
            if (k == at[i]) put(c, g, name[i], law);
        advance(g, law, k);
    }
}

/* Total variation, sum_x |p(x) - q(x)|/2: the most that two laws differ by on any event. */
static double variation(const double *p, const double *q) {
    double sum = 0;
    for (int i = 0; i < STATES; i++) sum += fabs(p[i] - q[i]) / 2;
    return sum;
}

/* A batch holds the cells in proportion to their probabilities, as an epoch over data does. Each t
 * is a problem of its own, so it may have any density: here more towards 1, where a wrong posterior
 * is divided by a small 1 - t. */
static void train(chapter *c, grid *g, int steps) {
    int x0[2 * BATCH], x1[2 * BATCH], xt[2 * BATCH];
    double t[BATCH], loss;
    flow_net *net = g->network.net;
    flow_opt adam;
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, 0, net->params), "Adam");
    for (int step = 0; step < steps; step++) {
        double u = flow_rng_uniform(&g->rng) / (double)BATCH, sum = g->weight[0];
        for (int i = 0, cell = 0; i < BATCH; i++, u += 1 / (double)BATCH) {
            while (cell < g->oracle.count - 1 && sum < u) sum += g->weight[++cell];
            memcpy(x1 + 2 * i, g->cell + 2 * cell, 2 * sizeof *x1);
            t[i] = flow_rng_uniform(&g->rng);
            t[i] = 1 - (1 - t[i]) * (1 - t[i]);
        }
        flow_tokens_noise(&g->oracle.s, &g->rng, x0, BATCH);
        flow_tokens_path(&g->oracle.s, &g->rng, xt, x0, x1, t, BATCH);
        chapter_step(c, flow_token_net_loss(&g->network, &loss, xt, x1, t, BATCH), "the network",
                     step);
        adam.rate = 1e-2 * flow_schedule_cosine(step, steps);
        chapter_step(c, flow_opt_step(&adam, net->theta, net->grad), "the network", step);
        chapter_progress(c, "training, step", step + 1, steps);
    }
    flow_opt_free(&adam);
}

/* n samples in STEPS steps, against the target and against the law that they should follow. */
static void check_samples(chapter *c, grid *g, const char *who, int n, double limit) {
    double share[STATES] = {0}, law[STATES], noise_tv = 0;
    int x[2 * CHUNK];
    for (int from = 0, m; from < n; from += m) {
        m = n - from < CHUNK ? n - from : CHUNK;
        chapter_try(c, flow_tokens_sample(&g->oracle.s, &g->rng, x, look_up, g, g->steps, m), who);
        for (int i = 0; i < m; i++) share[x[2 * i] + SIDE * x[2 * i + 1]] += 1.0 / n;
    }
    put(c, g, who, share);
    run_law(c, g, law, strcmp(who, "oracle") == 0);
    for (int i = 0; i < STATES; i++) /* E|share - law| = sqrt(2 law (1 - law)/(pi n)) */
        noise_tv += sqrt(law[i] * (1 - law[i]) / (2 * CHAPTER_PI * n));
    chapter_below(c, chapter_text("%s: %s, TV to target (noise %.4f)", g->name, who, noise_tv),
                  variation(share, g->target), fmax(limit, limit / 2 + 1.5 * noise_tv));
    chapter_below(c, chapter_text("%s: %s, TV to its exact law / noise", g->name, who),
                  variation(share, law) / noise_tv, 1.5);
}

static void run(chapter *c, grid *g, int training) {
    const char *const who[2] = {"oracle", "network"};
    flow_posterior_fn const posterior[2] = {flow_token_set_posterior, flow_token_net_posterior};
    void *const ctx[2] = {&g->oracle, &g->network};
    const int n = c->quick ? c->n / 10 + 1 : c->n;
    double law[STATES], tv[2][8], count[8];
    flow_net net;
    check_rates(c, g);
    chapter_try(c, flow_net_init(&net, ROW, 0, WIDTH, 2, FLOW_SILU, STATES, &g->rng), "network");
    g->network.net = &net;
    train(c, g, training);
    for (int q = 0; q < 2; q++) {
        for (int j = 0, steps = 1; j < 8; j++, steps *= 2) {
            tabulate(c, g, steps, posterior[q], ctx[q]);
            run_law(c, g, law, 0);
            tv[q][j] = variation(law, g->target), count[j] = steps;
            if (steps == STEPS) check_samples(c, g, who[q], n, q && c->quick ? 0.2 : 0.03);
        }
        if (q == 0)
            chapter_below(c, chapter_text("%s: oracle, slope of law's TV in N > 4", g->name),
                          chapter_slope(count + 3, tv[0] + 3, 5), -0.9);
    }
    put(c, g, "target", g->target);
    chapter_block(c, chapter_text("%s_steps", g->name), "N TV of the law: oracle network");
    for (int j = 0; j < 8; j++) chapter_row3(c, count[j], tv[0][j], tv[1][j]);
    flow_net_free(&net);
}

int main(int argc, char **argv) {
    const char *set = "moons";
    int steps = 6000, toy;
    static grid g;
    const chapter_flag flags[] = {
        {"--set", CHAPTER_TEXT, &set, "the toy set on the grid, any but pinwheel"},
        {"--steps", CHAPTER_COUNT, &steps, "training steps, a 24th of them when quick"}};
    chapter c;
    chapter_begin(&c, argc, argv, "16_discrete", "flow matching of tokens", 100000, flags, 2);
    toy = flow_toy_find(set);
    chapter_require(&c, toy >= 0 && toy != FLOW_TOY_PINWHEEL, "--set", "a toy set but pinwheel");
    flow_rng_init(&g.rng, c.seed);
    g.table = chapter_alloc(&c, MOST * STATES * ROW);
    for (int source = FLOW_MASK; source <= FLOW_UNIFORM; source++) {
        aim(&c, &g, toy, source);
        run(&c, &g, c.quick ? steps / 24 + 1 : steps);
    }
    return chapter_end(&c);
}

/* Try this
 * 1. --set checkerboard: from the mask, the oracle's error falls faster than 1/N. Its posterior of
 *    a pair that is no data is that of the data nearest to it: what becomes of a wrong pair?
 * 2. In train, let t be uniform: the network's error from uniform noise then grows with N. Why?
 * 3. --n 1000: what does the noise hide, and how many samples tell oracle and network apart? */
