/* 00_math.c - tests of what every section of flow.h stands on: exp and its relatives, error
 * messages, small private helpers. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

/* ---- exp and its relatives ------------------------------------------------------------------- */

/* The double that libm gives, which for x near 0 must not cancel either. */
static double sigmoid_by_libm(double x) {
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double softplus_by_libm(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

/* One function, and how many units in the last place it may be off (measured against 64 bits of
 * mantissa: exp 0.95, expm1 1.9, tanh 2.4, sigmoid 2.4, softplus 1.7; libm has 0.5 to 2 of its
 * own, which only in double count). */
typedef struct {
    const char *name;
    flow_real (*ours)(flow_real);
    double (*libm)(double);
    double ulps;
} function_pair;

static const function_pair functions[5] = {
    {"exp", flowi_exp, exp, 1.5},
    {"expm1", flowi_expm1, expm1, 2.5},
    {"tanh", flowi_tanh, tanh, 3.5},
    {"sigmoid", flowi_sigmoid, sigmoid_by_libm, 4},
    {"softplus", flowi_softplus, softplus_by_libm, 3},
};

static double least_subnormal(void) {
    return sizeof(flow_real) == sizeof(double) ? ldexp(1, -1074) : ldexp(1, -149);
}

/* |got - want| in units of the last place of want; 0 when both overflow to infinity. */
static double ulps_apart(flow_real got, double want) {
    const double rounded = (double)FLOWI_R(want);
    int exponent;
    double unit;
    if (rounded - rounded != 0) return (double)got >= rounded && (double)got <= rounded ? 0 : 1e9;
    frexp(want, &exponent);
    unit = ldexp(EPS, exponent - 1);
    if (unit < least_subnormal()) unit = least_subnormal();
    return fabs((double)got - want) / unit;
}

/* The worst of 4001 points of [lo, hi]; a number of ulps that is not one fails. */
static void check_range(const function_pair *f, double lo, double hi) {
    double worst = 0, at = lo;
    int i;
    for (i = 0; i <= 4000; i++) {
        const flow_real x = FLOWI_R(lo + (hi - lo) * i / 4000);
        const double off = ulps_apart(f->ours(x), f->libm((double)x));
        if (off <= worst) continue;
        worst = off;
        at = (double)x;
    }
    if (!TEST(worst <= f->ulps)) printf("    %s(%.17g) is %.2f ulps off\n", f->name, at, worst);
}

/* A coefficient of the polynomial, the split of ln 2, a power of two or a clamp that is wrong: over
 * the whole range, near 0, and where the results are subnormal or overflow. */
static void test_relatives_against_libm(void) {
    int i;
    for (i = 0; i < 5; i++) {
        const double most = functions[i].ours == flowi_expm1 ? 88 : 760;
        check_range(&functions[i], -most, most);
        check_range(&functions[i], -88, 88);
        check_range(&functions[i], -4, 4);
        check_range(&functions[i], -0.75, 0.75);
        if (functions[i].ours == flowi_expm1) continue;
        check_range(&functions[i], -746, -707);
        check_range(&functions[i], -104.5, -86);
        check_range(&functions[i], 709.5, 710.5);
        check_range(&functions[i], 88.5, 89.5);
        check_range(&functions[i], 16, 24);
    }
}

/* e^x - 1 and tanh x computed through e^x, which loses every digit of a small x. */
static void test_relatives_near_zero(void) {
    double x;
    for (x = 1; x > least_subnormal(); x /= 3) {
        int i, sign;
        for (i = 1; i <= 2; i++)
            for (sign = -1; sign <= 1; sign += 2) {
                const flow_real at = FLOWI_R(sign * x);
                const double want = functions[i].libm((double)at);
                TEST(ulps_apart(functions[i].ours(at), want) <= functions[i].ulps);
            }
    }
}

/* A clamp that swallows NaN, an infinity that becomes NaN, a zero without its sign. */
static void test_relatives_at_the_ends(void) {
    const flow_real infinity = FLOWI_INFINITY, nan = FLOWI_INFINITY - FLOWI_INFINITY;
    int i;
    for (i = 0; i < 5; i++) TEST(functions[i].ours(nan) != functions[i].ours(nan));
    TEST_NEAR(flowi_exp(infinity), infinity, 0);
    TEST_NEAR(flowi_exp(-infinity), 0, 0);
    TEST_NEAR(flowi_exp(0), 1, 0);
    TEST_NEAR(flowi_expm1(-infinity), -1, 0);
    TEST_NEAR(flowi_tanh(infinity), 1, 0);
    TEST_NEAR(flowi_tanh(-infinity), -1, 0);
    TEST(copysign(1.0, (double)flowi_tanh(-FLOWI_R(0.0))) < 0);
    TEST(copysign(1.0, (double)flowi_tanh(0)) > 0);
    TEST_NEAR(flowi_sigmoid(infinity), 1, 0);
    TEST_NEAR(flowi_sigmoid(-infinity), 0, 0);
    TEST_NEAR(flowi_softplus(infinity), infinity, 0);
    TEST_NEAR(flowi_softplus(-infinity), 0, 0);
}

/* A sign that is not put back: tanh is odd to the last bit, sigmoid's two tails add to 1. */
static void test_relatives_symmetry(void) {
    int k;
    for (k = 0; k < 1000; k++) {
        const flow_real x = (flow_real)k / 40;
        TEST_NEAR(flowi_tanh(-x), -flowi_tanh(x), 0);
        TEST_NEAR(flowi_sigmoid(-x) + flowi_sigmoid(x), 1, 2 * EPS);
    }
}

/* The logarithms over all normal numbers: the exponent's bits, the fold at sqrt(1/2), the digits
 * next to log 1 = 0, which a wrong m loses. */
static void test_logarithms(void) {
    const int most = sizeof(flow_real) == sizeof(double) ? 1021 : 125;
    double worst = 0, worst1 = 0;
    int i, k;
    for (k = -most; k <= most; k += k > -4 && k < 3 ? 1 : 7)
        for (i = 0; i <= 200; i++) {
            const flow_real x = FLOWI_R(ldexp(1 + i / 201.0, k));
            const double off = ulps_apart(flowi_ln(x), log((double)x));
            if (!(off <= worst)) worst = off;
        }
    for (k = -60; k <= 8; k++)
        for (i = 0; i <= 200; i++) {
            flow_real x = FLOWI_R(ldexp(1 + i / 201.0, k));
            double off = ulps_apart(flowi_ln1p(x), log1p((double)x));
            if (!(off <= worst1)) worst1 = off;
            if (!(x < FLOWI_R(0.99))) continue;
            x = -x;
            off = ulps_apart(flowi_ln1p(x), log1p((double)x));
            if (!(off <= worst1)) worst1 = off;
        }
    TEST_NEAR(flowi_ln(1), 0, 0);
    TEST_NEAR(worst, 0, 2.5);
    TEST_NEAR(worst1, 0, 4);
}

/* A coefficient of the series, a quarter turn too far: both ends, and the sine next to 0. */
static void test_sine_and_cosine(void) {
    int i;
    for (i = -2000; i <= 2000; i++) {
        const flow_real a = FLOWI_R(1.5707963267948966) * (flow_real)i / 2000;
        flow_real s, c;
        flowi_sin_cos(&s, &c, a);
        TEST_NEAR(s, sin((double)a), 2 * EPS * fabs(sin((double)a)));
        TEST_NEAR(c, cos((double)a), 2 * EPS);
    }
}

/* Normals in blocks and one by one: the same numbers from the same draws, by Box and Muller's
 * formula, for every remainder of a block. */
static void test_normals_of_a_block(void) {
    enum { MOST = 70 };
    flow_real z[2 * MOST + 1];
    int n, i;
    for (n = 0; n <= MOST; n++) {
        flow_rng rng, twin, one;
        flow_rng_init(&rng, (uint64_t)n);
        twin = one = rng;
        z[2 * n] = 7;
        flow_normal_sample(&rng, z, n, 2);
        TEST(z[2 * n] == 7);
        for (i = 0; i < n; i++) {
            const double u1 = 1 - (double)flow_rng_uniform(&twin);
            const double turn = 2 * 3.14159265358979324 * (double)flow_rng_uniform(&twin);
            const double r = sqrt(-2 * log(u1));
            TEST_NEAR(z[2 * i], r * cos(turn), 20 * EPS);
            TEST_NEAR(z[2 * i + 1], r * sin(turn), 20 * EPS);
            TEST_NEAR(flow_rng_normal(&one), z[2 * i], 0);
        }
        TEST(memcmp(&rng, &twin, sizeof rng) == 0);
    }
}

/* ---- errors and helpers ---------------------------------------------------------------------- */

/* A code without words, or two codes with the same. */
static void test_error_messages(void) {
    int i, k;
    for (i = -16; i <= 1; i++) TEST(flow_strerror(i) && strlen(flow_strerror(i)) > 5);
    for (i = FLOW_E_GZIP; i <= 0; i++)
        for (k = FLOW_E_GZIP; k < i; k++)
            TEST(strcmp(flow_strerror(i), flow_strerror(k)) != 0);
    TEST(strcmp(flow_strerror(1), flow_strerror(-99)) == 0); /* "unknown error" */
    TEST(strstr(flow_strerror(FLOW_E_MEMORY), "memory") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_SINGULAR), "singular") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_FINITE), "finite") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_BRACKET), "bracket") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_CONVERGE), "converge") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_EMPTY), "zero") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_UNKNOWN), "not known") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_OPEN), "opened") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_FILE), "reading") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_COLUMNS), "row") != NULL);
    TEST(strstr(flow_strerror(FLOW_E_NUMBER), "text") != NULL);
}

