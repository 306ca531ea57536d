/* 04_affine_fit - the first flow that is trained: an affine map, by maximum likelihood
 *
 * The flow is y = A x + b with x ~ N(0, I). What is trained is its inverse x = W (y - b), W = A^-1,
 * because scoring data only ever runs that way:
 *
 *     -log p(y) = |W (y - b)|^2/2 - log|det W| + log 2 pi     (A's loss leaves the constant out)
 *
 * One sample a step, theta <- theta - rate gradient, from W = I and b = 0. The family is exactly
 * the Gaussians N(b, A A'), so the optimum is known: the mean and the covariance of the data; the
 * loss there is the entropy of that Gaussian. SGD of constant rate does not settle on it but
 * hovers about it; the average of its iterates comes much closer.
 *
 * Beside: "Introduction to Conditional Flow Matching, Part I: Normalizing Flows" (A), "Training
 * the flow" and "What did the flow learn?"; "Flow-based generative models" (E), "How to find a
 * good T: computing the likelihood" with its exercise T(x) = a x + b.
 *
 * You will see the density stretch until it covers the data (A's very large "first step" takes
 * some 20 samples), creep over to them and tighten (figure epochs); the loss fall to the noise of
 * SGD, its wall at det W = 0, and two humps that no Gaussian fits (loss); where the flow takes each
 * point (map); three A of one density (rotation).
 * --data FILE fits the two columns of a file instead and draws the same figures from them.
 *
 * Build and run it alone:
 *     cc -O2 -I. chapters/04_affine_fit.c -lm -o 04_affine_fit
 *     ./04_affine_fit --rate 0.002
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

/* ---- config --------------------------------------------------------------------------------- */

#define PI 3.141592653589793
#define LOG_2PI 1.8378770664093453

enum {
    BATCH = 256,  /* samples that the chain scores at once; it trains on one */
    PATH = 1536,  /* iterates kept for the figures: enough for 2^63 steps */
    HUMPS = 1000, /* points of the two humps */
    DRAWN = 500,  /* points in a figure, at most */
    MOMENTS = 6   /* drawn of the training */
};

typedef struct {
    double mean[2], cov[3]; /* cov = S11, S12, S22 */
} gauss;

static const gauss target = {{5, 5}, {2.25, -1.75, 2.25}};         /* A's */
static const gauss reported = {{5.02, 4.98}, {2.05, -1.52, 1.96}}; /* what A's run ended with */
static const gauss humps = {{0, 0}, {10, 0, 1}}; /* moments of N((-3, 0), I)/2 + N((3, 0), I)/2 */

typedef struct {
    double *y; /* [n*2] the points to train on; the file's are shift + scale * y */
    int n, epochs, count;
    double shift[2], scale[2], rate;
    double path[PATH][7]; /* step, W, b at steps ever further apart, and at the moments drawn */
    double *theta;        /* the W, b it ended with */
    long next;            /* step to keep */
    gauss data, average;  /* moments of y; b and A A' averaged over the second half of the epochs */
    double hover;         /* the excess loss at which the noise of SGD should hold it */
} fit;

/* ---- data ----------------------------------------------------------------------------------- */

static void sample(chapter *c, flow_rng *rng, fit *f, const double *mean, const double *cov,
                   int k) {
    const double weight[2] = {1, 1};
    flow_mixture m;
    f->y = chapter_alloc(c, 2 * (size_t)f->n);
    chapter_try(c, flow_mixture_init(&m, weight, mean, cov, k, 2), "mixture");
    flow_mixture_sample(&m, rng, f->y, NULL, f->n);
    flow_mixture_free(&m);
}

/* A file may be sorted, and SGD would follow its order. */
static void shuffle(flow_rng *rng, double *y, int n) {
    for (int i = n - 1; i > 0; i--) {
        double *z = y + 2 * flow_rng_below(rng, i + 1), kept[2] = {y[2 * i], y[2 * i + 1]};
        memmove(y + 2 * i, z, sizeof kept);
        memcpy(z, kept, sizeof kept);
    }
}

/* Each column to mean 0 and variance 1: a rate suits one scale of data only, and from W = I at
 * (1000, 1000) one of 0.001 blows up at once. hypot adds squares so that none overflows. */
