/* 13_files.c - tests of section 13 of flow.h: data files for gnuplot, tables of points, models in
 * safetensors, images; and the words of the error codes. */
#include "test.h"

#include <errno.h>

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

/* ---- small tools ----------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text, size_t length) {
    FILE *file = fopen(path, "wb");
    if (!TEST(file != NULL)) return;
    TEST(fwrite(text, 1, length, file) == length);
    TEST(fclose(file) == 0);
}

/* Does the file hold just these bytes, or this text? */
static int file_has(const char *path, const char *bytes, size_t count) {
    char held[1000];
    FILE *file = fopen(path, "rb");
    size_t length;
    if (!file) return 0;
    length = fread(held, 1, sizeof held, file);
    fclose(file);
    return length == count && memcmp(held, bytes, length) == 0;
}

static int file_holds(const char *path, const char *text) {
    return file_has(path, text, strlen(text));
}

static int file_exists(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file) fclose(file);
    return file != NULL;
}

/* A file of blocks in the making, and the one beside it in which it grows. */
static const char *dat_path(void) {
    return test_path("blocks.dat");
}

static const char *aside_path(void) {
    return test_path("blocks.dat.part");
}

/* ---- error codes ----------------------------------------------------------------------------- */

/* A code without words, or two with the same. */
static void test_strerror(void) {
    int a, b;
    for (a = FLOW_E_GZIP; a <= FLOW_OK; a++) {
        TEST(flow_strerror(a) != NULL && strlen(flow_strerror(a)) > 5);
        TEST(strcmp(flow_strerror(a), flow_strerror(-1000)) != 0);
        for (b = FLOW_E_GZIP; b < a; b++) TEST(strcmp(flow_strerror(a), flow_strerror(b)) != 0);
    }
    TEST(flow_strerror(1) != NULL && flow_strerror(FLOW_E_GZIP - 1) != NULL);
    flow_release(NULL);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A blank line too many or too few (gnuplot finds blocks by two), digits lost, a separator at the
 * end of a row; a file that is seen before it is whole. */
static void test_dat_bytes(void) {
    const flow_real v[3] = {FLOWI_R(0.5), -3, 10000000000}, tiny = FLOWI_R(1.0 / 1024);
    const flow_real large = FLOWI_R(1099511627776);
    flow_dat f;
    remove(dat_path());
    TEST_ERR(flow_dat_open(&f, dat_path(), "05_planar_flow seed=1"), FLOW_OK);
    TEST_ERR(flow_dat_block(&f, "points", "x y z"), FLOW_OK);
    TEST_ERR(flow_dat_row(&f, v, 3), FLOW_OK);
    TEST_ERR(flow_dat_gap(&f), FLOW_OK);
    TEST_ERR(flow_dat_row(&f, &tiny, 1), FLOW_OK);
    TEST_ERR(flow_dat_block(&f, "curve", "t"), FLOW_OK);
    TEST_ERR(flow_dat_row(&f, &large, 1), FLOW_OK);
    TEST_ERR(flow_dat_block(&f, "empty", "u"), FLOW_OK);
    TEST(!file_exists(dat_path()));
    TEST(file_exists(aside_path()));
    TEST_ERR(flow_dat_close(&f), FLOW_OK);
    TEST(!file_exists(aside_path()));
    TEST(file_holds(dat_path(), "# 05_planar_flow seed=1\n"
                                "# points\n# x y z\n0.5 -3 1e+10\n\n0.0009765625\n"
                                "\n\n# curve\n# t\n1.09951163e+12\n"
                                "\n\n# empty\n# u\n"));
}

/* An older file that is lost although the new one is not finished, or that survives a new one. */
static void test_dat_replaces(void) {
    const flow_real v = 1;
    flow_dat f;
    write_file(dat_path(), "old", 3);
    TEST_ERR(flow_dat_open(&f, dat_path(), "new"), FLOW_OK);
    TEST_ERR(flow_dat_row(&f, &v, 1), FLOW_OK);
    flow_dat_discard(&f);
    flow_dat_discard(&f);
    TEST(file_holds(dat_path(), "old"));
    TEST(!file_exists(aside_path()));
    TEST_ERR(flow_dat_block(&f, "a", "b"), FLOW_E_FILE); /* there is no file any more */
    TEST_ERR(flow_dat_row(&f, &v, 1), FLOW_E_FILE);
    TEST_ERR(flow_dat_open(&f, dat_path(), "new"), FLOW_OK);
    TEST_ERR(flow_dat_close(&f), FLOW_OK);
    TEST(file_holds(dat_path(), "# new\n"));
    TEST_ERR(flow_dat_close(&f), FLOW_E_FILE);
    TEST_ERR(flow_dat_block(&f, "a", "b"), FLOW_E_FILE);
    TEST(file_holds(dat_path(), "# new\n"));
}

/* What a full disk does: from the call that fails on, every one fails, and nothing is left. */
static void check_full_disk(int failing) {
    const flow_real v[2] = {1, 2};
    flow_dat f;
    TEST_ERR(flow_dat_open(&f, dat_path(), "new"), FLOW_OK);
    f.file = freopen("/dev/full", "w", f.file);
    if (!TEST(f.file != NULL)) return;
    if (failing < 3) setvbuf(f.file, NULL, _IONBF, 0); /* else the buffer keeps it until close */
    errno = 77;
    if (failing == 0) TEST_ERR(flow_dat_block(&f, "a", "b"), FLOW_E_FILE);
    if (failing == 1) TEST_ERR(flow_dat_row(&f, v, 2), FLOW_E_FILE);
    if (failing == 2) TEST_ERR(flow_dat_gap(&f), FLOW_E_FILE);
    if (failing == 3) TEST_ERR(flow_dat_row(&f, v, 2), FLOW_OK);
    TEST_EQ_INT(errno, 77);
    if (failing < 3) {
        TEST_ERR(flow_dat_block(&f, "a", "b"), FLOW_E_FILE);
        TEST_ERR(flow_dat_row(&f, v, 2), FLOW_E_FILE);
        TEST_ERR(flow_dat_gap(&f), FLOW_E_FILE);
    }
    TEST_ERR(flow_dat_close(&f), FLOW_E_FILE);
    TEST_ERR(flow_dat_close(&f), FLOW_E_FILE);
    TEST_EQ_INT(errno, 77);
    TEST(!file_exists(aside_path()));
    TEST(file_holds(dat_path(), "old"));
}

/* A write that fails unnoticed, in each function and when the buffer is written at last. */
static void test_dat_full_disk(void) {
    int failing;
    if (!file_exists("/dev/full")) return;
    write_file(dat_path(), "old", 3);
    for (failing = 0; failing < 4; failing++) check_full_disk(failing);
    remove(dat_path());
}

/* Runs a command of the shell on the file that grows; 0 where there is no such command. */
static int prepare_aside(const char *command) {
    char line[600];
    snprintf(line, sizeof line, "%s '%s' 2>/dev/null", command, aside_path());
    return system(line) == 0;
}

/* A title that does not fit on the disk; somebody else's folder where the file is to grow, which
 * must still be there afterwards. */
static void test_dat_open_fails(void) {
    static char title[100000];
    const long live = test_state.live;
    flow_dat f;
    memset(title, 'x', sizeof title - 1);
    if (file_exists("/dev/full") && prepare_aside("ln -s /dev/full")) {
        errno = 77;
        TEST_ERR(flow_dat_open(&f, dat_path(), title), FLOW_E_FILE);
        TEST(!file_exists(aside_path()) && !file_exists(dat_path()));
        TEST_ERR(flow_dat_close(&f), FLOW_E_FILE);
    }
    if (prepare_aside("mkdir")) {
        errno = 77;
        TEST_ERR(flow_dat_open(&f, dat_path(), "new"), FLOW_E_OPEN);
        TEST_ERR(flow_dat_close(&f), FLOW_E_OPEN);
        TEST(prepare_aside("rmdir"));
    }
    TEST_ERR(flow_dat_open(&f, test_path("no/such/folder"), "new"), FLOW_E_OPEN);
    TEST_EQ_INT(errno, 77);
    TEST_EQ_INT(test_state.live, live);
}

/* The first error forgotten for a later one; memory that is short. */
static void test_dat_errors(void) {
    const flow_real v = 1;
    flow_dat f;
    TEST_ERR(flow_dat_open(&f, test_path("no/such/folder"), "new"), FLOW_E_OPEN);
    TEST_ERR(flow_dat_block(&f, "a", "b"), FLOW_E_OPEN);
    TEST_ERR(flow_dat_row(&f, &v, 1), FLOW_E_OPEN);
    TEST_ERR(flow_dat_gap(&f), FLOW_E_OPEN);
    TEST_ERR(flow_dat_close(&f), FLOW_E_OPEN);
    TEST_EVERY_ALLOC(flow_dat_open(&f, dat_path(), "new"), flow_dat_discard(&f));
    test_alloc_fail_at(1);
    TEST_ERR(flow_dat_open(&f, dat_path(), "new"), FLOW_E_MEMORY);
    test_alloc_fail_at(0);
    TEST_ERR(flow_dat_row(&f, &v, 1), FLOW_E_MEMORY);
    TEST_ERR(flow_dat_close(&f), FLOW_E_MEMORY);
    TEST(!file_exists(aside_path()));
    TEST_ASSERT_TRIPS(flow_dat_open(&f, NULL, "new"));
    TEST_ASSERT_TRIPS(flow_dat_open(&f, dat_path(), NULL));
    TEST_ASSERT_TRIPS(flow_dat_open(NULL, dat_path(), "new"));
}

/* An older file removed although the new one cannot take its place. */
static void test_dat_cannot_move(void) {
    flow_dat f;
    write_file(dat_path(), "old", 3);
    TEST_ERR(flow_dat_open(&f, dat_path(), "new"), FLOW_OK);
    TEST(remove(aside_path()) == 0); /* somebody else was here */
    errno = 77;
    TEST_ERR(flow_dat_close(&f), FLOW_E_FILE);
    TEST_EQ_INT(errno, 77);
    TEST(file_holds(dat_path(), "old"));
    TEST_ERR(flow_dat_open(&f, dat_path(), "new"), FLOW_OK);
    TEST(remove(aside_path()) == 0);
    errno = 77;
    flow_dat_discard(&f);
    TEST_EQ_INT(errno, 77);
    remove(dat_path());
}

/* ---- reading --------------------------------------------------------------------------------- */

static const char *table_path(void) {
    return test_path("table.txt");
}

/* Reads text[length] as a table of d columns. */
static int read_text(const char *text, size_t length, int d, flow_real **x, int *n, int *line) {
    write_file(table_path(), text, length);
    return flow_points_read(x, n, line, d, table_path());
}

/* Tables of the points (1, 2), (-3, 0.5) that must be read. */
static void test_points_read(void) {
    static const char *const good[] = {
        "1 2\n-3 0.5\n",
        "1 2\n-3 0.5",                          /* no newline at the end */
        "1 2\r\n-3 0.5\r\n",                    /* lines as Windows ends them */
        "1,2\n-3,0.5\n",                        /* commas, or */
        "1;2\n-3 ; 0.5\n",                      /* semicolons, with blanks or without */
        "\t 1 \t 2 \n\n   \n-3,\t0.5 \n\n",     /* blanks anywhere, empty lines */
        "# x y\n1 2 # first\n#\n-3 0.5#second", /* comments */
        "+1.0e0 .2e1\n-30E-1 5e-1\n",           /* numbers as they may be written */
        "# # ,, nan\n1 2\n\n#1\n-3 0.5\n",
        "\xEF\xBB\xBF\x31,2\n-3,0.5\n",        /* the mark of UTF-8 */
    };
    const double want[4] = {1, 2, -3, 0.5};
    flow_real *x;
    int n, line, i;
    for (i = 0; i < (int)(sizeof good / sizeof good[0]); i++) {
        n = line = -1;
        errno = 77;
        if (!TEST(read_text(good[i], strlen(good[i]), 2, &x, &n, &line) == FLOW_OK)) continue;
        TEST_EQ_INT(n, 2);
        TEST_EQ_INT(line, 0);
        TEST_EQ_INT(errno, 77);
        TEST_NEAR_ALL(x, want, 4, 0);
        flow_release(x);
    }
    TEST_ERR(read_text("1 2\n-3 0.5", 10, 4, &x, &n, &line), FLOW_E_COLUMNS);
    TEST_ERR(read_text("1 2 -3 0.5\n", 11, 4, &x, &n, &line), FLOW_OK);
    TEST_EQ_INT(n, 1);
    flow_release(x);
}

typedef struct {
    const char *text;
    int error, line;
} bad_table;

/* A mistake in a table that is read over, or told of on another line, or as another mistake. */
static void test_points_read_refuses(void) {
    static const bad_table bad[] = {
        {"", FLOW_E_EMPTY, 0},
        {"\n\n", FLOW_E_EMPTY, 0},
        {"# 1 2\n# 3 4", FLOW_E_EMPTY, 0},
        {"1 2\n3\n4 5\n", FLOW_E_COLUMNS, 2},
        {"1 2\n3 4\n5", FLOW_E_COLUMNS, 3},
        {"1 2\n\n# c\n3 4 5\n", FLOW_E_COLUMNS, 4},
        {"1,2,3\n", FLOW_E_COLUMNS, 1},
        {"x y\n1 2\n", FLOW_E_NUMBER, 1},
        {"\xEF\xBB 1 2\n", FLOW_E_NUMBER, 1},
        {"1 2\n\xEF\xBB\xBF\x33 4\n", FLOW_E_NUMBER, 2}, /* not at the start */
        {"1 2\n3 4x\n", FLOW_E_NUMBER, 2},
        {"1 2\n3 -\n", FLOW_E_NUMBER, 2},
        {"1 1e\n", FLOW_E_NUMBER, 1},
        {"1 \"2\"\n", FLOW_E_NUMBER, 1},
        {"1 2\n3,4,\n", FLOW_E_NUMBER, 2}, /* empty fields */
        {"1 2\n3,,4\n", FLOW_E_NUMBER, 2},
        {"1 2\n,3,4\n", FLOW_E_NUMBER, 2},
        {"1 2\n3,\n", FLOW_E_NUMBER, 2},
        {"1 2\n,\n", FLOW_E_NUMBER, 2},
        {"1;,2\n", FLOW_E_NUMBER, 1},
        {"1 nan\n", FLOW_E_FINITE, 1},
        {"1 2\n-inf 4\n", FLOW_E_FINITE, 2},
        {"1 1e999\n", FLOW_E_FINITE, 1},
        {"1 2\n3 -1e999\n", FLOW_E_FINITE, 2},
    };
    int i;
    for (i = 0; i < (int)(sizeof bad / sizeof bad[0]); i++) {
        flow_real one = 1, *x = &one;
        int n = -1, line = -1;
        errno = 77;
        if (read_text(bad[i].text, strlen(bad[i].text), 2, &x, &n, &line) != bad[i].error ||
            line != bad[i].line)
            test_check(0, bad[i].text, __FILE__, __LINE__);
        TEST(x == NULL && n == 0 && errno == 77);
    }
}

/* A comma that stands where only some of the numbers are apart by one. */
static void test_points_read_three_columns(void) {
    flow_real *x;
    int n, line;
    TEST_ERR(read_text("1, 2 ,3\n", 8, 3, &x, &n, &line), FLOW_OK);
    flow_release(x);
    TEST_ERR(read_text("1 2,3\n", 6, 3, &x, &n, &line), FLOW_E_NUMBER);
    TEST_ERR(read_text("1,2 3\n", 6, 3, &x, &n, &line), FLOW_E_NUMBER);
    TEST_ERR(read_text("1,2,,3\n", 7, 3, &x, &n, &line), FLOW_E_NUMBER);
    TEST_ERR(read_text("1 2,,3\n", 7, 3, &x, &n, &line), FLOW_E_NUMBER);
    TEST_ERR(read_text("1 2 3,\n", 7, 3, &x, &n, &line), FLOW_E_NUMBER);
}

/* A byte 0 that ends a number or a line unseen. */
static void test_points_read_zero_bytes(void) {
    flow_real *x;
    int n, line;
    TEST_ERR(read_text("1 2\n3 4\0\n", 9, 2, &x, &n, &line), FLOW_E_NUMBER);
    TEST_EQ_INT(line, 2);
    TEST_ERR(read_text("1 2\n\0 3 4\n", 10, 2, &x, &n, &line), FLOW_E_NUMBER);
    TEST_ERR(read_text("1 2\n3\0 4\n", 9, 2, &x, &n, &line), FLOW_E_NUMBER);
    TEST_ERR(read_text("# \0\n3 4\n", 8, 2, &x, &n, &line), FLOW_OK);
    flow_release(x);
}

/* A line or a number too long for some buffer. */
static void test_points_read_long_lines(void) {
    static char text[100000];
    const size_t digits[4] = {100, 398, 399, 5000};
    flow_real *x;
    int n, line, i;
    for (i = 0; i < 4; i++) { /* 1.000...0 */
        const size_t length = digits[i];
        memset(text, '0', sizeof text);
        memcpy(text, "1.", 2);
        text[length] = '\n';
        TEST_ERR(read_text(text, length + 1, 1, &x, &n, &line),
                 length < 399 ? FLOW_OK : FLOW_E_NUMBER);
        if (x) TEST_NEAR(x[0], 1, 0);
        flow_release(x);
    }
    memset(text, ' ', sizeof text);
    memcpy(text, "1", 1);
    memcpy(text + sizeof text - 2, "2\n", 2);
    TEST_ERR(read_text(text, sizeof text, 2, &x, &n, &line), FLOW_OK);
    TEST_NEAR(x[1], 2, 0);
    flow_release(x);
    text[1] = '#';
    TEST_ERR(read_text(text, sizeof text, 1, &x, &n, &line), FLOW_OK);
    flow_release(x);
}

/* Numbers lost or left behind when the array grows; an allocation that fails on the way; a row that
 * does not survive the way through flow_dat. */
static void test_points_read_many(void) {
    static flow_real v[3 * 1500];
    flow_rng rng = test_rng(1);
    flow_real *x = NULL;
    flow_dat f;
    int n = 0, line = 0, i;
    flow_normal_sample(&rng, v, 1500, 3);
    TEST_ERR(flow_dat_open(&f, table_path(), "normal"), FLOW_OK);
    TEST_ERR(flow_dat_block(&f, "points", "x y z"), FLOW_OK);
    for (i = 0; i < 1500; i++) TEST_ERR(flow_dat_row(&f, v + 3 * i, 3), FLOW_OK);
    TEST_ERR(flow_dat_close(&f), FLOW_OK);
    TEST_EVERY_ALLOC(flow_points_read(&x, &n, &line, 3, table_path()), flow_release(x));
    TEST_ERR(flow_points_read(&x, &n, &line, 3, table_path()), FLOW_OK);
    TEST_EQ_INT(n, 1500);
    TEST_NEAR_ALL(x, v, 3 * 1500, 5e-8);
    flow_release(x);
    test_alloc_fail_at(1);
    TEST_ERR(flow_points_read(&x, &n, &line, 3, table_path()), FLOW_E_MEMORY);
    test_alloc_fail_at(0);
    TEST(x == NULL && n == 0);
}

/* A file that is missing, and a folder (which can be opened, but not read). */
static void test_points_read_no_file(void) {
    flow_real *x;
    int n, line = 7, err;
    TEST_ERR(flow_points_read(&x, &n, &line, 2, test_path("no such file")), FLOW_E_OPEN);
    TEST_EQ_INT(line, 0);
    err = flow_points_read(&x, &n, &line, 2, ".");
    TEST(err == FLOW_E_FILE || err == FLOW_E_OPEN);
    TEST(x == NULL && n == 0);
    TEST_ASSERT_TRIPS(flow_points_read(NULL, &n, &line, 2, table_path()));
    TEST_ASSERT_TRIPS(flow_points_read(&x, NULL, &line, 2, table_path()));
    TEST_ASSERT_TRIPS(flow_points_read(&x, &n, NULL, 2, table_path()));
    TEST_ASSERT_TRIPS(flow_points_read(&x, &n, &line, 0, table_path()));
    TEST_ASSERT_TRIPS(flow_points_read(&x, &n, &line, 2, NULL));
}

/* ---- safetensors: the file ------------------------------------------------------------------- */

static const char *model_path(void) {
    return test_path("model.safetensors");
}

static const char *model_aside(void) {
    return test_path("model.safetensors.part");
}

/* A file of safetensors: the length of the header, the header, and the numbers' bytes. Returns how
 * many bytes it has; file[] has room for 8 more than both. */
static size_t make_model(unsigned char *file, const char *header, const void *bytes, size_t count) {
    const size_t length = strlen(header);
    size_t k;
    for (k = 0; k < 8; k++) file[k] = (unsigned char)(k < 4 ? length >> 8 * k & 0xFF : 0);
    memcpy(file + 8, header, length);
    if (count) memcpy(file + 8 + length, bytes, count);
    return 8 + length + count;
}

/* Loads t[count] from such a file. */
static int load_model(const flow_tensor *t, int *at, int count, const char *header,
                      const void *bytes, size_t size) {
    static unsigned char file[20000];
    int err;
    const size_t length = make_model(file, header, bytes, size);
    write_file(model_path(), (const char *)file, length);
    errno = 77;
    err = flow_tensors_load(t, at, count, model_path());
    TEST_EQ_INT(errno, 77);
    return err;
}

/* A name, a shape, a value or its sign, an order of bytes, the padding: the whole file by hand. */
static void test_tensors_bytes(void) {
    flow_real a[6] = {1, -2, FLOWI_R(0.5), 0, 4, 5}, b[2] = {0, 3};
    const flow_tensor t[2] = {{"a.weight", a, 2, 3}, {"b", b, 2, 0}};
#ifdef FLOW_FLOAT
    static const char want[] =
        "\x78\0\0\0\0\0\0\0"
        "{\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[24,32]}} "
        "\0\0\x80\x3F"
        "\0\0\0\xC0"
        "\0\0\0\x3F"
        "\0\0\0\0"
        "\0\0\x80\x40"
        "\0\0\xA0\x40"
        "\0\0\0\x80"
        "\0\0\x40\x40";
#else
    static const char want[] =
        "\x78\0\0\0\0\0\0\0"
        "{\"a.weight\":{\"dtype\":\"F64\",\"shape\":[2,3],\"data_offsets\":[0,48]},"
        "\"b\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[48,64]}} "
        "\0\0\0\0\0\0\xF0\x3F"
        "\0\0\0\0\0\0\0\xC0"
        "\0\0\0\0\0\0\xE0\x3F"
        "\0\0\0\0\0\0\0\0"
        "\0\0\0\0\0\0\x10\x40"
        "\0\0\0\0\0\0\x14\x40"
        "\0\0\0\0\0\0\0\x80"
        "\0\0\0\0\0\0\x08\x40";
#endif
    b[0] = flowi_copysign(0, -1);
    errno = 77;
    TEST_ERR(flow_tensors_save(t, 2, model_path()), FLOW_OK);
    TEST_EQ_INT(errno, 77);
    TEST(file_has(model_path(), want, sizeof want - 1));
    TEST(!file_exists(model_aside()));
    TEST_ERR(flow_tensors_save(t, 0, model_path()), FLOW_OK);
    TEST(file_has(model_path(), "\x08\0\0\0\0\0\0\0{}      ", 16));
    TEST_ERR(flow_tensors_load(t, NULL, 0, model_path()), FLOW_OK);
}

/* Bits lost on the way, in values of every size; an array of no numbers; many blocks. */
static void test_tensors_round_trip(void) {
    static flow_real x[5000], y[5000];
    const flow_real least = FLOWI_EPS * FLOWI_R(FLT_MIN);
    flow_tensor t[3] = {{"long", x, 1, 4990}, {"none", x, 0, 0}, {"short", x + 4990, 10, 0}};
    flow_rng rng = test_rng(2);
    int at = 7, i;
    for (i = 0; i < 5000; i++)
        x[i] = flow_rng_normal(&rng) * (flow_real)ldexp(1, flow_rng_below(&rng, 240) - 120);
    x[0] = flowi_copysign(0, -1);
    x[1] = least;
    x[2] = -FLOWI_R(FLT_MAX);
    TEST_ERR(flow_tensors_save(t, 3, model_path()), FLOW_OK);
    for (i = 0; i < 3; i++) t[i].value += y - x;
    TEST_ERR(flow_tensors_load(t, &at, 3, model_path()), FLOW_OK);
    TEST_EQ_INT(at, -1);
    TEST(memcmp(x, y, sizeof x) == 0);
    TEST_EVERY_ALLOC(flow_tensors_save(t, 3, model_path()), (void)0);
    TEST_EVERY_ALLOC(flow_tensors_load(t, NULL, 3, model_path()), (void)0);
}

typedef struct {
    const char *type, *bytes;
    int size;
    double value; /* what is read, or infinity for FLOW_E_FINITE */
} number_case;

/* A type that is read as another one: values with their bytes, as IEEE 754 has them. */
static void test_tensors_types(void) {
    static const number_case good[] = {
        {"F64", "\x18\x2D\x44\x54\xFB\x21\x09\x40", 8, 3.141592653589793116},
        {"F64", "\0\0\0\0\0\0\xF0\x7F", 8, HUGE_VAL},
        {"F64", "\0\0\0\0\0\0\xF8\x7F", 8, HUGE_VAL}, /* a NaN */
        {"F32", "\xDB\x0F\x49\xC0", 4, -3.1415927410125732},
        {"F32", "\x01\0\0\0", 4, 1.401298464324817e-45},
        {"F32", "\0\0\x80\xFF", 4, HUGE_VAL},
        {"BF16", "\x49\x40", 2, 3.140625},
        {"BF16", "\x80\xFF", 2, HUGE_VAL},
        {"F16", "\0\x3C", 2, 1},
        {"F16", "\x48\xC2", 2, -3.140625},
        {"F16", "\xFF\x7B", 2, 65504},
        {"F16", "\0\x04", 2, 6.103515625e-05},          /* 2^-14, the least with all digits, */
        {"F16", "\xFF\x83", 2, -6.097555160522461e-05}, /* the next, and the least of all */
        {"F16", "\x01\0", 2, 5.9604644775390625e-08},
        {"F16", "\0\x7C", 2, HUGE_VAL},
        {"F16", "\x01\xFC", 2, HUGE_VAL},
    };
    int i;
    for (i = 0; i < (int)(sizeof good / sizeof good[0]); i++) {
        flow_real x = 42;
        const flow_tensor t[1] = {{"x", &x, 1, 0}};
        char header[100];
        int at = 7;
        const int infinite = good[i].value > 1e300;
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[0,%d]}}", good[i].type,
                 good[i].size);
        TEST_ERR(load_model(t, &at, 1, header, good[i].bytes, (size_t)good[i].size),
                 infinite ? FLOW_E_FINITE : FLOW_OK);
        TEST_NEAR(x, infinite ? 42 : (double)(flow_real)good[i].value, 0);
        TEST_EQ_INT(at, infinite ? 0 : -1);
    }
}

