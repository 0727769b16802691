/* cblas_sgemm for MLX's CPU backend, in front of an optimised BLAS. Compiled once per machine by blas.py.
 *
 * Products of up to MOST_ROWS rows are bound by reading the weights. Libraries copy ("pack") the weights before they multiply: 3.0 ms
 * for 1 x 2048 x 2048 where reading takes 0.28 ms (one AMD EPYC core, OpenBLAS 0.3.34). So these few rows are done here, reading the
 * weights in place once; everything larger goes to the library. Calls in the form of products are those of attention.c. */
#include <string.h>

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
enum { ROWS = 4, MOST_ROWS = 16, PARALLEL_FROM = 1 << 22 };
#if defined(__AVX512F__)
enum { LANES = 16, COLUMNS = 4 };
#elif defined(__AVX__)
enum { LANES = 8, COLUMNS = 2 };
#else
enum { LANES = 4, COLUMNS = 4 };
#endif
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef float quad __attribute__((vector_size(4 * sizeof(float))));

typedef void (*gemm_function)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
static gemm_function library_gemm;
static int threads = 1;

void pomona_bind(void *gemm, int thread_count) {
    library_gemm = (gemm_function)gemm;
    threads = thread_count;
}

static inline __attribute__((always_inline)) float total(lanes v) {
    quad sum = {0};
    for (int lane = 0; lane < LANES; lane += 4) {
        quad part;
        memcpy(&part, (const float *)&v + lane, sizeof part);
        sum += part;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* c(rows, columns) = alpha * a . transposed(b) + beta * c, with all sums in registers. */
static inline __attribute__((always_inline)) void tile(int rows, int columns, int k, float alpha, const float *a, long lda,
                                                       const float *b, long ldb, float beta, float *c, long ldc) {
    lanes sums[ROWS][COLUMNS] = {0};
    int p = 0;
    for (; p + LANES <= k; p += LANES) {
        lanes left[ROWS];
        for (int i = 0; i < rows; i++) left[i] = *(const lanes *)(a + i * lda + p);
        for (int j = 0; j < columns; j++) {
            lanes right = *(const lanes *)(b + j * ldb + p);
            for (int i = 0; i < rows; i++) sums[i][j] += left[i] * right;
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            float sum = total(sums[i][j]);
            for (int q = p; q < k; q++) sum += a[i * lda + q] * b[j * ldb + q];
            float *out = c + i * ldc + j;
            *out = alpha * sum + (beta == 0 ? 0 : beta * *out);
        }
}

static inline __attribute__((always_inline)) void strip(int columns, int m, int k, float alpha, const float *a, long lda,
                                                        const float *b, long ldb, float beta, float *c, long ldc) {
    int i = 0;
    for (; i + ROWS <= m; i += ROWS) tile(ROWS, columns, k, alpha, a + i * lda, lda, b, ldb, beta, c + i * ldc, ldc);
    a += i * lda, c += i * ldc;
    if (m - i == 3) tile(3, columns, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (m - i == 2) tile(2, columns, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (m - i == 1) tile(1, columns, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

static void few_rows(int m, int n, int k, float alpha, const float *a, long lda, const float *b, long ldb, float beta, float *c,
                     long ldc) {
    int strips = n / COLUMNS;
#pragma omp parallel for num_threads(threads) if ((long)n * k >= PARALLEL_FROM)
    for (int s = 0; s < strips; s++)
        strip(COLUMNS, m, k, alpha, a, lda, b + (long)s * COLUMNS * ldb, ldb, beta, c + s * COLUMNS, ldc);
    for (int j = strips * COLUMNS; j < n; j++) strip(1, m, k, alpha, a, lda, b + j * ldb, ldb, beta, c + j, ldc);
}

/* c(1, n) = alpha * a . b + beta * c for a b whose rows are contiguous, such as the values of an attention. */
static void one_row(int n, int k, float alpha, const float *a, const float *b, long ldb, float beta, float *c) {
    int j = 0;
    for (; j + COLUMNS * LANES <= n; j += COLUMNS * LANES) {
        lanes sums[COLUMNS] = {0};
        for (int p = 0; p < k; p++)
            for (int q = 0; q < COLUMNS; q++) sums[q] += a[p] * *(const lanes *)(b + p * ldb + j + q * LANES);
        for (int q = 0; q < COLUMNS; q++) {
            lanes *out = (lanes *)(c + j + q * LANES);
            *out = beta == 0 ? alpha * sums[q] : alpha * sums[q] + beta * *out;
        }
    }
    for (; j < n; j++) {
        float sum = 0;
        for (int p = 0; p < k; p++) sum += a[p] * b[p * ldb + j];
        c[j] = alpha * sum + (beta == 0 ? 0 : beta * c[j]);
    }
}

void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                 int ldb, float beta, float *c, int ldc) {
    if (is_call(b, a, c, m, k, threads)) return;
    int ours = order == ROW_MAJOR && trans_a == NO_TRANS;
    if (ours && trans_b == TRANS && m <= MOST_PACKED_ROWS && packed_product(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, threads)) return;
    if (ours && trans_b == TRANS && m <= MOST_ROWS)
        few_rows(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    else if (ours && trans_b == NO_TRANS && m == 1)
        one_row(n, k, alpha, a, b, ldb, beta, c);
    else
        library_gemm(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