static void standardise(fit *f) {
    double *s = f->scale, *y = f->y;
    s[0] = s[1] = 0;
    for (int i = 0; i < 2 * f->n; i++) f->shift[i % 2] += y[i] / f->n;
    for (int i = 0; i < 2 * f->n; i++) y[i] -= f->shift[i % 2];
    for (int i = 0; i < 2 * f->n; i++) s[i % 2] = hypot(s[i % 2], y[i] / sqrt((double)f->n));
    for (int i = 0; i < 2 * f->n; i++) y[i] /= s[i % 2] > 0 ? s[i % 2] : 1;
}

static void to_file(const fit *f, double *out, const double *y) {
    for (int j = 0; j < 2; j++) out[j] = f->shift[j] + f->scale[j] * y[j];
}

/* ---- compute -------------------------------------------------------------------------------- */

/* m = (1/n) sum_i y_i,  S = (1/n) sum_i (y_i - m)(y_i - m)' */
static gauss moments(const double *y, int n) {
    gauss g = {{0, 0}, {0, 0, 0}};
    for (int i = 0; i < 2 * n; i++) g.mean[i % 2] += y[i] / n;
    for (int i = 0; i < n; i++) {
        double r0 = y[2 * i] - g.mean[0], r1 = y[2 * i + 1] - g.mean[1];
        g.cov[0] += r0 * r0 / n;
        g.cov[1] += r0 * r1 / n;
        g.cov[2] += r1 * r1 / n;
    }
    return g;
}

static double determinant(gauss g) {
    return g.cov[0] * g.cov[2] - g.cov[1] * g.cov[1];
}

/* One column is constant but for rounding, or the points lie 1e5 times longer than wide. */
static int on_a_line(gauss g) {
    return g.cov[0] <= 1e-26 * g.mean[0] * g.mean[0] || g.cov[2] <= 1e-26 * g.mean[1] * g.mean[1] ||
           determinant(g) <= 1e-10 * g.cov[0] * g.cov[2];
}

/* What theta = (W, b) makes of N(0, I): N(b, A A'), and A A' = (W'W)^-1. */
static gauss induced(const double *w) {
    double det = w[0] * w[3] - w[1] * w[2], scale = 1 / (det * det);
    gauss g = {{w[4], w[5]}, {0, 0, 0}};
    g.cov[0] = scale * (w[1] * w[1] + w[3] * w[3]);
    g.cov[1] = -scale * (w[0] * w[1] + w[2] * w[3]);
    g.cov[2] = scale * (w[0] * w[0] + w[2] * w[2]);
    return g;
}

/* E[-log N(y; b, C)] = (tr(C^-1 (S + e e')) + log det C)/2 + log 2 pi,  e = m - b: the loss is
 * quadratic in y, so mean m and covariance S are all it sees of the data. Least at b = m, C = S:
 * then it is the entropy of N(m, S). */
static double cross_entropy(gauss data, gauss model) {
    const double *s = data.cov, *c = model.cov, det = determinant(model);
    double e0 = data.mean[0] - model.mean[0], e1 = data.mean[1] - model.mean[1];
    double trace = c[2] * (s[0] + e0 * e0) - 2 * c[1] * (s[1] + e0 * e1) + c[0] * (s[2] + e1 * e1);
    return (trace / det + log(det)) / 2 + LOG_2PI;
}

static double excess(gauss data, gauss model) {
    return cross_entropy(data, model) - cross_entropy(data, data);
}

/* Steps of rate h whose second half no longer sees the start: b creeps to the data in |m|^2/(2h)
 * steps, and 1/h over an eigenvalue of the Hessian (S^-1's for b, 2 S's for W) is then the pace.
 * tr S and tr S^-1 = tr S/det S stand for the extremes of these. */
static double steps_to_settle(gauss g, double rate) {
    double trace = g.cov[0] + g.cov[2], far = g.mean[0] * g.mean[0] + g.mean[1] * g.mean[1];
    return (far + 6 * trace * (1 + 1 / determinant(g))) / rate;
}