/* What Python's safetensors writes for {"layer.weight": [[1, 2, 3], [4, 5, 6]], "layer.bias": [-1,
 * 0.5], "steps": int64 7} with metadata: names sorted within a type, larger types first. */
static void test_tensors_from_python(void) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"steps\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"layer.bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]},"
        "\"layer.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[16,40]}}     ";
    static const char bytes[] = "\x07\0\0\0\0\0\0\0"
                                "\0\0\x80\xBF"
                                "\0\0\0\x3F"
                                "\0\0\x80\x3F"
                                "\0\0\0\x40"
                                "\0\0\x40\x40"
                                "\0\0\x80\x40"
                                "\0\0\xA0\x40"
                                "\0\0\xC0\x40";
    const double want[8] = {1, 2, 3, 4, 5, 6, -1, 0.5};
    flow_real theta[8] = {0};
    const flow_tensor t[2] = {{"layer.weight", theta, 2, 3}, {"layer.bias", theta + 6, 2, 0}};
    const flow_tensor steps[1] = {{"steps", theta, 1, 0}};
    TEST_EQ_INT((sizeof header - 1) % 8, 0);
    TEST_ERR(load_model(t, NULL, 2, header, bytes, sizeof bytes - 1), FLOW_OK);
    TEST_NEAR_ALL(theta, want, 8, 0);
    TEST_ERR(flow_tensors_load(steps, NULL, 1, model_path()), FLOW_E_SHAPE);
}

