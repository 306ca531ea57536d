/* chapter.h - what the chapters share: flags, the table of checks, the data file, memory.
 *
 * It is here so that a chapter can read like its article and nothing else. A chapter in outline:
 *
 *     #define FLOW_IMPLEMENTATION
 *     #include "chapter.h"                   // before any other header; it includes flow.h
 *
 *     int main(int argc, char **argv) {
 *         int k = 2;
 *         const chapter_flag flags[] = {{"--k", CHAPTER_COUNT, &k, "the power in x^k"}};
 *         chapter c;
 *         chapter_begin(&c, argc, argv, "01_change_of_variables",
 *                       "how a density changes under a map", 2000, flags, 1);
 *         double *x = chapter_alloc(&c, (size_t)c.n);
 *         ...
 *         chapter_near(&c, "mass of [0, 1]", 1.0, mass, 1e-9);
 *         chapter_block(&c, "density", "x p");
 *         chapter_row(&c, row, 2);
 *         return chapter_end(&c);
 *     }
 *
 * Exit status: 0 all checks ok; 1 a check failed (its data are kept: look at the figure) or the
 * run could not finish (no data are left behind); 2 a flag or its value was wrong. Whatever ends a
 * run early says so in one line on stderr. Needs POSIX for the clock, the terminal and folders;
 * flow.h itself does not. */
#ifndef CHAPTER_H
#define CHAPTER_H

/* -std=c99 hides POSIX unless it is asked for, and before the first system header. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#ifdef FLOW_FLOAT
#error "the chapters check to 1e-9 and need double: compile them without FLOW_FLOAT"
#endif

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A chapter is one file: what it does not call need not be compiled, which halves the time. make
 * compiles flow.h once for all chapters, and then has FLOW_IMPLEMENTED defined. */
#if !defined(FLOW_STATIC) && !defined(FLOW_IMPLEMENTED)
#define FLOW_STATIC
#endif
#include "flow.h"

/* ---- what a chapter knows ------------------------------------------------------------------- */

typedef struct {
    const char *name; /* "05_planar_flow" */
    uint64_t seed;    /* --seed, default 1 */
    int n;            /* --n, number of samples, at least 1 */
    const char *out;  /* --out, the folder of the data file */
    int quick;        /* --quick: same code, fewer steps, looser checks */
    int checks;       /* rows checked so far */
    int failed;       /* and how many of them failed */
    flow_dat dat;     /* the data file; chapter_block and chapter_row write to it */
    char *path;       /* its name, <out>/<name>.dat */
    void **kept;      /* memory to free at the end */
    int kept_count;
    int rows;     /* table rows printed so far: the first brings the heading */
    int progress; /* a progress line stands on the terminal */
    double progress_time;
} chapter;

/* A flag of the chapter's own; value holds the default when chapter_begin is called. */
enum {
    CHAPTER_INT,   /* int *:          any whole number */
    CHAPTER_COUNT, /* int *:          a whole number, at least 1 */
    CHAPTER_REAL,  /* double *:       any finite number */
    CHAPTER_TEXT,  /* const char **:  a file name, a sequence ...; may be NULL, not empty */
    CHAPTER_PAIR,  /* const char *[2]: two of them, --idx A B */
    CHAPTER_SWITCH /* int *:          takes no value, sets 1 */
};

typedef struct {
    const char *flag; /* "--layers" */
    int kind;
    void *value;
    const char *help; /* a few words; --help adds the default */
} chapter_flag;

/* The largest --n: its arrays still fit a small machine's memory and an int. */
#define CHAPTER_N_MAX 100000000

/* ---- ending early --------------------------------------------------------------------------- */

/* Erase the progress line, so that a table row or a message starts on a clean one. */
static inline void chapter_progress_clear(chapter *c) {
    if (c->progress) fputs("\r\033[K", stderr);
    c->progress = 0;
}

static inline void chapter_free(chapter *c) {
    for (int i = 0; i < c->kept_count; i++) free(c->kept[i]);
    free(c->kept);
    c->kept = NULL;
    c->kept_count = 0;
}

