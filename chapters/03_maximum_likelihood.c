/* 03_maximum_likelihood: the best model is the one that explains the data best.
 *
 * Beside it: slides E, "Maximum likelihood detour" and "Back to generative: how to find a good T";
 * article A, "Training the flow", the remark on cross-entropy and KL divergence.
 *
 * A coin with P(heads) = p gives the flips y_1 ... y_n (1: heads) the likelihood
 *
 *     L(p) = product over i of p^(y_i) (1 - p)^(1 - y_i)          (the slides leave out the i)
 *
 * and its logarithm has its maximum where the score, heads/p - tails/(1 - p), is 0: p = heads/n.
 * For densities the same principle has a name for what is left over at the maximum:
 *
 *     cross-entropy   -E_p[log q]  =  entropy -E_p[log p]  +  KL(p|q) = E_p[log p - log q] >= 0
 *
 * so the q of highest likelihood under data from p is the q of least *forward* KL(p|q). The
 * *reverse* KL(q|p) = E_q[log q - log p] needs no data but p itself, and chooses differently: you
 * will see one Gaussian fitted to two humps in both ways, one covering both, one seeking a mode.
 *
 * Alone: cc -O2 -I. chapters/03_maximum_likelihood.c -lm -o 03_maximum_likelihood
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

/* ---- the coin ------------------------------------------------------------------------------- */

typedef struct {
    int y[1000]; /* 1: heads */
    int n, heads;
} flips;

static flips read_flips(chapter *c, const char *text) {
    flips f;
    f.n = f.heads = 0;
    for (; *text && f.n < 1000; text++) {
        const int heads = *text == 'H' || *text == 'h';
        chapter_require(c, heads || *text == 'T' || *text == 't', "--flips", "letters H and T");
        f.y[f.n++] = heads;
        f.heads += heads;
    }
    chapter_require(c, f.n > 0 && !*text, "--flips", "1 to 1000 letters H and T");
    return f;
}

/* log L(p) = sum_i log P(y_i) */
static double log_likelihood(const flips *f, double p) {
    double logp[1000], sum = 0;
    flow_bernoulli_logprob(logp, f->y, p, f->n);
    for (int i = 0; i < f->n; i++) sum += logp[i];
    return sum;
}

/* d log L/dp, as flow_root wants it: with its own slope, -heads/p^2 - tails/(1 - p)^2 */
static double coin_score(void *ctx, double p, double *slope) {
    const flips *f = (const flips *)ctx;
    double score[1000], sum = 0;
    flow_bernoulli_score(score, f->y, p, f->n);
    for (int i = 0; i < f->n; i++) sum += score[i];
    *slope = -f->heads / (p * p) - (f->n - f->heads) / ((1 - p) * (1 - p));
    return sum;
}

static void write_coin(chapter *c, const flips *f, double best) {
    const double marks[3] = {0.1, 0.5, best}, most = log_likelihood(f, best);
    chapter_block(c, "coin", "p likelihood/maximum");
    for (int i = 0; i <= 400; i++)
        chapter_row2(c, i / 400.0, exp(log_likelihood(f, i / 400.0) - most));
    chapter_block(c, "marks", "p likelihood likelihood/maximum; the last row is the maximum");
    for (int i = 0; i < 3; i++) {
        const double likelihood = exp(log_likelihood(f, marks[i]));
        chapter_row3(c, marks[i], likelihood, likelihood / exp(most));
    }
}

static void coin(chapter *c, const char *text) {
    flips f = read_flips(c, text);
    double best = f.heads == 0 ? 0 : 1; /* all of one kind: the maximum is at the end, no root */
    if (f.heads > 0 && f.heads < f.n)
        chapter_try(c, flow_root(&best, coin_score, &f, 1e-9, 1 - 1e-9, 1e-14), "the coin");
    if (strcmp(text, "HHTHHTTTHT") == 0) {
        chapter_near(c, "likelihood of HHTHHTTTHT, p = 0.1", 5.9049e-6,
                     exp(log_likelihood(&f, 0.1)), 1e-12); /* the slides: 6 x 10^-6 */
        chapter_near(c, "  p = 0.5", 9.765625e-4, exp(log_likelihood(&f, 0.5)), 1e-12);
    }
    chapter_near(c, "p of the highest likelihood: heads/n", (double)f.heads / f.n, best, 1e-9);
    chapter_below(c, "  log L within 1% of it, at most its own",
                  fmax(log_likelihood(&f, fmax(0, best - 0.01)),
                       log_likelihood(&f, fmin(1, best + 0.01))) - log_likelihood(&f, best), 1e-12);
    write_coin(c, &f, best);
}