/* The entry of an array of F32; x, whose two numbers stand first. */
#define ENTRY(shape, offsets) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define X "\"x\":" ENTRY("[2]", "[0,8]")

/* Unusual headers that are right, of files that hold x = (1, 2). */
static void test_tensors_reads(void) {
    static const char *const good[] = {
        "{" X "}",
        "{" X "}       ",
        "{ \t\r\n\"x\" : { \"dtype\" : \"F32\" , \"shape\" : [ 2 ] , \"data_offsets\" : [ 0 , 8 ] "
        "} }\n",
        "{\"x\":{\"data_offsets\":[0,8],\"shape\":[2],\"dtype\":\"F32\"}}",
        "{\"\\u0078\":{\"\\u0064type\":\"\\u004632\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"__metadata__\":{}," X "}",
        "{" X ",\"__metadata__\":{\"a\":\"{\\\"b\\\":[[[\",\"\":\"\"}}",
        "{\"__metadata__\":{\"\\\"\\\\\\/"
        "\\b\\f\\n\\r\\t\\u0000\":\"\\uD83d\\uDe00\\u20AC\\u00e9\"}," X "}",
        "{\"__metadata__\":{\"\xC3\xA9\xE2\x82\xAC\":\"\xF0\x9F\x98\x80\x7F\"}," X "}",
        "{\"__metadata__\":{\"\xC2\x80\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\":\"\xF4\x8F\xBF\xBF\"}"
        "," X "}",
        "{\"y\":" ENTRY("[2,0,3]", "[0,0]") "," X "}", /* no numbers */
        "{" X ",\"y\":" ENTRY("[0]", "[8,8]") ",\"xx\":" ENTRY("[0]", "[8,8]") "}",
        "{\"y\":{\"dtype\":\"F3_E1M1\",\"shape\":[99],\"data_offsets\":[8,8]}," X "}",
        "{\"\":" ENTRY("[0]", "[0,0]") "," X "}",
    };
    const char bytes[] = "\0\0\x80\x3F"
                         "\0\0\0\x40";
    const double want[2] = {1, 2};
    int i;
    for (i = 0; i < (int)(sizeof good / sizeof good[0]); i++) {
        flow_real x[2] = {0};
        const flow_tensor t[1] = {{"x", x, 2, 0}};
        if (load_model(t, NULL, 1, good[i], bytes, 8) != FLOW_OK)
            test_check(0, good[i], __FILE__, __LINE__);
        TEST_NEAR_ALL(x, want, 2, 0);
    }
}