/* One line on stderr, no half-written file, exit with status. All early ends come through here. */
#ifdef __GNUC__
__attribute__((format(printf, 3, 4), noreturn))
#endif
static inline void
chapter_stop(chapter *c, int status, const char *format, ...) {
    va_list args;
    chapter_progress_clear(c);
    fflush(stdout); /* the rows printed so far come before the reason */
    fprintf(stderr, "%s: ", c->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (c->dat.file) flow_dat_discard(&c->dat);
    chapter_free(c);
    exit(status);
}

/* Ends the chapter when err is an error: chapter_try(&c, flow_lu(...), "LU of the Jacobian"). */
static inline void chapter_try(chapter *c, int err, const char *what) {
    if (err < 0) chapter_stop(c, 1, "%s: %s", what, flow_strerror(err));
}

/* The same for a step of training, counted from 0: a training that diverges says where. */
static inline void chapter_step(chapter *c, int err, const char *what, long step) {
    if (err < 0)
        chapter_stop(c, 1, "%s: training diverged at step %ld: %s", what, step + 1,
                     flow_strerror(err));
}

/* For rules on flags that the kinds cannot say:
 * chapter_require(&c, rate > 0, "--rate", "a number above 0").  Call it before the work starts. */
static inline void chapter_require(chapter *c, int ok, const char *flag, const char *expected) {
    if (!ok) chapter_stop(c, 2, "%s: expected %s (see --help)", flag, expected);
}

/* ---- time ----------------------------------------------------------------------------------- */

/* Seconds on a clock that nobody sets; only differences mean something. */
static inline double chapter_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Call it every step: it writes to a terminal only, and about five times a second. */
static inline void chapter_progress(chapter *c, const char *what, long done, long total) {
    double now = chapter_seconds();
    if (done >= total) chapter_progress_clear(c);
    if (done >= total || now - c->progress_time < 0.2 || !isatty(STDERR_FILENO)) return;
    c->progress_time = now;
    c->progress = 1;
    fprintf(stderr, "\r\033[K%s: %s %ld/%ld (%.0f%%)", c->name, what, done, total,
            100.0 * (double)done / (double)total);
    fflush(stderr);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* count doubles, all zero; freed by chapter_end. No memory ends the chapter. */
static inline double *chapter_alloc(chapter *c, size_t count) {
    void **kept = (void **)realloc(c->kept, ((size_t)c->kept_count + 1) * sizeof *kept);
    void *memory = calloc(count ? count : 1, sizeof(double));
    if (kept) c->kept = kept;
    if (!kept || !memory) {
        free(memory);
        chapter_stop(c, 1, "no memory for %.0f numbers", (double)count);
    }
    c->kept[c->kept_count++] = memory;
    return (double *)memory;
}

/* The points of a file, [n*d], d numbers a line; freed by chapter_end. A bad file ends the
 * chapter, saying which line of it is at fault and what was expected there. */
static inline double *chapter_data(chapter *c, const char *path, int d, int *n) {
    flow_real *read = NULL;
    double *x;
    int line = 0, err = flow_points_read(&read, n, &line, d, path);
    if (err < 0 && line > 0)
        chapter_stop(c, 1, "%s:%d: %s; expected %d number%s, blanks or commas between", path, line,
                     flow_strerror(err), d, d == 1 ? "" : "s");
    if (err < 0) chapter_stop(c, 1, "%s: %s", path, flow_strerror(err));
    x = chapter_alloc(c, (size_t)*n * (size_t)d);
    memcpy(x, read, (size_t)*n * (size_t)d * sizeof *x);
    flow_release(read);
    return x;
}

/* The same with its rows in random order: a file may be sorted. n - 1 draws, rarely more. */
static inline double *chapter_data_shuffled(chapter *c, flow_rng *rng, const char *path, int d,
                                            int *n) {
    double *x = chapter_data(c, path, d, n), *y = chapter_alloc(c, (size_t)*n * (size_t)d);
    int *order = (int *)chapter_alloc(c, (size_t)*n);
    flow_rng_permutation(rng, order, *n);
    for (int i = 0; i < *n; i++) memcpy(y + i * d, x + order[i] * d, (size_t)d * sizeof *y);
    return y;
}

/* Images with their classes, pixels in the file's own unit; the arrays are freed by chapter_end. */
typedef struct {
    int n, rows, cols, d, classes; /* d = rows*cols; labels are 0 ... classes-1 */
    double *pixel, least, most;    /* [n*d], and their range */
    int *label;                    /* [n] */
} chapter_images;

/* The first `limit` images or labels of the n in an IDX file. A bad file ends the chapter. */
static inline double *chapter_idx(chapter *c, const char *path, int limit, int *n, int *rows,
                                  int *cols) {
    unsigned char *bytes = NULL;
    int count, err = flow_idx_read(&bytes, n, rows, cols, path);
    double *x;
    if (err == FLOW_E_GZIP)
        chapter_stop(c, 1, "%s is compressed, unpack it first: gzip -d %s", path, path);
    if (err < 0) chapter_stop(c, 1, "%s: %s", path, flow_strerror(err));
    count = (*n < limit ? *n : limit) * *rows * *cols;
    x = chapter_alloc(c, (size_t)count);
    for (int i = 0; i < count; i++) x[i] = bytes[i];
    flow_release(bytes);
    return x;
}

/* At most `limit` images: from the IDX files idx[0] (images) and idx[1] (labels) or, when these are
 * NULL, from lines of side*side pixels and a label. A bad file ends the chapter. */
static inline void chapter_images_read(chapter *c, chapter_images *m, int limit, const char *path,
                                       int side, const char *const *idx) {
    int labels, one = 1, wide = side * side + 1;
    double *label = NULL;
    memset(m, 0, sizeof *m);
    m->rows = m->cols = side;
    if (idx[0]) {
        path = idx[1];
        m->pixel = chapter_idx(c, idx[0], limit, &m->n, &m->rows, &m->cols);
        if (m->rows * m->cols == 1) chapter_stop(c, 1, "%s: labels, not images", idx[0]);
        label = chapter_idx(c, path, limit, &labels, &one, &one);
        if (one != 1) chapter_stop(c, 1, "%s: images, not labels", path);
        if (labels != m->n) chapter_stop(c, 1, "%s: %d labels for %d images", path, labels, m->n);
    } else m->pixel = chapter_data(c, path, wide, &m->n);
    m->n = m->n < limit ? m->n : limit;
    m->d = m->rows * m->cols;
    m->label = (int *)chapter_alloc(c, (size_t)m->n);
    m->least = m->most = m->pixel[0];
    for (int i = 0; i < m->n; i++) {
        double *pixel = m->pixel + i * m->d, k = label ? label[i] : m->pixel[(i + 1) * wide - 1];
        if (!(k >= 0 && k < 256 && k == floor(k)))
            chapter_stop(c, 1, "%s: image %d has label %g; expected 0, 1, 2 ...", path, i + 1, k);
        m->label[i] = (int)k;
        if (m->classes <= m->label[i]) m->classes = m->label[i] + 1;
        if (!label) /* close the gaps that the labels leave */
            memmove(pixel, m->pixel + i * wide, (size_t)m->d * sizeof *pixel);
        for (int j = 0; j < m->d; j++) {
            m->least = fmin(m->least, pixel[j]);
            m->most = fmax(m->most, pixel[j]);
        }
    }
}

/* The image nearest to y[d] among the first `count`, and its Euclidean distance. */
static inline int chapter_nearest(const chapter_images *m, int count, const double *y,
                                  double *distance) {
    const double *x = m->pixel;
    double best = HUGE_VAL;
    int nearest = 0;
    for (int i = 0; i < count; i++, x += m->d) {
        double square = 0;
        for (int r = 0; r < m->d && square < best; r += m->cols) /* a row, then a look */
            for (int j = r; j < r + m->cols; j++) square += (x[j] - y[j]) * (x[j] - y[j]);
        if (square >= best) continue;
        best = square;
        nearest = i;
    }
    *distance = sqrt(best);
    return nearest;
}

/* ---- small mathematics ---------------------------------------------------------------------- */

#define CHAPTER_PI 3.14159265358979323846

/* The larger of two errors. Unlike fmax it keeps a NaN, so that a check sees it. */
static inline double chapter_worse(double a, double b) {
    return a > b || isnan(a) ? a : b;
}

/* mean[d] = (1/n) sum x_i and cov[d*d] = (1/n) sum (x_i - mean)(x_i - mean)' of the points
 * x[n*d]. */
static inline void chapter_moments(double *mean, double *cov, const double *x, int n, int d) {
    for (int j = 0; j < d; j++) mean[j] = 0;
    for (int j = 0; j < d * d; j++) cov[j] = 0;
    for (int i = 0; i < n * d; i++) mean[i % d] += x[i] / n;
    for (const double *at = x; at < x + n * d; at += d)
        for (int j = 0; j < d * d; j++)
            cov[j] += (at[j / d] - mean[j / d]) * (at[j % d] - mean[j % d]) / n;
}

/* The mean of v[n], and its standard error. */
static inline double chapter_mean(const double *v, int n, double *error) {
    double mean, square;
    chapter_moments(&mean, &square, v, n, 1);
    *error = sqrt(square / n);
    return mean;
}

/* The log-density of a flow_chain and of a flow_cnf, as flow_quadrature asks for it. */
static inline int chapter_chain_logprob(void *chain, double *logp, const double *x, int n) {
    return flow_chain_logprob((flow_chain *)chain, logp, x, n);
}

static inline int chapter_cnf_logprob(void *cnf, double *logp, const double *x, int n) {
    return flow_cnf_logprob((flow_cnf *)cnf, logp, x, n);
}

/* Mean and standard error of log p(x) - log q(x) over points x[n*2] of a toy set p: the NLL of the
 * model q less the entropy, an estimate of KL(p|q) with less noise than the NLL has, since both see
 * the same points. */
static inline double chapter_excess(chapter *c, flow_logprob_fn logprob, void *q, int toy,
                                    const double *x, int n, double *error) {
    double *logq = chapter_alloc(c, 2 * (size_t)n), *logp = logq + n;
    chapter_try(c, flow_toy_logprob(toy, logp, x, n), "the true density");
    chapter_try(c, logprob(q, logq, x, n), "the model's density");
    for (int i = 0; i < n; i++) logp[i] -= logq[i];
    return chapter_mean(logp, n, error);
}

/* The side^d nodes of a grid over [lo, hi]^d, ends included, the first coordinate fastest. */
static inline double *chapter_grid(chapter *c, double lo, double hi, int side, int d) {
    int n = 1;
    double *x;
    for (int j = 0; j < d; j++) n *= side;
    x = chapter_alloc(c, (size_t)n * (size_t)d);
    for (int i = 0; i < n; i++)
        for (int j = 0, k = i; j < d; j++, k /= side)
            x[i * d + j] = lo + (hi - lo) * (k % side) / (side - 1);
    return x;
}

/* The p of y ~ x^p through n points: the least-squares slope of log y over log x. */
static inline double chapter_slope(const double *x, const double *y, int n) {
    double mx = 0, my = 0, xx = 0, xy = 0;
    for (int i = 0; i < n; i++) {
        mx += log(x[i]) / n;
        my += log(y[i]) / n;
    }
    for (int i = 0; i < n; i++) {
        xx += (log(x[i]) - mx) * (log(x[i]) - mx);
        xy += (log(x[i]) - mx) * (log(y[i]) - my);
    }
    return xy / xx;
}

/* W2 of the points x[n*2] and y[n*2], in blocks of at most `most` the root of its mean square. */
static inline double chapter_w2(chapter *c, const double *x, const double *y, int n, int most) {
    const int m = n < most ? n : most, blocks = n / m;
    double w2 = 0, sum = 0;
    for (int b = 0; b < blocks; b++) {
        chapter_try(c, flow_w2(&w2, x + 2 * b * m, y + 2 * b * m, m, 2), "W2");
        sum += w2 * w2 / blocks;
    }
    return sqrt(sum);
}

/* A mixture and its exact velocity on a path: make data, then call chapter_exact_init. */
typedef struct {
    flow_mixture data;
    flow_marginal marginal;
    flow_field v;
} chapter_exact;

static inline void chapter_exact_init(chapter *c, chapter_exact *e, int path, const char *what) {
    chapter_try(c, flow_marginal_of_mixture(&e->marginal, &e->data, path), what);
    e->v = flow_marginal_field(&e->marginal);
}

static inline void chapter_exact_free(chapter_exact *e) {
    flow_marginal_free(&e->marginal);
    flow_mixture_free(&e->data);
}

/* The density of a flow over [-5.5, 5.5]^2: p[side*side] in cells, the first coordinate fastest,
 * each the mean of m x m points: edges and thin curves want more than one. Returns the integral. */
static inline double chapter_cells(chapter *c, flow_cnf *flow, double *p, int side, int m) {
    const int fine = m * side;
    const double h = 11.0 / fine, *x = chapter_grid(c, h / 2 - 5.5, 5.5 - h / 2, fine, 2);
    double *logp = chapter_alloc(c, (size_t)(fine * fine)), mass = 0;
    chapter_try(c, flow_cnf_logprob(flow, logp, x, fine * fine), "likelihood");
    for (int i = 0; i < side * side; i++) p[i] = 0;
    for (int i = 0; i < fine * fine; i++) {
        p[i / fine / m * side + i % fine / m] += exp(logp[i]) / (m * m);
        mass += exp(logp[i]) * h * h;
    }
    return mass;
}

/* ---- flags ---------------------------------------------------------------------------------- */

/* Each returns 1 when the whole text is a number of its kind. Signs and digits only come first:
 * strtol would also skip blanks, and strtoull would read "-1" as a huge number. */
static inline int chapter_read_int(const char *text, int least, int most, int *value) {
    char *end;
    long v;
    if (!strchr("+-0123456789", text[0])) return 0;
    errno = 0;
    v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < least || v > most) return 0;
    *value = (int)v;
    return 1;
}

static inline int chapter_read_seed(const char *text, uint64_t *value) {
    char *end;
    unsigned long long v;
    if (!strchr("0123456789", text[0])) return 0;
    errno = 0;
    v = strtoull(text, &end, 10);
    if (end == text || *end || errno) return 0;
    *value = (uint64_t)v;
    return 1;
}

static inline int chapter_read_real(const char *text, double *value) {
    char *end;
    double v;
    if (!strchr("+-.0123456789", text[0])) return 0;
    v = strtod(text, &end);
    if (end == text || *end || !(fabs(v) <= 1.7976931348623157e308)) return 0;
    *value = v;
    return 1;
}

static inline void chapter_help(const chapter *c, const char *about, const chapter_flag *flags,
                                int flag_count) {
    const char *const kinds[] = {"K", "K", "X", "TEXT", "A B", ""}; /* what follows each kind */
    printf("%s: %s\n\nusage: %s [flags]\n", c->name, about, c->name);
    printf("  %-10s %-7s seed of the random numbers (default %" PRIu64 ")\n", "--seed", "S",
           c->seed);
    printf("  %-10s %-7s number of samples (default %d)\n", "--n", "N", c->n);
    printf("  %-10s %-7s folder of the data file (default %s)\n", "--out", "DIR", c->out);
    for (int i = 0; i < flag_count; i++) {
        const chapter_flag *f = &flags[i];
        const char *const *text = (const char *const *)f->value;
        const char *kind = kinds[f->kind];
        printf("  %-10s %-7s %s", f->flag, kind, f->help);
        if (f->kind == CHAPTER_REAL) printf(" (default %g)", *(double *)f->value);
        if (f->kind == CHAPTER_INT || f->kind == CHAPTER_COUNT)
            printf(" (default %d)", *(int *)f->value);
        if (f->kind == CHAPTER_TEXT) printf(" (default %s)", *text ? *text : "none");
        putchar('\n');
    }
    printf("  %-10s %-7s a few seconds at most: same code, looser checks\n", "--quick", "");
    printf("  %-10s %-7s this text\n", "--help", "");
}

/* Reads value as the flag's kind wants it; returns NULL, or what was expected instead. */
static inline const char *chapter_set(const chapter_flag *f, const char *value) {
    int least = f->kind == CHAPTER_COUNT ? 1 : -2147483647;
    switch (f->kind) {
    case CHAPTER_REAL:
        return chapter_read_real(value, (double *)f->value) ? NULL : "a finite number";
    case CHAPTER_TEXT:
        *(const char **)f->value = value;
        return *value ? NULL : "a text that is not empty";
    default:
        if (chapter_read_int(value, least, 2147483647, (int *)f->value)) return NULL;
        return f->kind == CHAPTER_COUNT ? "a whole number, at least 1" : "a whole number";
    }
}

static inline void chapter_flags(chapter *c, int argc, char **argv, const char *about,
                                 const chapter_flag *flags, int flag_count) {
    chapter defaults = *c;
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        const char *expected = NULL;
        int own = 0;
        while (own < flag_count && strcmp(flag, flags[own].flag) != 0) own++;
        if (own < flag_count && flags[own].kind == CHAPTER_SWITCH) {
            *(int *)flags[own].value = 1;
            continue;
        }
        if (own < flag_count && flags[own].kind == CHAPTER_PAIR) {
            const char **pair = (const char **)flags[own].value;
            if (i + 2 >= argc) chapter_stop(c, 2, "%s: needs two values (see --help)", flag);
            pair[0] = argv[++i];
            pair[1] = argv[++i];
            if (!*pair[0] || !*pair[1])
                chapter_stop(c, 2, "%s: expected two texts that are not empty", flag);
            continue;
        }
        if (strcmp(flag, "--quick") == 0) {
            c->quick = 1;
            continue;
        }
        if (strcmp(flag, "--help") == 0) {
            chapter_help(&defaults, about, flags, flag_count);
            exit(fflush(stdout) ? 1 : 0);
        }
        if (own == flag_count && strcmp(flag, "--seed") && strcmp(flag, "--n") &&
            strcmp(flag, "--out"))
            chapter_stop(c, 2, "unknown flag '%s' (see --help)", flag);
        if (!value) chapter_stop(c, 2, "%s: needs a value (see --help)", flag);
        if (own < flag_count)
            expected = chapter_set(&flags[own], value);
        else if (strcmp(flag, "--seed") == 0)
            expected =
                chapter_read_seed(value, &c->seed) ? NULL : "a whole number from 0 to 2^64-1";
        else if (strcmp(flag, "--n") == 0)
            expected = chapter_read_int(value, 1, CHAPTER_N_MAX, &c->n)
                           ? NULL
                           : "a whole number from 1 to 100000000";
        else if (*value)
            c->out = value;
        else
            expected = "the name of a folder";
        if (expected) chapter_stop(c, 2, "%s '%s': expected %s", flag, value, expected);
        i++;
    }
}