/* As many epochs as the flag says; or A's 100, or more where these are too few to settle.
 *
 * About a minimum with Hessian H and gradient noise N = E[g g'], SGD of rate h spreads with a
 * covariance C such that H C + C H = h N [Mandt, Hoffman and Blei 2017]: its expected excess loss
 * is tr(H C)/2 = h tr(N)/4. On Gaussian data tr N = 3 tr S + tr S^-1. */
static void plan(chapter *c, fit *f, int epochs, double rate) {
    gauss g = f->data = moments(f->y, f->n);
    double steps = fmin(steps_to_settle(g, rate), 1e7);
    f->epochs = epochs ? epochs : (int)fmax(c->quick ? 4 : 100, ceil(steps / f->n));
    f->rate = rate;
    f->hover = rate * (g.cov[0] + g.cov[2]) * (3 + 1 / determinant(g)) / 4;
}

/* The steps that figure epochs shows: at rate 0.001, 0, 20, 1000, 15000, 23000 and the last. */
static long moment(const fit *f, int k) {
    static const double time[MOMENTS - 1] = {0, 0.02, 1, 15, 23}; /* step times rate */
    double step = k < MOMENTS - 1 ? floor(time[k] / f->rate + 0.5) : 1e300;
    return (long)fmin(step, (double)f->epochs * f->n);
}

/* Keeps theta for the figures and averages what it stands for, b and A A'. Not A: every A Q has the
 * same loss, so nothing keeps A from turning, and the mean of turned matrices is too small. The
 * points come in one order, epoch after epoch, and so do the iterates: average whole epochs. */
static void watch(fit *f, const double *theta, long step) {
    long total = (long)f->epochs * f->n, from = (long)(f->epochs / 2) * f->n;
    int keep = step == f->next || step == total;
    for (int k = 0; k < MOMENTS; k++) keep |= step == moment(f, k);
    if (keep) {
        f->next = step + 1 + step / 32;
        f->theta = f->path[f->count] + 1;
        f->path[f->count++][0] = (double)step;
        memcpy(f->theta, theta, 6 * sizeof *theta);
    }
    if (step >= from && step < total) {
        gauss now = induced(theta);
        for (int j = 0; j < 2; j++) f->average.mean[j] += now.mean[j] / (double)(total - from);
        for (int j = 0; j < 3; j++) f->average.cov[j] += now.cov[j] / (double)(total - from);
    }
}

/* A's training loop: the loss of one sample and its gradient, then one step down. */
static void train(chapter *c, flow_chain *flow, fit *f, const char *remedy) {
    const double start[6] = {1, 0, 0, 1, 0, 0}; /* W = I, b = 0 */
    long step = 0;
    double loss;
    flow_opt sgd;
    memcpy(flow->theta, start, sizeof start);
    chapter_try(c, flow_opt_init(&sgd, FLOW_SGD, f->rate, flow->params), "SGD");
    for (int epoch = 1; epoch <= f->epochs; epoch++) {
        for (int i = 0; i < f->n; i++) {
            int err;
            watch(f, flow->theta, step++);
            err = flow_chain_nll(flow, &loss, f->y + 2 * i, 1);
            if (err == FLOW_OK) err = flow_opt_step(&sgd, flow->theta, flow->grad);
            if (err < 0)
                chapter_stop(c, 1, "training diverged at step %ld (epoch %d): %s", step, epoch,
                             remedy);
        }
        chapter_progress(c, "training, epoch", epoch, f->epochs);
    }
    watch(f, flow->theta, step);
    flow_opt_free(&sgd);
}

/* W -> diag(1, s) W squashes the source's second axis. */
static void squashed(double *out, const double *w, double s) {
    memcpy(out, w, 6 * sizeof *w);
    out[2] *= s;
    out[3] *= s;
}

/* A -> A Q for the rotation Q by angle: (A Q)^-1 = Q'W. */
static void turned(double *out, const double *w, double angle) {
    double c = cos(angle), s = sin(angle);
    memcpy(out, w, 6 * sizeof *w);
    for (int j = 0; j < 2; j++) {
        out[j] = c * w[j] + s * w[2 + j];
        out[2 + j] = c * w[2 + j] - s * w[j];
    }
}

