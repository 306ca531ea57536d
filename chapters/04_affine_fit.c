/* 04_affine_fit: the first flow that is trained, an affine map, by maximum likelihood.
 *
 * Beside it: article A, "Training the flow" and "What did the flow learn?"; slides E, "How to find
 * a good T: computing the likelihood" with its exercise T(x) = a x + b.
 *
 * The flow is y = A x + b, x ~ N(0, I). Scoring data only runs it backwards, x = W (y - b), so what
 * is trained is W = A^-1 (the article's inv_A) and b, from W = I and b = 0, one sample a step:
 *
 *     loss(y) = -log p(y) = |W (y - b)|^2/2 - log|det W| + log 2 pi   (A leaves the constant out)
 *     theta  <-  theta - rate d loss(y)/d theta,   theta = (W, b)
 *
 * All it can reach are the Gaussians N(b, A A'), so the optimum is known: mean and covariance of
 * the data, with that Gaussian's entropy for a loss. You will see the density stretch, creep over
 * and tighten (figure epochs), the loss, its wall at det W = 0 and two humps out of reach (loss),
 * where each point goes (map), and three A of one density (rotation).
 *
 * Alone: cc -O2 -I. chapters/04_affine_fit.c -lm -o 04_affine_fit && ./04_affine_fit --rate 0.002
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { HUMPS = 1000, DRAWN = 300 }; /* points of the two humps, and at most in a figure */

typedef struct {
    flow_chain flow;            /* y -> x: the affine layer, after one that standardises a file */
    double *theta, *grad;       /* of the affine layer: W, then b */
    double *y, *logp, data[6];  /* [n*2], log p [n], mean m1 m2 and covariance S11 S12 S21 S22 */
    int n, epochs;
    double rate, least, noise;  /* of SGD; the loss of a perfect model; what straying adds to it */
    double average[6], last[6]; /* theta over the second half of the epochs, and at the end */
} fit;

/* A flow for y[n*2] and its epochs: A's 100,000 steps, or enough to forget the start (b creeps over
 * in |m|^2/(2 rate), W tightens in 3/(1 - correlation)/rate). Your own data are standardised. */
static void begin(chapter *c, fit *f, double *y, int n, double rate, int own) {
    const flow_bijection part[2] = {flow_actnorm(2), flow_affine(2)};
    double *m = f->data, *s = m + 2, det, size = 0;
    for (int i = 0; i < 2 * n; i++) size = fmax(size, fabs(y[i]));
    if (size > 1e30 || (size > 0 && size < 1e-30))
        chapter_stop(c, 1, "the largest number is %g: use other units, 1e-30 to 1e30", size);
    chapter_moments(m, s, y, n, 2);
    det = s[0] * s[3] - s[1] * s[2];
    if (!(det > 1e-10 * s[0] * s[3] && s[0] > 1e-18 * m[0] * m[0] && s[3] > 1e-18 * m[1] * m[1]))
        chapter_stop(c, 1, "the points lie on a line: they have no density in the plane");
    f->least = 1 + log(2 * CHAPTER_PI) + log(det) / 2;
    f->epochs = (int)fmax(4, ceil(fmax(1e5, fmin(1e7, 32 * s[0] * s[3] / det / rate)) / n));
    f->y = y, f->n = n, f->rate = rate, f->logp = chapter_alloc(c, (size_t)n);
    chapter_try(c, flow_chain_init(&f->flow, part + !own, 1 + own, FLOW_TO_NOISE, n, NULL), "flow");
    chapter_try(c, flow_chain_fit(&f->flow, y, n), "standardising");
    f->theta = flow_chain_theta(&f->flow, own);
    f->grad = f->flow.grad + (f->theta - f->flow.theta);
}

/* The mean loss of theta with A Q for A, Q a turn, and the second row of that W times s. */
static double loss_of(chapter *c, fit *f, const double *theta, double turn, double s) {
    double loss = 0, u = cos(turn), v = sin(turn);
    for (int j = 0; j < 2; j++) {
        double w1 = theta[j], w2 = theta[2 + j];
        f->theta[j] = u * w1 + v * w2;
        f->theta[2 + j] = s * (u * w2 - v * w1);
        f->theta[4 + j] = theta[4 + j];
    }
    chapter_try(c, flow_chain_logprob(&f->flow, f->logp, f->y, f->n), "log p (lower the --rate)");
    for (int i = 0; i < f->n; i++) loss -= f->logp[i] / f->n;
    return loss;
}

/* Writes row = {tag, excess loss, A11, A12, A21, A22, b1, b2} of that, and returns A A' behind it:
 * b is the image of 0, the columns of A are the images of the axes less b. */
static void map_of(chapter *c, fit *f, double *row, double tag, const double *theta, double turn) {
    double x[6] = {0, 0, 1, 0, 0, 1}, logdet[3] = {0}, *a = row + 2;
    row[0] = tag, row[1] = loss_of(c, f, theta, turn, 1) - f->least;
    chapter_try(c, flow_chain_inverse(&f->flow, x, logdet, x, 3), "A x + b");
    a[0] = x[2] - x[0], a[1] = x[4] - x[0], a[4] = x[0];
    a[2] = x[3] - x[1], a[3] = x[5] - x[1], a[5] = x[1];
    flow_matmul(a + 6, a, 0, a, 1, 2, 2, 2, 0);
    chapter_row(c, row, 8);
}