/* ---- beginning ------------------------------------------------------------------------------ */

/* mkdir -p: every folder on the way to path; one that is there already is fine. */
static inline int chapter_folder(const char *path) {
    size_t length = strlen(path);
    char *part = (char *)malloc(length + 1);
    struct stat is;
    if (!part) return -1;
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && stat(part, &is) != 0) break; /* opening will say the rest */
        part[i] = path[i];
    }
    free(part);
    return stat(path, &is) == 0 && S_ISDIR(is.st_mode) ? 0 : -1;
}

/* <out>/<name><ending>: for a second data file ("_digits.dat") or a model. Freed by chapter_end. */
static inline char *chapter_path(chapter *c, const char *ending) {
    size_t length = strlen(c->out) + strlen(c->name) + strlen(ending) + 2;
    char *path = (char *)chapter_alloc(c, length / sizeof(double) + 1);
    snprintf(path, length, "%s/%s%s", c->out, c->name, ending);
    return path;
}

/* Reads the flags, then opens <out>/<name>.dat. n is the default of --n; flags may be NULL. */
static inline void chapter_begin(chapter *c, int argc, char **argv, const char *name,
                                 const char *about, int n, const chapter_flag *flags,
                                 int flag_count) {
    char title[160];
    int err;
    memset(c, 0, sizeof *c);
    c->name = name;
    c->seed = 1;
    c->n = n;
    c->out = "build/data";
    chapter_flags(c, argc, argv, about, flags, flag_count);

    c->path = chapter_path(c, ".dat");
    snprintf(title, sizeof title, "flow.h %s seed=%" PRIu64 " n=%d%s", name, c->seed, c->n,
             c->quick ? " quick" : "");
    if (chapter_folder(c->out) != 0)
        chapter_stop(c, 1, "--out: cannot make the folder '%s'", c->out);
    err = flow_dat_open(&c->dat, c->path, title);
    if (err < 0) chapter_stop(c, 1, "cannot write '%s': %s", c->path, flow_strerror(err));
    c->progress_time = chapter_seconds() + 0.8; /* nothing to show for what takes under a second */
    printf("%s: %s (seed %" PRIu64 ", n %d%s)\n", name, about, c->seed, c->n,
           c->quick ? ", quick" : "");
}