/* The symmetric A among them, Sigma^1/2 = (Sigma + r I)/t with r = sqrt(det Sigma) and
 * t = sqrt(tr Sigma + 2 r); its determinant is r. */
static void symmetric(double *out, const double *w) {
    gauss g = induced(w);
    double r = sqrt(determinant(g)), t = sqrt(g.cov[0] + g.cov[2] + 2 * r);
    memcpy(out, w, 6 * sizeof *w);
    out[0] = (g.cov[2] + r) / (t * r);
    out[1] = out[2] = -g.cov[1] / (t * r);
    out[3] = (g.cov[0] + r) / (t * r);
}

/* |A - B|/|B| (Frobenius) from the inverses v and w of two roots A, B of one A A'. In the plane
 * A = adj(W)/det W with |adj(W)| = |W|, and the two determinants are equal but for their sign. */
static double distance(const double *v, const double *w) {
    double sign = v[0] * v[3] < v[1] * v[2] ? -1 : 1, far = 0, size = 0;
    for (int j = 0; j < 4; j++) {
        far += (sign * v[j] - w[j]) * (sign * v[j] - w[j]);
        size += w[j] * w[j];
    }
    return sqrt(far / size);
}

/* p = (N(x; -3, 1) + N(x; 3, 1))/2: the humps along their axis; across it they are N(0, 1). */
static double two_humps(double x) {
    return (exp(-(x - 3) * (x - 3) / 2) + exp(-(x + 3) * (x + 3) / 2)) / sqrt(8 * PI);
}

static double surprise(void *ctx, double x) {
    (void)ctx;
    return -two_humps(x) * log(two_humps(x));
}

static double humps_entropy(chapter *c) {
    double along = 0;
    chapter_try(c, flow_integrate(&along, surprise, NULL, -12, 12), "entropy of the humps");
    return along + (1 + LOG_2PI) / 2;
}

/* ---- check ---------------------------------------------------------------------------------- */

/* -(1/n) sum_i log p(y_i), by the chain; leaves log p in logp[n]. */
static double mean_loss(chapter *c, flow_chain *flow, const double *theta, double *logp,
                        const fit *f) {
    double sum = 0;
    memcpy(flow->theta, theta, 6 * sizeof *theta);
    chapter_try(c, flow_chain_logprob(flow, logp, f->y, f->n), "log-density");
    for (int i = 0; i < f->n; i++) sum -= logp[i];
    return sum / f->n;
}

/* Last iterate: a chi square exceeds 25 times its mean once in a million runs, or less. Average:
 * well below the noise, and below what a figure would show. */
static void check_fit(chapter *c, flow_chain *flow, const fit *f, double *logp) {
    double loss = mean_loss(c, flow, f->theta, logp, f), settled = fmin(f->hover / 4, 0.02);
    double above = excess(f->data, f->average);
    chapter_near(c, "last iterate: loss, chain - formula", 0,
                 loss - cross_entropy(f->data, induced(f->theta)), 1e-9 * (1 + fabs(loss)));
    chapter_below(c, "last iterate: loss above the optimum", excess(f->data, induced(f->theta)),
                  25 * f->hover);
    chapter_below(c, "average: loss above the optimum", above, settled);
    if (above >= settled) {
        fflush(stdout);
        fprintf(stderr, "%s: SGD has not settled in %d epochs: try more --epochs, or a smaller "
                "--rate and more of them still\n", c->name, f->epochs);
    }
}

/* The optimum of n samples is not the target: 2n times the loss by that is about chi square with
 * 5 degrees of freedom, one for each number estimated. It passes 40 once in 7 million runs. */
static void check_target(chapter *c, const fit *f) {
    double entropy = cross_entropy(target, target);
    chapter_between(c, "average: loss on target, from its entropy", excess(target, f->average) +
                    entropy, entropy, entropy + 20.0 / f->n + f->hover);
}