/* An infinity or a NaN that hides: anywhere in a long array, or cancelled by its opposite. */
static void test_all_finite(void) {
    flow_real many[35];
    int i, n;
    const flow_real infinity = FLOWI_INFINITY, nan = infinity - infinity;
    flow_real x[5] = {1, FLOWI_R(-1e30), 0, FLOWI_R(1e30), 2};
    TEST(flowi_all_finite(x, 5));
    TEST(flowi_all_finite(x, 0));
    x[0] = infinity;
    TEST(!flowi_all_finite(x, 5) && flowi_all_finite(x + 1, 4));
    x[4] = -infinity;
    TEST(!flowi_all_finite(x, 5) && !flowi_all_finite(x + 1, 4) && flowi_all_finite(x + 1, 3));
    x[4] = nan;
    TEST(!flowi_all_finite(x + 1, 4));
    TEST(!flowi_finite(nan) && !flowi_finite(-infinity) && flowi_finite(1));
    for (i = 0; i < 35; i++) many[i] = FLOWI_R(1e30);
    for (n = 1; n <= 35; n++)
        for (i = 0; i < n; i++) {
            many[i] = i % 2 ? nan : -infinity;
            TEST(!flowi_all_finite(many, n));
            many[i] = FLOWI_R(1e30);
            TEST(flowi_all_finite(many, n));
        }
}

/* Memory that is not zeroed, a size that overflows instead of failing. */
static void test_new(void) {
    flow_real *p = flowi_new(100), *none = flowi_new(0);
    int i;
    for (i = 0; i < 100; i++) TEST_NEAR(p[i], 0, 0);
    TEST(none != NULL);
    flow_release(p);
    flow_release(none);
    flow_release(NULL);
    TEST(flowi_new((double)(PTRDIFF_MAX / sizeof(flow_real))) == NULL);
    TEST(flowi_new(65536.0 * 65536 * 65536 * 65536) == NULL && flowi_new(HUGE_VAL) == NULL);
    TEST(flowi_size(1 << 15, 1 << 15, 1) == (size_t)1 << 30);
    TEST(flowi_size(3, 5, 7) == 105);
}

int main(void) {
    test_section("exp and its relatives");
    test_relatives_against_libm();
    test_relatives_near_zero();
    test_relatives_at_the_ends();
    test_relatives_symmetry();
    test_logarithms();
    test_sine_and_cosine();
    test_normals_of_a_block();
    test_section("errors and helpers");
    test_error_messages();
    test_all_finite();
    test_new();
    return test_done();
}