/* ---- the table of checks -------------------------------------------------------------------- */

/* printf pads by bytes; a quantity may hold UTF-8, so count its letters instead. */
static inline void chapter_cell(const char *text, int width) {
    fputs(text, stdout);
    for (; *text; text++) width -= ((unsigned char)*text & 0xC0) != 0x80;
    while (width-- > 0) putchar(' ');
}

/* One row: quantity, what is expected, what came out, tolerance, ok or FAIL or a note. */
static inline void chapter_print(chapter *c, const char *quantity, const char *expected, double got,
                                 const char *tolerance, const char *verdict) {
    char number[40];
    chapter_progress_clear(c);
    if (c->rows++ == 0) {
        chapter_cell("quantity", 46);
        printf(" %-19s %-12s %s\n", "expected", "came out", "within");
    }
    snprintf(number, sizeof number, "%.6g", got);
    chapter_cell(quantity, 46);
    if (*tolerance || *verdict)
        printf(" %-19s %-12s %-9s %s\n", expected, number, tolerance, verdict);
    else
        printf(" %-19s %s\n", expected, number); /* a row that only says something */
}

static inline void chapter_check(chapter *c, const char *quantity, const char *expected, double got,
                                 const char *tolerance, int ok) {
    c->checks++;
    if (!ok) c->failed++;
    chapter_print(c, quantity, expected, got, tolerance, ok ? "ok" : "FAIL");
}