/* ---- two humps and one Gaussian ------------------------------------------------------------- */

typedef struct {
    flow_mixture p, covers, seeks; /* the humps; the Gaussians of least forward and reverse KL */
    double gap, m, v, theta[2];    /* mean and variance of p; (mean, log std) of the last */
} fits;

typedef struct {
    const flow_mixture *p, *q;
} pair;

static void gaussian(chapter *c, flow_mixture *q, double mean, double std) {
    const double one = 1, var = std * std;
    chapter_try(c, flow_mixture_init(q, &one, &mean, &var, 1, 1), "a Gaussian");
}

static double logprob(const flow_mixture *m, double x) {
    double logp;
    flow_mixture_logprob(m, &logp, &x, 1);
    return logp;
}

/* The integrands of -E_p[log q], which is the entropy when q is p, and of KL(p|q). */
static double cross_at(void *ctx, double x) {
    const pair *m = (const pair *)ctx;
    return -exp(logprob(m->p, x)) * logprob(m->q, x);
}
static double kl_at(void *ctx, double x) {
    const pair *m = (const pair *)ctx;
    return exp(logprob(m->p, x)) * (logprob(m->p, x) - logprob(m->q, x));
}

static double integral(chapter *c, flow_fn f, const flow_mixture *p, const flow_mixture *q) {
    pair m = {p, q};
    double value = 0;
    chapter_try(c, flow_integrate(&value, f, &m, -12, 12), "an integral");
    return value;
}

/* KL(q|p) over q = N(m, s^2), x = m + s z: d/dm = -E[score(x)], d/ds = -E[score(x) z] - 1/s. Down
 * that gradient by Adam, the mean over z by the trapezoidal rule; theta = (m, log s). */
static void seek(chapter *c, const flow_mixture *p, double *theta) {
    enum { NODES = 401 };
    double z[NODES], weight[NODES], x[NODES], score[NODES], grad[2] = {0, 0};
    flow_opt adam;
    for (int i = 0; i < NODES; i++) {
        z[i] = -8 + 16.0 * i / (NODES - 1);
        weight[i] = 16.0 / (NODES - 1) * exp(-z[i] * z[i] / 2) / sqrt(2 * CHAPTER_PI);
    }
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, 0.02, 2), "Adam");
    for (int step = 0; step < 2000; step++) {
        const double s = exp(theta[1]);
        for (int i = 0; i < NODES; i++) x[i] = theta[0] + s * z[i];
        flow_mixture_score(p, score, x, NODES);
        for (int i = 0; i < NODES; i++) {
            grad[0] -= weight[i] * score[i];
            grad[1] -= weight[i] * score[i] * z[i] * s;
        }
        grad[1] -= 1; /* d(-log s)/d log s */
        adam.rate = 0.02 * flow_schedule_cosine(step, 2000);
        chapter_step(c, flow_opt_step(&adam, theta, grad), "Adam", step);
    }
    flow_opt_free(&adam);
}

/* Two humps, and what fits them best: forward by the moments, reverse by search from the left. */
static void fit(chapter *c, fits *f, double gap) {
    const double weight[] = {0.6, 0.4}, mean[] = {-gap, gap}, var[] = {0.36, 0.36};
    f->gap = gap;
    f->m = 0.2 * -gap;
    f->v = 0.36 + gap * gap - f->m * f->m;
    f->theta[0] = -gap;
    f->theta[1] = 0;
    chapter_try(c, flow_mixture_init(&f->p, weight, mean, var, 2, 1), "two humps");
    seek(c, &f->p, f->theta);
    gaussian(c, &f->covers, f->m, sqrt(f->v));
    gaussian(c, &f->seeks, f->theta[0], exp(f->theta[1]));
}