typedef struct {
    const char *header;
    int error;
} header_case;

/* Wrong headers of files with 8 bytes of numbers. */
static void test_tensors_refuses(void) {
    static const header_case bad[] = {
        {"{}", FLOW_E_FORMAT}, /* numbers that nobody claims */
        {"", FLOW_E_FORMAT},
        {" {" X "}", FLOW_E_FORMAT},
        {"{" X "}x", FLOW_E_FORMAT},
        {"{" X "}{" X "}", FLOW_E_FORMAT},
        {"{" X, FLOW_E_FORMAT},
        {"{" X ",}", FLOW_E_FORMAT},
        {"{," X "}", FLOW_E_FORMAT},
        {"[" X "]", FLOW_E_FORMAT},
        {"{" X "," X "}", FLOW_E_FORMAT}, /* a name twice, also in disguise */
        {"{" X ",\"x\":" ENTRY("[0]", "[8,8]") "}", FLOW_E_FORMAT},
        {"{" X ",\"\\u0078\":" ENTRY("[0]", "[8,8]") "}", FLOW_E_FORMAT},
        {"{" X ",\"\\uD83D\\uDE00\":" ENTRY("[0]", "[8,8]") ",\"\xF0\x9F\x98\x80\":"
         ENTRY("[0]", "[8,8]") "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{},\"__metadata__\":{}," X "}", FLOW_E_FORMAT},
        /* ranges: beyond the end, short of it, backwards, overlapping, a gap, another size */
        {"{\"x\":" ENTRY("[4]", "[0,16]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[1]", "[0,4]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2]", "[8,0]") "}", FLOW_E_FORMAT},
        {"{" X ",\"y\":" ENTRY("[2]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{" X ",\"y\":" ENTRY("[1]", "[4,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[1]", "[4,8]") "}", FLOW_E_FORMAT},
        {"{" X ",\"y\":" ENTRY("[0]", "[4,4]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[3]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[1]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[1]", "[0,7]") ",\"y\":" ENTRY("[0]", "[7,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[]", "[0,8]") "}", FLOW_E_FORMAT},
        /* numbers: too large for any, products too large, not whole, not plain */
        {"{\"x\":" ENTRY("[2]", "[0,18446744073709551624]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2]", "[18446744073709551615,7]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2]", "[0,999999999999999999]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[114,161813544506224137]", "[0,8]") "}", FLOW_E_FORMAT}, /* 2^64 + 2 */
        {"{\"x\":" ENTRY("[4294967296,4294967296]", "[0,0]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2305843009213693954,8]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[-2]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2.0]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2e0]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[02]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[+2]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2]", "[00,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[\"2\"]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[null]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("2", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2,]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[[2]]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2]", "[0]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2]", "[0,8,8]") "}", FLOW_E_FORMAT},
        {"{\"x\":" ENTRY("[2]", "[0 8]") "}", FLOW_E_FORMAT},
        /* members: missing, twice, unknown, of another kind */
        {"{\"x\":{}}", FLOW_E_FORMAT},
        {"{\"x\":[]}", FLOW_E_FORMAT},
        {"{\"x\":null}", FLOW_E_FORMAT},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2]}}", FLOW_E_FORMAT},
        {"{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", FLOW_E_FORMAT},
        {"{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", FLOW_E_FORMAT},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}",
         FLOW_E_FORMAT},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"a\":\"b\"}}",
         FLOW_E_FORMAT},
        {"{\"x\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", FLOW_E_FORMAT},
        {"{" X ",\"y\":{\"dtype\":\"F3_E1M1\",\"data_offsets\":[8,8]}}", FLOW_E_FORMAT},
        {"{\"y\":{\"dtype\":\"BOOL\",\"shape\":[8],\"data_offsets\":[0,8]}}", FLOW_E_UNKNOWN},
        {"{\"x\":{\"dtype\":\"F32\" \"shape\":[2],\"data_offsets\":[0,8]}}", FLOW_E_FORMAT},
        {"{x:" ENTRY("[2]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{'x':" ENTRY("[2]", "[0,8]") "}", FLOW_E_FORMAT},
        {"{\"x\"" ENTRY("[2]", "[0,8]") "}", FLOW_E_FORMAT},
        /* metadata that are not strings, or go deep */
        {"{\"__metadata__\":{\"a\":1}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"b\",}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":[]," X "}", FLOW_E_FORMAT},
        /* strings: escapes that do not exist, half a pair, control characters, no end */
        {"{\"__metadata__\":{\"a\":\"\\x41\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\\u12\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\\u12g4\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\\U0041\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\\uD83D\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\\uD83D\\u0041\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\\uD83Dxude00\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\\uDE00\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\n\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\x1F\"}," X "}", FLOW_E_FORMAT},
        {"{" X ",\"y", FLOW_E_FORMAT},
        {"{" X ",\"y\\", FLOW_E_FORMAT},
        {"{" X ",\"y\\u", FLOW_E_FORMAT},
        {"{" X ",\"y\\uD83D\\", FLOW_E_FORMAT},
        {"{" X ",\"y\xE2\x82", FLOW_E_FORMAT},
        /* not UTF-8: a byte alone, one too few, longer than needed, a surrogate, beyond the last */
        {"{\"__metadata__\":{\"a\":\"\x80\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xC3\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xE2\x82\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xC1\xBF\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xE0\x9F\xBF\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xF0\x8F\xBF\xBF\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xED\xA0\x80\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xF4\x90\x80\x80\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xF8\x88\x80\x80\x80\"}," X "}", FLOW_E_FORMAT},
        {"{\"__metadata__\":{\"a\":\"\xFF\"}," X "}", FLOW_E_FORMAT},
        {"\xEF\xBB\xBF{" X "}", FLOW_E_FORMAT},
        /* good files of something else */
        {"{\"y\":" ENTRY("[2]", "[0,8]") "}", FLOW_E_UNKNOWN},
        {"{\"X\":" ENTRY("[2]", "[0,8]") "}", FLOW_E_UNKNOWN},
        {"{\"xx\":" ENTRY("[2]", "[0,8]") "}", FLOW_E_UNKNOWN},
        {"{\"x\\u0000\":" ENTRY("[2]", "[0,8]") "}", FLOW_E_UNKNOWN},
        {"{\"x\":" ENTRY("[1,2]", "[0,8]") "}", FLOW_E_SHAPE},
        {"{\"x\":" ENTRY("[2,1]", "[0,8]") "}", FLOW_E_SHAPE},
        {"{\"x\":" ENTRY("[2,1,1]", "[0,8]") "}", FLOW_E_SHAPE},
        {"{\"x\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", FLOW_E_SHAPE},
        {"{\"x\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]}}", FLOW_E_TYPE},
        {"{\"x\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", FLOW_E_TYPE},
        {"{\"x\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,8]}}", FLOW_E_FORMAT},
    };
    const char bytes[] = "\0\0\x80\x3F"
                         "\0\0\0\x40";
    int i;
    for (i = 0; i < (int)(sizeof bad / sizeof bad[0]); i++) {
        flow_real x[2] = {3, 4};
        const flow_tensor t[1] = {{"x", x, 2, 0}};
        int at = 7;
        if (load_model(t, &at, 1, bad[i].header, bytes, 8) != bad[i].error ||
            at != (bad[i].error == FLOW_E_FORMAT ? -1 : 0))
            test_check(0, bad[i].header, __FILE__, __LINE__);
        TEST(x[0] > 2 && x[0] < 4 && x[1] > 3);
    }
}