/* The comparisons are written so that a NaN fails each of them. */

/* |got - expected| <= tol */
static inline void chapter_near(chapter *c, const char *quantity, double expected, double got,
                                double tol) {
    char a[40], b[40];
    snprintf(a, sizeof a, "%.6g", expected);
    snprintf(b, sizeof b, "%.2g", tol);
    chapter_check(c, quantity, a, got, b, fabs(got - expected) <= tol);
}

/* got < limit */
static inline void chapter_below(chapter *c, const char *quantity, double got, double limit) {
    char a[40];
    snprintf(a, sizeof a, "< %.6g", limit);
    chapter_check(c, quantity, a, got, "", got < limit);
}

/* got > limit */
static inline void chapter_above(chapter *c, const char *quantity, double got, double limit) {
    char a[40];
    snprintf(a, sizeof a, "> %.6g", limit);
    chapter_check(c, quantity, a, got, "", got > limit);
}

/* low <= got <= high */
static inline void chapter_between(chapter *c, const char *quantity, double got, double low,
                                   double high) {
    char a[80];
    snprintf(a, sizeof a, "%.4g .. %.4g", low, high);
    chapter_check(c, quantity, a, got, "", got >= low && got <= high);
}

/* A row without a check: something to know, not to pass. note may be "". */
static inline void chapter_say(chapter *c, const char *quantity, double got, const char *note) {
    chapter_print(c, quantity, "", got, "", note);
}