/* As s falls, -log|det W| grows as -log s, and |x|^2/2 has only so much to give in return. */
static void check_wall(chapter *c, flow_chain *flow, const fit *f, double *logp) {
    double theta[6], near, nearer;
    squashed(theta, f->theta, 1e-5);
    near = mean_loss(c, flow, theta, logp, f);
    squashed(theta, f->theta, 1e-10);
    nearer = mean_loss(c, flow, theta, logp, f);
    chapter_near(c, "W squashed by 1e-5, then 1e-10: loss grows by", log(1e5), nearer - near, 1e-6);
    squashed(flow->theta, f->theta, 0);
    chapter_near(c, "W squashed to a line: FLOW_E_SINGULAR", FLOW_E_SINGULAR,
                 flow_chain_logprob(flow, logp, f->y, 1), 0);
}

static void check_rotation(chapter *c, flow_chain *flow, const fit *f, double *logp) {
    double *logq = chapter_alloc(c, (size_t)f->n), theta[6], root[6], density = 0, change = 0;
    double far = 0, loss = mean_loss(c, flow, f->theta, logp, f);
    symmetric(root, f->theta);
    for (int k = 1; k < 16; k++) {
        turned(theta, f->theta, PI * k / 8);
        change = fmax(change, fabs(mean_loss(c, flow, theta, logq, f) - loss));
        for (int i = 0; i < f->n; i++)
            density = fmax(density, fabs(logq[i] - logp[i]) / (1 + fabs(logp[i])));
        far = fmax(far, distance(theta, root));
    }
    chapter_near(c, "A Q for A: change of log p, relative", 0, density, 1e-12);
    chapter_near(c, "A Q for A: change of the loss", 0, change, 1e-12 * (1 + fabs(loss)));
    chapter_above(c, "A Q: |A Q - Sigma^1/2|/|Sigma^1/2|", far, 1);
    chapter_say(c, "A as trained: |A - Sigma^1/2|/|Sigma^1/2|", distance(f->theta, root), "");
}

static void check_humps(chapter *c, flow_chain *flow, fit *h, flow_rng *rng) {
    const double mean[4] = {-3, 0, 3, 0}, cov[8] = {1, 0, 0, 1, 1, 0, 0, 1};
    double entropy = humps_entropy(c);
    h->n = HUMPS;
    sample(c, rng, h, mean, cov, 2);
    plan(c, h, 0, 0.001);
    train(c, flow, h, "on the humps");
    chapter_near(c, "two humps: loss - entropy, as best Gaussian's", cross_entropy(humps, humps) -
                 entropy, cross_entropy(humps, h->average) - entropy, 20.0 / h->n + h->hover);
}

/* E's exercise: T(x) = a x + b, T^-1(y) = (y - b)/a, its derivative 1/a: p_1 = N(b, a^2). */
static void check_exercise(chapter *c, flow_rng *rng, double a, double b) {
    flow_bijection layer = flow_affine(1);
    flow_chain flow;
    double worst = 0;
    chapter_try(c, flow_chain_init(&flow, &layer, 1, FLOW_TO_NOISE, 1, rng), "flow of the line");
    flow.theta[0] = 1 / a;
    flow.theta[1] = b;
    for (int i = -30; i <= 30; i++) {
        double y = 0.2 * i, logp = 0, e = (y - b) / a;
        chapter_try(c, flow_chain_logprob(&flow, &logp, &y, 1), "log-density on the line");
        worst = fmax(worst, fabs(logp + e * e / 2 + log(2 * PI * a * a) / 2));
    }
    chapter_near(c, "E: -2 x + 3 gives N(3, 4): error of log p", 0, worst, 1e-12);
    flow_chain_free(&flow);
}

/* ---- write ---------------------------------------------------------------------------------- */

static void print_gauss(const char *what, gauss g, const fit *f) {
    const double *s = f->scale;
    printf("%-39s", what);
    to_file(f, g.mean, g.mean);
    for (int j = 0; j < 2; j++)
        printf(" %9.*g", (int)fmin(15, 4 + log10(10 + fabs(g.mean[j]) / s[j])), g.mean[j]);
    printf(" %9.4g %9.4g %9.4g\n", s[0] * s[0] * g.cov[0], s[0] * s[1] * g.cov[1],
           s[1] * s[1] * g.cov[2]);
}