/* Columns that nobody counts: 3 read into 2, or rows for columns. */
static void test_tensors_columns(void) {
    static const char *const shape[4] = {"[2,2]", "[2,3]", "[3,2]", "[4]"};
    int k;
    for (k = 0; k < 4; k++) {
        const int count = k == 1 || k == 2 ? 6 : 4;
        flow_real x[4] = {3, 4, 5, 6};
        const flow_tensor t[1] = {{"x", x, 2, 2}};
        char header[100];
        const char bytes[24] = {0};
        sprintf(header, "{\"x\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%d]}}",
                shape[k], 4 * count);
        TEST_ERR(load_model(t, NULL, 1, header, bytes, 4 * (size_t)count),
                 k == 0 ? FLOW_OK : FLOW_E_SHAPE);
        TEST(k == 0 ? x[3] == 0 : x[3] == 6);
    }
}

/* A name that stands twice, among names that begin with it, in every order. */
static void test_tensors_twice(void) {
    static const char *const name[5] = {"a", "a", "ab", "abc", "ax"};
    int order, k;
    for (order = 0; order < 120; order++) {
        char header[600] = "{" X;
        int place[5] = {0, 1, 2, 3, 4}, rest = order;
        flow_real x[2] = {3, 4};
        const flow_tensor t[1] = {{"x", x, 2, 0}};
        for (k = 4; k > 0; rest /= k + 1, k--) {
            const int other = rest % (k + 1), swap = place[k];
            place[k] = place[other];
            place[other] = swap;
        }
        for (k = 0; k < 5; k++) {
            strcat(header, ",\"");
            strcat(header, name[place[k]]);
            strcat(header, "\":" ENTRY("[0]", "[8,8]"));
        }
        strcat(header, "}");
        TEST_ERR(load_model(t, NULL, 1, header, "\0\0\0\0\0\0\0", 8), FLOW_E_FORMAT);
        TEST(x[0] == 3 && x[1] == 4);
    }
}

/* As many entries as a header can hold: the shortest ones there are, thousands of brackets. */
static void test_tensors_crowded(void) {
    static char header[20000];
    static const char shortest[] = "\"\":{\"dtype\":\"\",\"shape\":[],\"data_offsets\":[0,0]}";
    flow_real x;
    const flow_tensor t[1] = {{"x", &x, 1, 0}};
    int count, k;
    TEST_EQ_INT(sizeof shortest, 48);
    for (count = 1; count < 200; count++) {
        strcpy(header, "{");
        for (k = 0; k < count; k++) strcat(strcat(header, k ? "," : ""), shortest);
        TEST_ERR(load_model(t, NULL, 1, header, "", 0), FLOW_E_FORMAT);
        strcat(header, ",\"\":");
        TEST_ERR(load_model(t, NULL, 1, header, "", 0), FLOW_E_FORMAT);
    }
    memset(header, '[', sizeof header - 100);
    TEST_ERR(load_model(t, NULL, 1, header, "", 0), FLOW_E_FORMAT);
    memcpy(header, "{\"x\":", 5);
    TEST_ERR(load_model(t, NULL, 1, header, "", 0), FLOW_E_FORMAT);
    memset(header, '{', sizeof header - 100);
    TEST_ERR(load_model(t, NULL, 1, header, "", 0), FLOW_E_FORMAT);
}

/* Memory taken for what a file only claims to hold: lengths with a byte of each size, and a header
 * above the limit in a file that is long enough. */
static void test_tensors_huge(void) {
    unsigned char file[1000];
    flow_real x[2] = {3, 4};
    const flow_tensor t[1] = {{"x", x, 2, 0}};
    const size_t length = make_model(file, "{" X "}", "\0\0\x80\x3F\0\0\0\x40", 8);
    const long before = test_state.bytes;
    FILE *long_file;
    int k;
    for (k = 0; k < 8; k++) {
        unsigned char changed[1000];
        memcpy(changed, file, length);
        changed[k] = 0xFF;
        write_file(model_path(), (const char *)changed, length);
        TEST_ERR(flow_tensors_load(t, NULL, 1, model_path()), FLOW_E_FORMAT);
    }
    long_file = fopen(model_path(), "wb"); /* nearly all of it a hole */
    if (TEST(long_file != NULL)) {
        TEST(fwrite("\x01\xE1\xF5\x05\0\0\0\0", 1, 8, long_file) == 8); /* 100,000,001 */
        TEST(fseek(long_file, 100000020, SEEK_SET) == 0 && fputc(0, long_file) == 0);
        fclose(long_file);
        TEST_ERR(flow_tensors_load(t, NULL, 1, model_path()), FLOW_E_FORMAT);
    }
    TEST_EQ_INT(test_state.bytes, before);
}

/* Cut off anywhere, with bytes too many, with any bit of it turned: either an error, and then
 * nothing has changed, or a file that is as good as it was (a bit of a number, of a name in
 * metadata). What it must not do, a sanitizer sees. */