/* Cross-entropy as an integral and as -mean log q over samples; the Gaussian of highest likelihood,
 * whose moments are theirs. */
static void check_likelihood(chapter *c, const fits *f) {
    const flow_mixture *p = &f->p, *q = &f->covers;
    const double expected = integral(c, cross_at, p, p) + integral(c, kl_at, p, q);
    double *x = chapter_alloc(c, 2 * (size_t)c->n), *surprise = x + c->n, mean, var, measured, se;
    flow_rng rng;
    flow_rng_init(&rng, c->seed);
    flow_mixture_sample(p, &rng, x, NULL, c->n);
    chapter_moments(&mean, &var, x, c->n, 1);
    for (int i = 0; i < c->n; i++) surprise[i] = -logprob(q, x[i]);
    measured = chapter_mean(surprise, c->n, &se);
    chapter_near(c, "cross-entropy = entropy + KL, integrals", expected,
                 integral(c, cross_at, p, q), 1e-9);
    chapter_near(c, "  and from samples, -mean log q (nats)", expected, measured, 6 * se);
    chapter_near(c, "maximum likelihood: mean, as forward KL", f->m, mean, 6 * sqrt(f->v / c->n));
    chapter_near(c, "  standard deviation", sqrt(f->v), sqrt(var), 6 * sqrt(f->v / c->n));
}

static void check_divergences(chapter *c, const fits *f) {
    const flow_mixture *p = &f->p, *covers = &f->covers, *seeks = &f->seeks;
    const double scores[4] = {integral(c, kl_at, p, covers), integral(c, kl_at, covers, p),
                              integral(c, kl_at, p, seeks), integral(c, kl_at, seeks, p)};
    chapter_below(c, "forward KL covers: KL(p|q) of it - of the other", scores[0] - scores[2], 0);
    chapter_below(c, "reverse KL seeks a mode: KL(q|p) likewise", scores[3] - scores[1], 0);
    chapter_say(c, "  its mean", f->theta[0], "one hump alone when they lie far apart");
    chapter_say(c, "  its standard deviation", exp(f->theta[1]), "a hump's own: 0.6");
    chapter_block(c, "kl", "x p forward reverse");
    for (int i = 0; i <= 400; i++) {
        const double x = (2 * i / 400.0 - 1) * (f->gap + 4);
        chapter_row4(c, x, exp(logprob(p, x)), exp(logprob(covers, x)), exp(logprob(seeks, x)));
    }
    chapter_block(c, "scores", "KL(p|forward) KL(forward|p) KL(p|reverse) KL(reverse|p)");
    chapter_row(c, scores, 4);
}

int main(int argc, char **argv) {
    const char *text = "HHTHHTTTHT";
    double gap = 2;
    fits f;
    const chapter_flag flags[] = {
        {"--flips", CHAPTER_TEXT, &text, "the coin's flips, letters H and T"},
        {"--gap", CHAPTER_REAL, &gap, "the humps stand at -gap and +gap, 0.2 to 3"},
    };
    chapter c;
    chapter_begin(&c, argc, argv, "03_maximum_likelihood",
                  "a coin, and what a fit by likelihood prefers", 10000, flags, 2);
    chapter_require(&c, c.n >= 100, "--n", "a number of at least 100");
    chapter_require(&c, gap >= 0.2 && gap <= 3, "--gap", "a number from 0.2 to 3");
    coin(&c, text);
    fit(&c, &f, gap);
    check_likelihood(&c, &f);
    check_divergences(&c, &f);
    flow_mixture_free(&f.p);
    flow_mixture_free(&f.covers);
    flow_mixture_free(&f.seeks);
    return chapter_end(&c);
}

/* Try this:
 * 1. --flips HHHHHHHHHH: the likelihood is highest at p = 1. Would you bet that tails never comes?
 * 2. --gap 0.5: when the humps merge, forward and reverse KL choose nearly the same Gaussian.
 * 3. In fit, start the search at the other hump, f->theta[0] = gap: it stays there, with a higher
 *    reverse KL. The divergence has a minimum at each hump. */