/* A text as printf writes it, for a row or the name of a block; the last four are kept. */
#ifdef __GNUC__
__attribute__((format(printf, 1, 2)))
#endif
static inline const char *
chapter_text(const char *format, ...) {
    static char kept[4][120];
    static int made;
    char *text = kept[made++ % 4];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof kept[0], format, args);
    va_end(args);
    return text;
}

/* ---- the data file -------------------------------------------------------------------------- */

/* A name must not be the beginning of a later block's name: gnuplot's index "den" finds "density".
 * Errors of writing are kept by flow_dat and told by chapter_end. */
static inline void chapter_block(chapter *c, const char *name, const char *columns) {
    flow_dat_block(&c->dat, name, columns);
}

static inline void chapter_row(chapter *c, const double *v, int count) {
    flow_dat_row(&c->dat, v, count);
}

static inline void chapter_row2(chapter *c, double v0, double v1) {
    const double v[] = {v0, v1};
    flow_dat_row(&c->dat, v, 2);
}

static inline void chapter_row3(chapter *c, double v0, double v1, double v2) {
    const double v[] = {v0, v1, v2};
    flow_dat_row(&c->dat, v, 3);
}

static inline void chapter_row4(chapter *c, double v0, double v1, double v2, double v3) {
    const double v[] = {v0, v1, v2, v3};
    flow_dat_row(&c->dat, v, 4);
}