static void test_tensors_fuzz(void) {
    static const char header[] =
        "{\"__metadata__\":{\"a\":\"\\u00e9\"}," X ",\"y\":" ENTRY("[1,2]", "[8,16]") "} ";
    unsigned char good[500], bad[500];
    flow_real x[4];
    const flow_real old[4] = {FLOWI_R(0.1), FLOWI_R(0.2), FLOWI_R(0.3), FLOWI_R(0.4)};
    const flow_tensor t[2] = {{"x", x, 2, 0}, {"y", x + 2, 1, 2}};
    const size_t length =
        make_model(good, header, "\0\0\x80\x3F\0\0\0\x40\0\0\x80\x40\0\0\0\x41", 16);
    const long live = test_state.live;
    size_t k;
    int read = 0, bit, err;
    for (k = 0; k < length + 8; k++) { /* good[k] for k = length is missing: longer by k - length */
        memset(good + length, 0, 8);
        memcpy(x, old, sizeof x);
        write_file(model_path(), (const char *)good, k);
        err = flow_tensors_load(t, NULL, 2, model_path());
        TEST_ERR(err, k == length ? FLOW_OK : FLOW_E_FORMAT);
        TEST((memcmp(x, old, sizeof x) == 0) == (err < 0));
    }
    for (k = 0; k < length; k++)
        for (bit = 0; bit < 8; bit++) {
            memcpy(bad, good, length);
            bad[k] = (unsigned char)(bad[k] ^ 1 << bit);
            memcpy(x, old, sizeof x);
            write_file(model_path(), (const char *)bad, length);
            err = flow_tensors_load(t, NULL, 2, model_path());
            TEST((memcmp(x, old, sizeof x) == 0) == (err < 0));
            if (k < 8) TEST_ERR(err, FLOW_E_FORMAT);
            read += err == FLOW_OK;
        }
    TEST(read > 16 * 7 && read < (int)length * 4);
    TEST_EQ_INT(test_state.live, live);
}

/* An array that is filled although a later one cannot be; an error told of another one. */
static void test_tensors_all_or_nothing(void) {
    static const char header[] = "{" X ",\"y\":" ENTRY("[3]", "[8,20]") "}";
    static const char bytes[] = "\0\0\x80\x3F\0\0\0\x40"
                                "\0\0\0\0"
                                "\0\0\xC0\x7F"
                                "\0\0\0\0"; /* y: a NaN */
    flow_real x[5] = {3, 4, 5, 6, 7};
    const flow_real old[5] = {3, 4, 5, 6, 7};
    flow_tensor t[2] = {{"x", x, 2, 0}, {"y", x + 2, 3, 0}};
    int at = 7;
    TEST_ERR(load_model(t, &at, 2, header, bytes, 20), FLOW_E_FINITE);
    TEST(at == 1 && memcmp(x, old, sizeof x) == 0);
    t[1].rows = 2;
    TEST_ERR(load_model(t, &at, 2, header, bytes, 20), FLOW_E_SHAPE);
    TEST(at == 1 && memcmp(x, old, sizeof x) == 0);
    strcpy(t[1].name, "z");
    TEST_ERR(load_model(t, &at, 2, header, bytes, 20), FLOW_E_UNKNOWN);
    TEST(at == 1 && memcmp(x, old, sizeof x) == 0);
    TEST_ERR(load_model(t, &at, 1, header, bytes, 20),
             FLOW_OK); /* without y, which is passed over */
    TEST(at == -1 && memcmp(x + 2, old + 2, 3 * sizeof *x) == 0);
    TEST_NEAR(x[1], 2, 0);
    test_alloc_fail_at(3);
    TEST_ERR(flow_tensors_load(t, &at, 1, model_path()), FLOW_E_MEMORY);
    test_alloc_fail_at(0);
    TEST_EQ_INT(at, -1);
}

/* A model that has diverged, or a full disk, that takes the place of a good file. */
static void test_tensors_save_fails(void) {
    flow_real x[2] = {1, 2};
    flow_tensor t[2] = {{"x", x, 1, 0}, {"y", x + 1, 1, 0}};
    char line[1200];
    write_file(model_path(), "old", 3);
    errno = 77;
    x[1] = FLOWI_INFINITY;
    TEST_ERR(flow_tensors_save(t, 2, model_path()), FLOW_E_FINITE);
    x[1] -= FLOWI_INFINITY;
    TEST_ERR(flow_tensors_save(t, 2, model_path()), FLOW_E_FINITE);
    TEST_ERR(flow_tensors_save(t, 1, test_path("no/such/folder")), FLOW_E_OPEN);
    snprintf(line, sizeof line, "ln -s /dev/full '%s' 2>/dev/null", model_aside());
    TEST_EQ_INT(errno, 77);
    if (file_exists("/dev/full") && system(line) == 0) {
        errno = 77;
        TEST_ERR(flow_tensors_save(t, 1, model_path()), FLOW_E_FILE);
        TEST_EQ_INT(errno, 77);
    }
    TEST(file_holds(model_path(), "old"));
    TEST(!file_exists(model_aside()));
}

/* Names that would need escapes, that are one, that have no end; NULL. No file, or a folder. */
static void test_tensors_misuse(void) {
    flow_real x = 1;
    flow_tensor t[2] = {{"x", &x, 1, 0}, {"x", &x, 1, 0}}, none[1] = {{"x", NULL, 1, 0}};
    int at = 7, err;
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 2, model_path()));
    TEST_ASSERT_TRIPS(flow_tensors_load(t, NULL, 2, model_path()));
    TEST_ASSERT_TRIPS(flow_tensors_save(none, 1, model_path()));
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 1, NULL));
    TEST_ASSERT_TRIPS(flow_tensors_load(t, NULL, 1, NULL));
    strcpy(t[0].name, "a\"b");
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 1, model_path()));
    strcpy(t[0].name, "a\\b");
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 1, model_path()));
    strcpy(t[0].name, "caf\xC3\xA9");
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 1, model_path()));
    strcpy(t[0].name, "__metadata__");
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 1, model_path()));
    memset(t[0].name, 'x', sizeof t[0].name);
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 1, model_path()));
    t[0].name[63] = 0;
    TEST_ERR(flow_tensors_save(t, 2, model_path()), FLOW_OK);
    TEST_ERR(flow_tensors_load(t, NULL, 2, model_path()), FLOW_OK);
    t[1].rows = -1;
    TEST_ASSERT_TRIPS(flow_tensors_save(t, 2, model_path()));
    errno = 77;
    TEST_ERR(flow_tensors_load(t, &at, 1, test_path("no such file")), FLOW_E_OPEN);
    TEST_EQ_INT(at, -1);
    err = flow_tensors_load(t, NULL, 1, ".");
    TEST(err == FLOW_E_FILE || err == FLOW_E_OPEN);
    TEST_EQ_INT(errno, 77);
}

/* ---- safetensors: models --------------------------------------------------------------------- */

/* A network as PyTorch has it: y = weight a + bias from layer to layer, with tanh between. */
static void torch_forward(const flow_tensor *t, int count, double *y, const flow_real *x) {
    double a[16], z[16];
    int l, i, j;
    for (j = 0; j < t[0].cols; j++) a[j] = (double)x[j];
    for (l = 0; l < count; l += 2) {
        const flow_tensor *w = &t[l], *b = &t[l + 1];
        for (i = 0; i < w->rows; i++) {
            z[i] = (double)b->value[i];
            for (j = 0; j < w->cols; j++) z[i] += (double)w->value[i * w->cols + j] * a[j];
        }
        for (i = 0; i < w->rows; i++) a[i] = l + 2 < count ? tanh(z[i]) : z[i];
    }
    for (i = 0; i < t[count - 1].rows; i++) y[i] = a[i];
}

/* A layer that is left out or named like another, in and out exchanged; the numbers of a network as
 * PyTorch's nn.Sequential would use them give what flow_net_forward gives. */