/* Notes theta, and averages it over whole epochs, for the points return in one order. About a
 * minimum with Hessian H and E[g g'] = N a rate h spreads theta by a covariance C, H C + C H = h N
 * [Mandt, Hoffman and Blei 2017]: that adds tr(H C)/2 = h E|g|^2/4 to the loss. */
static int watch(chapter *c, fit *f, long step) {
    long end = (long)f->epochs * f->n, from = (long)(f->epochs / 2) * f->n, round = 1;
    double row[12];
    while (128 * round <= step) round *= 2;
    if (step % round == 0 || step == end) map_of(c, f, row, (double)step, f->theta, 0);
    for (int j = 0; j < 6 && step >= from && step < end; j++) {
        f->average[j] += f->theta[j] / (double)(end - from);
        f->noise += f->rate * f->grad[j] * f->grad[j] / (4 * (double)(end - from));
    }
    return FLOW_OK;
}

/* A's training loop: for epoch in range(num_epochs): for sample in dataset: */
static void train(chapter *c, fit *f, const char *block) {
    double loss;
    long step = 0;
    flow_opt sgd;
    chapter_block(c, block, "step excess A11 A12 A21 A22 b1 b2");
    chapter_try(c, flow_opt_init(&sgd, FLOW_SGD, f->rate, 6), "SGD");
    for (int epoch = 0; epoch < f->epochs; epoch++) {
        for (const double *sample = f->y; sample < f->y + 2 * f->n; sample += 2) {
            int err = flow_chain_nll(&f->flow, &loss, sample, 1);             /* backward() too */
            if (err == FLOW_OK) err = watch(c, f, step++);
            if (err == FLOW_OK) err = flow_opt_step(&sgd, f->theta, f->grad); /* zero_grad() too */
            if (err < 0) chapter_stop(c, 1, "diverged at step %ld: try a smaller --rate", step);
        }
        chapter_progress(c, "epoch", epoch + 1, f->epochs);
    }
    watch(c, f, step);
    memcpy(f->last, f->theta, sizeof f->last);
    flow_opt_free(&sgd);
}

/* An excess loss e means |b - m| <= sqrt(2 e S) and |A A' - S| <= 2 S sqrt(e) in each entry. The
 * average must be twice as near as e = noise allows. The last theta may stray: a chi square passes
 * 25 times its mean once in a million runs, or less. But a whole nat short is not settled. */
static void check_fit(chapter *c, fit *f) {
    const char *const name[6] = {"b1", "b2", "A A' 11", "A A' 12", "", "A A' 22"};
    const double *g = f->data;
    const double bound[6] = {g[2] / 2, g[5] / 2, g[2] * g[2], g[2] * g[5], 0, g[5] * g[5]};
    double last[12], average[12];
    chapter_block(c, "fit", "noise excess A11 A12 A21 A22 b1 b2: last theta, average");
    map_of(c, f, last, f->noise, f->last, 0);
    map_of(c, f, average, f->noise, f->average, 0);
    for (int j = 0; j < 6; j += 1 + (j == 3))
        chapter_near(c, chapter_text("%s, averaged (the last theta: %.5g)", name[j], last[6 + j]),
                     g[j], average[6 + j], sqrt(f->noise * bound[j]));
    chapter_between(c, "loss at the end, from the optimum's entropy", last[1] + f->least,
                    f->least - 1e-9, f->least + fmin(1, 25 * f->noise));
}

/* Squashed to a line: |W (y - b)|^2 falls to a limit, but -log|det W| grows as -log s. */
static void check_wall(chapter *c, fit *f) {
    chapter_near(c, "W squashed by 1e-5, then 1e-10: loss grows by", log(1e5),
                 loss_of(c, f, f->last, 0, 1e-10) - loss_of(c, f, f->last, 0, 1e-5), 1e-6);
    chapter_block(c, "wall", "s excess");
    for (int i = -199; i < 200; i += 2)
        chapter_row2(c, 0.01 * i, loss_of(c, f, f->average, 0, 0.01 * i) - f->least);
}