static void print_fit(const fit *f, const char *file) {
    printf("%d points, %d epochs, rate %g\n", f->n, f->epochs, f->rate);
    printf("%-39s %9s %9s %9s %9s %9s\n", "", "b1", "b2", "(AA')11", "(AA')12", "(AA')22");
    if (!file) print_gauss("A's run, on its own points", reported, f);
    if (!file) print_gauss("target", target, f);
    print_gauss("optimum: mean and covariance of data", f->data, f);
    print_gauss("last iterate", induced(f->theta), f);
    print_gauss("average over the second half of epochs", f->average, f);
}

/* x[2] and its images under count flows of theta[count], one row. */
static void write_images(chapter *c, flow_chain *flow, double (*theta)[6], int count, double x0,
                         double x1, const fit *f) {
    double row[2 + 2 * MOMENTS] = {x0, x1}, logdet = 0;
    for (int k = 0; k < count; k++) {
        double *y = row + 2 + 2 * k;
        memcpy(flow->theta, theta[k], sizeof theta[k]);
        chapter_try(c, flow_chain_inverse(flow, y, &logdet, row, 1), "image");
        to_file(f, y, y);
    }
    chapter_row(c, row, 2 + 2 * count);
}

/* The image of |x| = r is a level of the density. */
static void write_circles(chapter *c, flow_chain *flow, double (*theta)[6], int count,
                          const fit *f) {
    for (int r = 1; r <= 3; r++) {
        for (int i = 0; i <= 72; i++)
            write_images(c, flow, theta, count, r * cos(PI * i / 36), r * sin(PI * i / 36), f);
        chapter_gap(c);
    }
}

static void write_epochs(chapter *c, flow_chain *flow, const fit *f) {
    double theta[MOMENTS][6], title[MOMENTS][3];
    for (int k = 0; k < MOMENTS; k++) {
        int i = f->count - 1;
        while (f->path[i][0] > (double)moment(f, k)) i--;
        memcpy(theta[k], f->path[i] + 1, sizeof theta[k]);
        title[k][0] = f->path[i][0];
        title[k][1] = f->path[i][0] / f->n;
        title[k][2] = cross_entropy(f->data, induced(theta[k])) + log(f->scale[0]) +
                      log(f->scale[1]); /* dy in the file's units */
    }
    chapter_block(c, "points", "y1 y2");
    for (int i = 0; i < f->n; i += (f->n + DRAWN - 1) / DRAWN) {
        double y[2];
        to_file(f, y, f->y + 2 * i);
        chapter_row(c, y, 2);
    }
    chapter_block(c, "titles", "step epoch loss");
    for (int k = 0; k < MOMENTS; k++) chapter_row(c, title[k], 3);
    chapter_block(c, "contours", "x1 x2, then y1 y2 at each moment");
    write_circles(c, flow, theta, MOMENTS, f);
}

static void write_path(chapter *c, const char *name, const fit *f, gauss data, double least) {
    chapter_block(c, name, "step excess");
    for (int i = 0; i < f->count; i++) {
        double row[2] = {f->path[i][0], cross_entropy(data, induced(f->path[i] + 1)) - least};
        chapter_row(c, row, 2);
    }
}

static void write_loss(chapter *c, const fit *f, const fit *h) {
    double entropy = humps_entropy(c), theta[6], var = h->average.cov[0];
    double level[4] = {f->hover, excess(f->data, f->average),
                       cross_entropy(humps, h->average) - entropy, f->path[f->count - 1][0]};
    chapter_block(c, "levels", "noise average humps steps");
    chapter_row(c, level, 4);
    write_path(c, "loss", f, f->data, cross_entropy(f->data, f->data));
    write_path(c, "humps_loss", h, humps, entropy);
    chapter_block(c, "wall", "s excess");
    for (int i = -199; i < 200; i += 2) {
        double row[2] = {0.01 * i, 0};
        squashed(theta, f->theta, row[0]);
        row[1] = excess(f->data, induced(theta));
        chapter_row(c, row, 2);
    }
    chapter_block(c, "humps_density", "y1 p fitted");
    for (int i = -80; i <= 80; i++) {
        double row[3] = {0.1 * i, two_humps(0.1 * i), 0}, e = row[0] - h->average.mean[0];
        row[2] = exp(-e * e / (2 * var)) / sqrt(2 * PI * var);
        chapter_row(c, row, 3);
    }
}