static void test_net_tensors(void) {
    static const char *const name[6] = {"net.0.weight", "net.0.bias",   "net.2.weight",
                                        "net.2.bias",   "net.4.weight", "net.4.bias"};
    static const int rows[6] = {7, 7, 7, 7, 2, 2}, cols[6] = {4, 0, 7, 0, 7, 0};
    const flow_real x[2] = {FLOWI_R(0.3), FLOWI_R(-1.2)}, time = FLOWI_R(0.7), c = FLOWI_R(-0.4);
    const flow_real in[4] = {x[0], x[1], time, c};
    flow_rng rng = test_rng(3);
    flow_tensor t[6];
    flow_net net;
    flow_real v[2];
    double want[2];
    int k;
    TEST_ERR(flow_net_init(&net, 2, 1, 7, 2, FLOW_TANH, 1, &rng), FLOW_OK);
    TEST_EQ_INT(flow_mlp_tensors(NULL, &net.mlp, NULL, "net."), 6);
    TEST_EQ_INT(flow_mlp_tensors(t, &net.mlp, net.theta, "net."), 6);
    for (k = 0; k < 6; k++)
        TEST(strcmp(t[k].name, name[k]) == 0 && t[k].rows == rows[k] && t[k].cols == cols[k]);
    TEST(t[5].value + 2 == net.theta + net.params);
    flow_net_forward(&net, v, x, &time, &c, 1);
    torch_forward(t, 6, want, in);
    TEST_NEAR_ALL(v, want, 2, 20 * EPS);
    TEST_ASSERT_TRIPS(flow_mlp_tensors(
        t, &net.mlp, net.theta, "a prefix that leaves no room for the rest of the name......."));
    flow_net_free(&net);
}

/* A model that is not the one saved; one of another shape that changes before it is refused. */
static void test_net_file(void) {
    flow_rng rng = test_rng(4);
    flow_net a, b, wide, deep, flat;
    flow_real *old;
    int k;
    TEST_ERR(flow_net_init(&a, 2, 0, 8, 1, FLOW_SILU, 1, &rng), FLOW_OK);
    TEST_ERR(flow_net_init(&b, 2, 0, 8, 1, FLOW_SILU, 1, &rng), FLOW_OK);
    TEST_ERR(flow_net_init(&wide, 2, 0, 9, 1, FLOW_SILU, 1, &rng), FLOW_OK);
    TEST_ERR(flow_net_init(&deep, 2, 0, 8, 2, FLOW_SILU, 1, &rng), FLOW_OK);
    TEST_ERR(flow_net_init(&flat, 2, 0, 1, 0, FLOW_SILU, 1, &rng), FLOW_OK);
    for (k = 0; k < a.params; k++) a.grad[k] = b.grad[k] = FLOWI_R(k);
    TEST_EVERY_ALLOC(flow_net_save(&a, model_path()), (void)0);
    TEST_EVERY_ALLOC(flow_net_load(&b, model_path()), (void)0);
    TEST(memcmp(a.theta, b.theta, (size_t)a.params * sizeof *a.theta) == 0);
    TEST(memcmp(a.grad, b.grad, (size_t)a.params * sizeof *a.grad) == 0);
    old = flowi_new(deep.params);
    memcpy(old, wide.theta, (size_t)wide.params * sizeof *old);
    TEST_ERR(flow_net_load(&wide, model_path()), FLOW_E_SHAPE);
    TEST(memcmp(old, wide.theta, (size_t)wide.params * sizeof *old) == 0);
    memcpy(old, deep.theta, (size_t)deep.params * sizeof *old);
    TEST_ERR(flow_net_load(&deep, model_path()), FLOW_E_SHAPE);
    TEST(memcmp(old, deep.theta, (size_t)deep.params * sizeof *old) == 0);
    TEST_ERR(flow_net_save(&flat, model_path()), FLOW_OK); /* one layer: net.0 alone */
    TEST_ERR(flow_net_load(&flat, model_path()), FLOW_OK);
    TEST_ERR(flow_net_load(&a, model_path()), FLOW_E_SHAPE);
    flow_release(old);
    flow_net_free(&a);
    flow_net_free(&b);
    flow_net_free(&wide);
    flow_net_free(&deep);
    flow_net_free(&flat);
}

/* A chain of every kind of layer. */
static int chain_of_all(flow_chain *c, int seed) {
    static const int mask[3] = {1, 0, 1};
    static const flow_conditioner coupling = {mask, 0, 0, 5, 1, FLOW_TANH, 0};
    static const flow_conditioner made = {NULL, 0, 1, 5, 2, FLOW_RELU, 0};
    static const flow_residual_spec residual = {4, 1, FLOW_TANH, 0, 0, 0, 0};
    flow_rng rng = test_rng(seed);
    flow_bijection layer[7];
    layer[0] = flow_affine(3);
    layer[1] = flow_planar(3);
    layer[2] = flow_actnorm(3);
    layer[3] = flow_linear(3, NULL);
    layer[4] = flow_coupling(3, &coupling);
    layer[5] = flow_autoregressive(3, &made);
    layer[6] = flow_residual(3, &residual);
    return flow_chain_init(c, layer, 7, FLOW_TO_NOISE, 4, &rng);
}

/* A parameter of a chain that no tensor holds, or two; a layer that is taken for another. */
static void test_chain_tensors(void) {
    static const char *const name[19] = {
        "layers.0.theta",        "layers.1.theta",        "layers.2.theta",
        "layers.3.theta",        "layers.4.net.0.weight", "layers.4.net.0.bias",
        "layers.4.net.2.weight", "layers.4.net.2.bias",   "layers.5.net.0.weight",
        "layers.5.net.0.bias",   "layers.5.net.2.weight", "layers.5.net.2.bias",
        "layers.5.net.4.weight", "layers.5.net.4.bias",   "layers.6.net.0.weight",
        "layers.6.net.0.bias",   "layers.6.net.2.weight", "layers.6.net.2.bias"};
    flow_tensor t[19];
    flow_real *next;
    flow_chain c;
    int k;
    TEST_ERR(chain_of_all(&c, 5), FLOW_OK);
    TEST_EQ_INT(flow_chain_tensors(NULL, &c, NULL), 18);
    TEST_EQ_INT(flow_chain_tensors(t, &c, c.theta), 18);
    next = c.theta;
    for (k = 0; k < 18; k++) {
        TEST(strcmp(t[k].name, name[k]) == 0);
        TEST(t[k].value == next);
        next += t[k].rows * (t[k].cols ? t[k].cols : 1);
    }
    TEST(next == c.theta + c.params);
    TEST(t[4].rows == 5 && t[4].cols == 3 && t[6].rows == 6 && t[6].cols == 5);
    flow_chain_free(&c);
}

/* A chain that gives other densities after the way through a file. */
static void test_chain_file(void) {
    const flow_real x[12] = {0, 0, 0, 1, FLOWI_R(0.5), -1, -2, 1, FLOWI_R(0.1), 2, -1, 3};
    flow_real p[4], q[4];
    flow_chain a, b;
    TEST_ERR(chain_of_all(&a, 6), FLOW_OK);
    TEST_ERR(chain_of_all(&b, 7), FLOW_OK);
    TEST_ERR(flow_chain_logprob(&a, p, x, 4), FLOW_OK);
    TEST_ERR(flow_chain_logprob(&b, q, x, 4), FLOW_OK);
    TEST(memcmp(p, q, sizeof p) != 0);
    TEST_EVERY_ALLOC(flow_chain_save(&a, model_path()), (void)0);
    TEST_EVERY_ALLOC(flow_chain_load(&b, model_path()), (void)0);
    TEST_ERR(flow_chain_logprob(&b, q, x, 4), FLOW_OK);
    TEST(memcmp(p, q, sizeof p) == 0);
    b.theta[b.params - 1] = FLOWI_INFINITY;
    TEST_ERR(flow_chain_save(&b, model_path()), FLOW_E_FINITE);
    TEST_ERR(flow_chain_load(&b, model_path()), FLOW_OK); /* what a is, still */
    TEST(memcmp(a.theta, b.theta, (size_t)a.params * sizeof *a.theta) == 0);
    flow_chain_free(&a);
    flow_chain_free(&b);
}

/* Two residual layers that follow their weights by one power iteration a call. */
static int chain_of_residuals(flow_chain *c, int seed) {
    static const flow_residual_spec residual = {6, 2, FLOW_TANH, 0, 0, 0, 1};
    flow_rng rng = test_rng(seed);
    flow_bijection layer[2];
    int err, i;
    layer[0] = layer[1] = flow_residual(3, &residual);
    err = flow_chain_init(c, layer, 2, FLOW_TO_NOISE, 4, &rng);
    for (i = 0; err == FLOW_OK && i < c->params; i++) c->theta[i] += flow_rng_normal(&rng);
    return err;
}

/* Norms of the weights that were there before: a chain that has been used gives, with a file's
 * weights, what a fresh one gives. */
static void test_chain_file_of_residuals(void) {
    const flow_real x[12] = {0, 0, 0, 1, FLOWI_R(0.5), -1, -2, 1, FLOWI_R(0.1), 2, -1, 3};
    flow_real p[4], q[4];
    flow_chain saved, used, fresh;
    TEST_ERR(chain_of_residuals(&saved, 8), FLOW_OK);
    TEST_ERR(chain_of_residuals(&used, 9), FLOW_OK);
    TEST_ERR(chain_of_residuals(&fresh, 10), FLOW_OK);
    TEST_ERR(flow_chain_logprob(&used, q, x, 4), FLOW_OK);
    TEST_ERR(flow_chain_save(&saved, model_path()), FLOW_OK);
    TEST_ERR(flow_chain_load(&used, model_path()), FLOW_OK);
    TEST_ERR(flow_chain_load(&fresh, model_path()), FLOW_OK);
    TEST_ERR(flow_chain_logprob(&used, q, x, 4), FLOW_OK);
    TEST_ERR(flow_chain_logprob(&fresh, p, x, 4), FLOW_OK);
    TEST(memcmp(p, q, sizeof p) == 0);
    flow_chain_free(&saved);
    flow_chain_free(&used);
    flow_chain_free(&fresh);
}