/* Every A Q has the density of A. One Q makes it symmetric, hence Sigma^1/2. */
static void check_rotation(chapter *c, fit *f) {
    double *logp = chapter_alloc(c, (size_t)f->n), row[12], turn, change = 0, worst = 0;
    chapter_block(c, "maps", "turn excess A11 A12 A21 A22 b1 b2: A Q, A, Sigma^1/2");
    map_of(c, f, row, 120, f->last, 2 * CHAPTER_PI / 3);
    map_of(c, f, row, 0, f->last, 0);
    turn = atan2(row[3] - row[4], row[2] + row[5]);
    memcpy(logp, f->logp, (size_t)f->n * sizeof *logp);
    for (int k = 1; k < 16; k++) {
        change = chapter_worse(change, fabs(loss_of(c, f, f->last, k, 1) - f->least - row[1]));
        for (int i = 0; i < f->n; i++)
            worst = chapter_worse(worst, fabs(f->logp[i] - logp[i]) / (1 + fabs(logp[i])));
    }
    map_of(c, f, row, turn * 180 / CHAPTER_PI, f->last, turn);
    chapter_near(c, "A Q for A: change of log p, relative", 0, worst, 1e-12);
    chapter_near(c, "A Q for A: change of the loss", 0, change, 1e-12 * (1 + fabs(f->least)));
    chapter_near(c, "one A Q = Sigma^1/2: A12 - A21", 0, row[3] - row[4], 1e-6 * (row[2] + row[5]));
    chapter_above(c, "A as trained, turned from Sigma^1/2 by degrees", fabs(row[0]), 0);
}

/* No affine flow makes two humps. Their entropy is 3.5272 nats, the best Gaussian's 0.4620 more (by
 * quadrature), give or take 0.8/sqrt(HUMPS). E's exercise: T(x) = a x + b has T^-1(y) = (y - b)/a
 * with the derivative 1/a, so p_1 = N(b, a^2), here in both coordinates. */
static void check_humps(chapter *c, fit *h, flow_rng *rng) {
    const double weight[2] = {1, 1}, mean[4] = {-3, 0, 3, 0}, cov[8] = {1, 0, 0, 1, 1, 0, 0, 1};
    const double line[6] = {-0.5, 0, 0, -0.5, 3, 3}, *g = h->data;
    double *y = chapter_alloc(c, 2 * HUMPS), squares;
    flow_mixture p;
    chapter_try(c, flow_mixture_init(&p, weight, mean, cov, 2, 2), "mixture");
    flow_mixture_sample(&p, rng, y, NULL, HUMPS);
    begin(c, h, y, HUMPS, 0.001, 0);
    h->least = 3.5272;
    train(c, h, "two_humps");
    chapter_near(c, "two humps: loss above their entropy", 0.462,
                 loss_of(c, h, h->average, 0, 1) - h->least, 0.13);
    squares = g[2] + g[5] + (g[0] - 3) * (g[0] - 3) + (g[1] - 3) * (g[1] - 3);
    chapter_near(c, "E: loss of -2 x + 3, by N(3, 4)", squares / 8 + log(8 * CHAPTER_PI),
                 loss_of(c, h, line, 0, 1), 1e-12);
    chapter_points(c, "humps", "y1 y2", y, HUMPS, 2, DRAWN);
    flow_mixture_free(&p);
}

int main(int argc, char **argv) {
    const double one = 1, mean[2] = {5, 5}, cov[4] = {2.25, -1.75, -1.75, 2.25};
    const char *file = NULL;
    double rate = 0.001, x[2 * DRAWN], *y;
    const chapter_flag flags[] = {{"--data", CHAPTER_TEXT, &file, "a file of two columns to fit"},
                                  {"--rate", CHAPTER_REAL, &rate, "step size of SGD"}};
    static fit f, h;
    flow_mixture target;
    flow_rng rng;
    chapter c;
    chapter_begin(&c, argc, argv, "04_affine_fit", "an affine flow, trained", 1000, flags, 2);
    chapter_require(&c, c.n >= 10, "--n", "a number of at least 10");
    chapter_require(&c, rate > 0 && rate <= 0.004, "--rate", "a number above 0, up to 0.004");
    flow_rng_init(&rng, c.seed);
    y = chapter_alloc(&c, 2 * (size_t)c.n);
    chapter_try(&c, flow_mixture_init(&target, &one, mean, cov, 1, 2), "target");
    flow_mixture_sample(&target, &rng, y, NULL, c.n);
    flow_mixture_free(&target);
    if (file) {
        y = chapter_data_shuffled(&c, &rng, file, 2, &c.n);
        chapter_say(&c, "points in the file", c.n, "");
    } else puts("A's run, on its own data: b = [5.02 4.98], A A' = [2.05 -1.52; -1.52 1.96]");
    begin(&c, &f, y, c.n, rate, file != NULL);
    train(&c, &f, "training");
    check_fit(&c, &f);
    check_wall(&c, &f);
    check_rotation(&c, &f);
    check_humps(&c, &h, &rng);
    flow_normal_sample(&rng, x, DRAWN, 2);
    chapter_points(&c, "source", "x1 x2", x, DRAWN, 2, DRAWN);
    chapter_points(&c, "points", "y1 y2", y, c.n, 2, DRAWN);
    flow_chain_free(&f.flow);
    flow_chain_free(&h.flow);
    return chapter_end(&c);
}

/* Try this
 * 1. --rate 0.004: the last theta strays four times higher. By how much is the average worse?
 * 2. --n 100, then 100000: the optimum nears the target; does the last theta?
 * 3. --data FILE with 500 rows cos(i) sin(i), a ring: b and A A' are right. Is the density? */