static inline void chapter_row5(chapter *c, double v0, double v1, double v2, double v3, double v4) {
    const double v[] = {v0, v1, v2, v3, v4};
    flow_dat_row(&c->dat, v, 5);
}

/* A block of the points x[n*d], or of `most` of them, evenly picked: a scatter needs no more. */
static inline void chapter_points(chapter *c, const char *name, const char *columns,
                                  const double *x, int n, int d, int most) {
    chapter_block(c, name, columns);
    for (int i = 0; i < n; i += (n - 1) / most + 1) chapter_row(c, x + i * d, d);
}

/* Between two grid rows. */
static inline void chapter_gap(chapter *c) {
    flow_dat_gap(&c->dat);
}

/* A block of `down` rows of images, one of each class a row, image[down*classes*d], as a line for
 * each row of pixels: for `matrix with image`. */
static inline void chapter_images_block(chapter *c, const char *name, const chapter_images *m,
                                        const double *image, int down) {
    int wide = m->classes * m->cols;
    double *row = chapter_alloc(c, (size_t)wide);
    chapter_block(c, name, "a line for each row of pixels");
    for (int r = 0; r < down * m->rows; r++) {
        const double *at = image + (r / m->rows * m->classes * m->rows + r % m->rows) * m->cols;
        for (int j = 0; j < wide; j++) row[j] = at[j / m->cols * m->d + j % m->cols];
        chapter_row(c, row, wide);
    }
}