static void write_maps(chapter *c, flow_chain *flow, const fit *f, flow_rng *rng) {
    const char *columns = "x1 x2 A A AQ AQ symmetric symmetric";
    double theta[3][6], x[2];
    memcpy(theta[0], f->theta, sizeof theta[0]);
    turned(theta[1], f->theta, 2 * PI / 3);
    symmetric(theta[2], f->theta);
    chapter_block(c, "carried", columns);
    for (int i = 0; i < DRAWN; i++) {
        flow_normal_sample(rng, x, 1, 2);
        write_images(c, flow, theta, 3, x[0], x[1], f);
    }
    chapter_block(c, "circles", columns);
    write_circles(c, flow, theta, 3, f);
    chapter_block(c, "axes", columns);
    for (int i = 0; i < 4; i++) write_images(c, flow, theta, 3, i == 1 ? 2 : 0, i == 3 ? 2 : 0, f);
}

/* ---- main ----------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    const char *file = NULL;
    int epochs = 0, raw = 0;
    double rate = 0.001, *logp;
    const chapter_flag flags[] = {
        {"--data", CHAPTER_TEXT, &file, "file of two columns to fit instead of A's target"},
        {"--raw", CHAPTER_SWITCH, &raw, "train on its numbers as they are, not standardised"},
        {"--epochs", CHAPTER_INT, &epochs, "passes over the data; 0: 100, or more if they need it"},
        {"--rate", CHAPTER_REAL, &rate, "of SGD"}};
    const double cov[4] = {2.25, -1.75, -1.75, 2.25};
    flow_bijection layer = flow_affine(2);
    flow_chain flow;
    flow_rng rng;
    fit f, h;
    chapter c;

    chapter_begin(&c, argc, argv, "04_affine_fit", "an affine flow, fitted by maximum likelihood",
                  1000, flags, 4);
    chapter_require(&c, rate > 0, "--rate", "a number above 0");
    chapter_require(&c, epochs >= 0, "--epochs", "0 or more");
    chapter_require(&c, c.n >= 3, "--n", "at least 3, for two points lie on a line");
    flow_rng_init(&rng, c.seed);
    chapter_try(&c, flow_chain_init(&flow, &layer, 1, FLOW_TO_NOISE, BATCH, &rng), "flow");
    memset(&f, 0, sizeof f);
    f.scale[0] = f.scale[1] = 1;
    f.n = c.n;
    h = f;

    if (file) {
        f.y = chapter_data(&c, file, 2, &f.n);
        shuffle(&rng, f.y, f.n);
        if (!raw) standardise(&f);
    } else {
        sample(&c, &rng, &f, target.mean, cov, 1);
    }
    if (on_a_line(moments(f.y, f.n)))
        chapter_stop(&c, 1, "%s: the points lie on a line (their covariance is singular): they "
                     "have no density in the plane", file ? file : "--n");
    plan(&c, &f, epochs, rate);
    train(&c, &flow, &f, file && raw ? "leave out --raw, or try a smaller --rate"
                                     : "try a smaller --rate");

    print_fit(&f, file);
    logp = chapter_alloc(&c, (size_t)f.n);
    check_fit(&c, &flow, &f, logp);
    if (!file && f.n >= 100) check_target(&c, &f);
    check_wall(&c, &flow, &f, logp);
    check_rotation(&c, &flow, &f, logp);
    check_humps(&c, &flow, &h, &rng);
    check_exercise(&c, &rng, -2, 3);
    write_epochs(&c, &flow, &f);
    write_loss(&c, &f, &h);
    write_maps(&c, &flow, &f, &rng);
    flow_chain_free(&flow);
    return chapter_end(&c);
}

/* Try this:
 *   --epochs 20     b is still on its way, and three checks say so: how far is it, and which way
 *                   does the ellipse lean? Then add --rate 0.004: more rate, or more epochs?
 *   --rate 0.004    the last iterate hovers four times higher; by how much is the average worse?
 *   --n 20          and 100000: the optimum nears the target, the last iterate less and less so.
 *                   From which n on is the noise of SGD the larger error? */