/* ---- images ---------------------------------------------------------------------------------- */

static const char *images_path(void) {
    return test_path("images.idx");
}

/* Two images of 2 by 3; labels. */
static void test_idx(void) {
    static const char images[] = "\0\0\x08\x03"
                                 "\0\0\0\x02"
                                 "\0\0\0\x02"
                                 "\0\0\0\x03"
                                 "\0\x01\x02\xFF\x80\x7F"
                                 "abcdef";
    static const char labels[] = "\0\0\x08\x01"
                                 "\0\0\x01\x01";
    char many[8 + 257];
    unsigned char *data = NULL;
    int n = 0, rows = 0, cols = 0;
    write_file(images_path(), images, sizeof images - 1);
    errno = 77;
    TEST_EVERY_ALLOC(flow_idx_read(&data, &n, &rows, &cols, images_path()), flow_release(data));
    TEST_ERR(flow_idx_read(&data, &n, &rows, &cols, images_path()), FLOW_OK);
    TEST(n == 2 && rows == 2 && cols == 3 && errno == 77);
    TEST(memcmp(data, images + 16, 12) == 0);
    flow_release(data);
    memset(many, 9, sizeof many);
    memcpy(many, labels, 8);
    write_file(images_path(), many, sizeof many);
    TEST_ERR(flow_idx_read(&data, &n, &rows, &cols, images_path()), FLOW_OK);
    TEST(n == 257 && rows == 1 && cols == 1 && data[256] == 9);
    flow_release(data);
}

typedef struct {
    const char *bytes;
    int length, error;
} idx_case;

/* Sizes that the file does not have (their product is right modulo 2^32 or 2^64), cut off anywhere,
 * other types and dimensions, still packed. */
static void test_idx_refuses(void) {
    static const idx_case bad[] = {
        {"", 0, FLOW_E_FORMAT},
        {"\0\0\x08", 3, FLOW_E_FORMAT},
        {"\0\0\x08\x01\0\0\0", 7, FLOW_E_FORMAT},
        {"\0\0\x08\x01\0\0\0\x02"
         "a",
         9, FLOW_E_FORMAT},
        {"\0\0\x08\x01\0\0\0\x02"
         "abc",
         11, FLOW_E_FORMAT},
        {"\0\0\x08\x01\x02\0\0\0"
         "ab",
         10, FLOW_E_FORMAT}, /* the lowest byte first */
        {"\0\0\x08\x01\0\0\0\0", 8, FLOW_E_EMPTY},
        {"\0\0\x08\x03\0\0\0\x01\0\0\0\0\0\0\0\x01", 16, FLOW_E_EMPTY},
        {"\0\0\x08\x03\0\0\0\x01\0\0\0\x01\0\0\0\0", 16, FLOW_E_EMPTY},
        {"\0\0\x08\x03\0\0\0\x01\0\0\0\x01\0\0\0", 15, FLOW_E_FORMAT},
        {"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02"
         "abc",
         19, FLOW_E_FORMAT},
        {"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02"
         "abcde",
         21, FLOW_E_FORMAT},
        {"\0\0\x08\x03\0\x01\0\x01\0\0\0\x01\0\x01\0\0"
         "",
         16, FLOW_E_FORMAT},
        {"\0\0\x08\x03\x80\0\0\x02\0\0\0\x01\0\0\0\x02"
         "abcd",
         20, FLOW_E_FORMAT},
        {"\0\0\x08\x03\x01\0\0\0\x01\0\0\0\0\x01\0\0", 16, FLOW_E_FORMAT},
        {"\0\0\x08\x03\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"
         "a",
         17, FLOW_E_FORMAT},
        {"\0\0\x0D\x01\0\0\0\x01\0\0\x80\x3F", 12, FLOW_E_TYPE}, /* floats */
        {"\0\0\x09\x01\0\0\0\x01"
         "a",
         9, FLOW_E_TYPE},
        {"\0\0\x08\0"
         "a",
         5, FLOW_E_SHAPE},
        {"\0\0\x08\x02\0\0\0\x01\0\0\0\x01"
         "a",
         13, FLOW_E_SHAPE},
        {"\0\0\x08\x04\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01"
         "a",
         21, FLOW_E_SHAPE},
        {"\0\0\x08\xFF\0\0\0\x01"
         "a",
         9, FLOW_E_SHAPE},
        {"\x01\x08\0\0\x01\0\0\0"
         "a",
         9, FLOW_E_FORMAT},
        {"\x01\0\x08\x01\0\0\0\x01"
         "a",
         9, FLOW_E_FORMAT},
        {"\0\x01\x08\x01\0\0\0\x01"
         "a",
         9, FLOW_E_FORMAT},
        {"1 2\n3 4\n", 8, FLOW_E_FORMAT},
        {"\x1F\x8B\x08\x08\0\0\0\0\0\x03", 10, FLOW_E_GZIP},
        {"\x1F\x8B", 2, FLOW_E_GZIP},
        {"\x1F", 1, FLOW_E_FORMAT},
    };
    const long before = test_state.bytes;
    unsigned char one, *data;
    int n, rows, cols, i;
    for (i = 0; i < (int)(sizeof bad / sizeof bad[0]); i++) {
        write_file(images_path(), bad[i].bytes, (size_t)bad[i].length);
        data = &one;
        n = rows = cols = 7;
        errno = 77;
        if (flow_idx_read(&data, &n, &rows, &cols, images_path()) != bad[i].error) {
            TEST_EQ_INT(i, -1); /* which */
            test_check(0, "an IDX file that must be refused", __FILE__, __LINE__);
        }
        TEST(data == NULL && n == 0 && rows == 0 && cols == 0 && errno == 77);
    }
    TEST_EQ_INT(test_state.bytes, before); /* none was worth any memory */
}

static void test_idx_no_file(void) {
    unsigned char one, *data = &one;
    int n = 7, rows = 7, cols = 7, err;
    errno = 77;
    TEST_ERR(flow_idx_read(&data, &n, &rows, &cols, test_path("no such file")), FLOW_E_OPEN);
    TEST(data == NULL && n == 0 && rows == 0 && cols == 0);
    err = flow_idx_read(&data, &n, &rows, &cols, ".");
    TEST(err == FLOW_E_FILE || err == FLOW_E_OPEN);
    TEST_EQ_INT(errno, 77);
    TEST_ASSERT_TRIPS(flow_idx_read(NULL, &n, &rows, &cols, images_path()));
    TEST_ASSERT_TRIPS(flow_idx_read(&data, NULL, &rows, &cols, images_path()));
    TEST_ASSERT_TRIPS(flow_idx_read(&data, &n, NULL, &cols, images_path()));
    TEST_ASSERT_TRIPS(flow_idx_read(&data, &n, &rows, NULL, images_path()));
    TEST_ASSERT_TRIPS(flow_idx_read(&data, &n, &rows, &cols, NULL));
}

int main(void) {
    test_section("error codes");
    test_strerror();
    test_section("writing");
    test_dat_bytes();
    test_dat_replaces();
    test_dat_full_disk();
    test_dat_open_fails();
    test_dat_errors();
    test_dat_cannot_move();
    test_section("reading");
    test_points_read();
    test_points_read_refuses();
    test_points_read_three_columns();
    test_points_read_zero_bytes();
    test_points_read_long_lines();
    test_points_read_many();
    test_points_read_no_file();
    remove(table_path());
    test_section("safetensors: the file");
    test_tensors_bytes();
    test_tensors_round_trip();
    test_tensors_types();
    test_tensors_from_python();
    test_tensors_reads();
    test_tensors_refuses();
    test_tensors_columns();
    test_tensors_twice();
    test_tensors_crowded();
    test_tensors_huge();
    test_tensors_fuzz();
    test_tensors_all_or_nothing();
    test_tensors_save_fails();
    test_tensors_misuse();
    test_section("safetensors: models");
    test_net_tensors();
    test_net_file();
    test_chain_tensors();
    test_chain_file();
    test_chain_file_of_residuals();
    remove(model_path());
    test_section("images");
    test_idx();
    test_idx_refuses();
    test_idx_no_file();
    remove(images_path());
    return test_done();
}