/* A block of a grid of chapter_grid: the coordinates of each node, then what `count` arrays know of
 * it, width[k] numbers in array k; for `with image` and the like. */
static inline void chapter_grid_block(chapter *c, const char *name, const char *columns,
                                      const double *x, int side, int d,
                                      const double *const *value, const int *width, int count) {
    int n = 1;
    for (int j = 0; j < d; j++) n *= side;
    chapter_block(c, name, columns);
    for (int i = 0; i < n; i++) {
        double row[16];
        int used = d;
        for (int j = 0; j < d; j++) row[j] = x[i * d + j];
        for (int k = 0; k < count; k++)
            for (int j = 0; j < width[k]; j++) row[used++] = value[k][i * width[k] + j];
        chapter_row(c, row, used);
        if (d > 1 && i % side == side - 1) chapter_gap(c);
    }
}

/* The same for one array over a grid of the plane. */
static inline void chapter_plane_block(chapter *c, const char *name, const char *columns,
                                       const double *x, int side, const double *value, int width) {
    chapter_grid_block(c, name, columns, x, side, 2, &value, &width, 1);
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Closes the data file under its real name, frees everything, returns main's exit status. */
static inline int chapter_end(chapter *c) {
    int err = flow_dat_close(&c->dat);
    chapter_progress_clear(c);
    if (err < 0) {
        c->dat.file = NULL; /* flow_dat_close has removed the half-written file already */
        chapter_stop(c, 1, "cannot write '%s': %s", c->path, flow_strerror(err));
    }
    if (c->failed)
        printf("%d of %d checks FAILED; ", c->failed, c->checks);
    else
        printf("%d checks ok; ", c->checks);
    printf("data: %s", c->path);
    if (strcmp(c->out, "build/data") == 0) printf("; figures: make %s", c->name);
    putchar('\n');
    chapter_free(c);
    return fflush(stdout) || c->failed ? 1 : 0;
}

#endif /* CHAPTER_H */
