/* 13_files.c - tests of section 13 of flow.h: data files for gnuplot, tables of points; and the
 * words of the error codes. */
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

/* Does the file hold just this text? */
static int file_holds(const char *path, const char *text) {
    char held[1000];
    FILE *file = fopen(path, "rb");
    size_t length;
    if (!file) return 0;
    length = fread(held, 1, sizeof held, file);
    fclose(file);
    return length == strlen(text) && memcmp(held, text, length) == 0;
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
    for (a = FLOW_E_NUMBER; a <= FLOW_OK; a++) {
        TEST(flow_strerror(a) != NULL && strlen(flow_strerror(a)) > 5);
        TEST(strcmp(flow_strerror(a), flow_strerror(-1000)) != 0);
        for (b = FLOW_E_NUMBER; b < a; b++) TEST(strcmp(flow_strerror(a), flow_strerror(b)) != 0);
    }
    TEST(flow_strerror(1) != NULL && flow_strerror(FLOW_E_NUMBER - 1) != NULL);
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
        {"\xEF\xBB\xBF"
         "1 2\n",
         FLOW_E_NUMBER, 1}, /* a byte order mark */
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
    return test_done();
}
