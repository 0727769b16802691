/* Products of rows with weights that are kept packed beside their float32 form.
 *
 * Generating reads every weight once a step, so a step lasts as long as reading takes: 8-bit weights are a quarter of the bytes of
 * float32. A weight is expanded in registers to exactly the float32 number that the packed one stands for (this is checked when it is
 * packed). Layout: blocks of BLOCK columns (outputs); in a block, for each k, the BLOCK weights side by side. Every output is the sum over
 * k in order, one multiply-add each, whatever the number of rows: a row gets the same bits alone and among others. */
#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* BLOCK: lanes of a register. WIDE and PAIR: blocks at a time for one row and for more; ROW_TILE and DIRECT_ROWS: rows at a time, of expanded
 * weights and of those that are expanded on the way: what the registers hold. MOST_PACKED_ROWS: more are quicker in the library. */
enum { PIECES_PER_THREAD = 4, PACKED_PARALLEL_FROM = 1 << 22, WIDE = 4, PAIR = 2 };
#if defined(__AVX512F__)
enum { BLOCK = 16, ROW_TILE = 8, DIRECT_ROWS = 8, MOST_PACKED_ROWS = 512 };
#elif defined(__AVX2__)
enum { BLOCK = 8, ROW_TILE = 6, DIRECT_ROWS = 4, MOST_PACKED_ROWS = 16 };
#else
enum { BLOCK = 4, ROW_TILE = 8, DIRECT_ROWS = 8, MOST_PACKED_ROWS = 16 };
#endif
typedef float vec __attribute__((vector_size(BLOCK * 4), aligned(4), may_alias));
typedef int ivec __attribute__((vector_size(BLOCK * 4)));
enum kind { BYTES, NIBBLES, BFLOATS };

struct packed {
    const float *plain;
    long n, k, blocks; /* blocks: what n needs, and then as many as are multiplied together */
    int kind, group;
    long block_bytes, groups;
    unsigned char *data;
    float *scales; /* (blocks, groups, 2, BLOCK): scales, then biases */
};

static struct {
    struct packed **items; /* by address of the plain weights */
    _Atomic int count;     /* read without the lock, to see that there are any */
    int room;
    pthread_rwlock_t lock;
} packs = {.lock = PTHREAD_RWLOCK_INITIALIZER};

#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 8") /* so that sums stay in registers */

/* Numbers without sign, widened. Compilers make moves of single bytes of __builtin_convertvector from 8 to 32 bits, hence the intrinsics. */
INLINE ivec wide_bytes(const unsigned char *at) {
#if defined(__AVX512F__)
    return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at));
#elif defined(__AVX2__)
    return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at));
#elif defined(__ARM_NEON)
    unsigned four;
    memcpy(&four, at, sizeof four);
    return (ivec)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
#else
    return (ivec){at[0], at[1], at[2], at[3]};
#endif
}

INLINE ivec wide_halves(const unsigned char *at) {
#if defined(__AVX512F__)
    return (ivec)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
#elif defined(__AVX2__)
    return (ivec)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)at));
#else
    unsigned short half[BLOCK];
    memcpy(half, at, sizeof half);
    return (ivec){half[0], half[1], half[2], half[3]};
#endif
}

/* The weights of a block at its k-th place, where `at` is its first. */
INLINE vec expand(int kind, const unsigned char *at, long k, vec scale, vec bias) {
    if (kind == BFLOATS) return (vec)(wide_halves(at + k * BLOCK * 2) << 16);
    ivec steps = wide_bytes(at + (kind == BYTES ? k : k / 2) * BLOCK);
    if (kind == NIBBLES) steps = k & 1 ? steps >> 4 : steps & 15;
    return __builtin_convertvector(steps, vec) * scale + bias;
}

/* c = alpha * sums + beta * c, where `left` columns are asked for. Not inline: there are dozens of tiles, and they would take long to compile. */
static __attribute__((noinline)) void finish(int rows, int blocks, const vec *sums, float alpha, float beta, float *c, long ldc, long left) {
    for (int r = 0; r < rows; r++)
        for (int b = 0; b < blocks; b++) {
            float *out = c + r * ldc + b * BLOCK;
            vec sum = alpha * sums[r * blocks + b];
            if (left >= (b + 1) * BLOCK) {
                if (beta != 0) sum += beta * *(vec *)out;
                *(vec *)out = sum;
            } else {
                float edge[BLOCK];
                memcpy(edge, &sum, sizeof edge);
                for (int j = 0; j < left - b * BLOCK; j++) out[j] = beta == 0 ? edge[j] : edge[j] + beta * out[j];
            }
        }
}

#define FINISH(rows, blocks)                                                                                                                 \
    vec done[ROW_TILE * WIDE];                                                                                                               \
    UNROLLED for (int r = 0; r < rows; r++) UNROLLED for (int b = 0; b < blocks; b++) done[r * blocks + b] = sums[r][b];                     \
    finish(rows, blocks, done, alpha, beta, c, ldc, left)

/* Few rows: each weight is expanded in a register, used for all rows and forgotten. */
INLINE void direct(int kind, int rows, int blocks, const struct packed *w, long block, float alpha, const float *a, long lda, float beta,
                   float *c, long ldc, long left) {
    vec sums[ROW_TILE][WIDE] = {0};
    const unsigned char *data = w->data + block * w->block_bytes;
    const float *scales = w->scales + block * w->groups * 2 * BLOCK;
    for (long g = 0; g < w->groups; g++) {
        vec scale[WIDE], bias[WIDE];
        UNROLLED for (int b = 0; b < blocks && kind != BFLOATS; b++) {
            scale[b] = *(const vec *)(scales + (b * w->groups + g) * 2 * BLOCK);
            bias[b] = *(const vec *)(scales + (b * w->groups + g) * 2 * BLOCK + BLOCK);
        }
        for (long k = g * w->group; k < (g + 1) * w->group; k += 2) {
            long place = (kind == NIBBLES ? k / 2 : kind == BYTES ? k : 2 * k) * BLOCK;
            UNROLLED for (int odd = 0; odd < 2; odd++)
                UNROLLED for (int b = 0; b < blocks; b++) {
                    vec weight = expand(kind, data + b * w->block_bytes + place, odd, scale[b], bias[b]);
                    UNROLLED for (int r = 0; r < rows; r++) sums[r][b] += a[r * lda + k + odd] * weight;
                }
        }
    }
    FINISH(rows, blocks);
}

/* out (k, PAIR, BLOCK): two blocks of weights as float32. */
INLINE void expand_pair(int kind, const struct packed *w, long block, float *out) {
    for (int b = 0; b < PAIR; b++) {
        const unsigned char *data = w->data + (block + b) * w->block_bytes;
        const float *scales = w->scales + (block + b) * w->groups * 2 * BLOCK;
        for (long g = 0; g < w->groups; g++) {
            vec scale = {0}, bias = {0};
            if (kind != BFLOATS) scale = *(const vec *)(scales + g * 2 * BLOCK), bias = *(const vec *)(scales + g * 2 * BLOCK + BLOCK);
            for (long k = g * w->group; k < (g + 1) * w->group; k++) *(vec *)(out + (k * PAIR + b) * BLOCK) = expand(kind, data, k, scale, bias);
        }
    }
}

/* c(rows, PAIR * BLOCK) of expanded weights. */
INLINE void tile_of(int rows, long k, const float *weights, float alpha, const float *a, long lda, float beta, float *c, long ldc, long left) {
    vec sums[ROW_TILE][WIDE] = {0};
    for (long p = 0; p < k; p++)
        UNROLLED for (int b = 0; b < PAIR; b++) {
            vec weight = *(const vec *)(weights + (p * PAIR + b) * BLOCK);
            UNROLLED for (int r = 0; r < rows; r++) sums[r][b] += a[r * lda + p] * weight;
        }
    FINISH(rows, PAIR);
}

struct product {
    const struct packed *w;
    long block, units; /* the columns that are asked for: from this block on, `units` times `width` blocks */
    int rows, pieces, width;
    long n, lda, ldc;
    float alpha, beta;
    const float *a;
    float *c;
};

#define FOR_ROWS(rows, call)                                                                                                                 \
    switch (rows) {                                                                                                                          \
    case 1: call(1); break;                                                                                                                  \
    case 2: call(2); break;                                                                                                                  \
    case 3: call(3); break;                                                                                                                  \
    case 4: call(4); break;                                                                                                                  \
    case 5: call(5); break;                                                                                                                  \
    case 6: call(6); break;                                                                                                                  \
    case 7: call(7); break;                                                                                                                  \
    case 8: call(8); break;                                                                                                                  \
    }

INLINE void few(int kind, const struct product *p, long first, long last) {
#define FEW(rows, blocks)                                                                                                                    \
    direct(kind, rows, blocks, p->w, p->block + at, p->alpha, p->a, p->lda, p->beta, p->c + at * BLOCK, p->ldc, p->n - at * BLOCK)
#define FEW_PAIR(rows)                                                                                                                       \
    if (rows <= DIRECT_ROWS) FEW((rows <= DIRECT_ROWS ? rows : 1), PAIR)
    if (p->rows == 1)
        for (long at = first; at < last; at += WIDE) FEW(1, WIDE);
    else
        for (long at = first; at < last; at += PAIR) FOR_ROWS(p->rows, FEW_PAIR)
}

static float *scratch(long floats) {
    static __thread float *held;
    static __thread long size;
    if (size < floats) {
        free(held);
        held = aligned_alloc(64, ((size_t)floats * sizeof(float) + 63) / 64 * 64);
        size = held ? floats : 0;
    }
    return held;
}

static __attribute__((noinline)) void tiles(const struct product *p, const float *weights, long at) {
    for (int r = 0; r < p->rows; r += ROW_TILE) {
        const float *a = p->a + r * p->lda;
        float *c = p->c + r * p->ldc + at * BLOCK;
#define TILE(rows)                                                                                                                           \
    if (rows <= ROW_TILE) tile_of(rows <= ROW_TILE ? rows : 1, p->w->k, weights, p->alpha, a, p->lda, p->beta, c, p->ldc, p->n - at * BLOCK)
        FOR_ROWS((p->rows - r < ROW_TILE ? p->rows - r : ROW_TILE), TILE)
    }
}

INLINE void many(int kind, const struct product *p, long first, long last) {
    float *weights = scratch(p->w->k * PAIR * BLOCK);
    for (long at = first; at < last; at += PAIR) {
        expand_pair(kind, p->w, p->block + at, weights);
        tiles(p, weights, at);
    }
}

static void product_piece(void *job, int piece) {
    const struct product *p = job;
    long first = p->units * piece / p->pieces * p->width, last = p->units * (piece + 1) / p->pieces * p->width;
    if (p->rows <= DIRECT_ROWS) {
        if (p->w->kind == BYTES) few(BYTES, p, first, last);
        else if (p->w->kind == NIBBLES) few(NIBBLES, p, first, last);
        else few(BFLOATS, p, first, last);
    } else {
        if (p->w->kind == BYTES) many(BYTES, p, first, last);
        else if (p->w->kind == NIBBLES) many(NIBBLES, p, first, last);
        else many(BFLOATS, p, first, last);
    }
}

/* The packed form of weights that start at or before `b`; their index if there is none. */
static int place_of(const float *b) {
    int low = 0, high = packs.count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (packs.items[middle]->plain <= b) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* c(m, n) = alpha * a . transposed(b) + beta * c from packed weights; 0 if there are none for `b`. */
static int packed_product(int m, int n, int k, float alpha, const float *a, long lda, const float *b, long ldb, float beta, float *c, long ldc,
                          int threads) {
    if (!packs.count) return 0;
    pthread_rwlock_rdlock(&packs.lock);
    int place = place_of(b), done = 0;
    if (place) {
        const struct packed *w = packs.items[place - 1];
        long offset = b - w->plain, column = offset / w->k;
        if (k == w->k && ldb == k && offset % k == 0 && column % (WIDE * BLOCK) == 0 && column + n <= w->n) {
            struct product p = {.w = w, .block = column / BLOCK, .rows = m, .n = n, .lda = lda, .ldc = ldc, .alpha = alpha, .beta = beta};
            p.a = a, p.c = c, p.width = m == 1 ? WIDE : PAIR;
            p.units = (n + p.width * BLOCK - 1) / (p.width * BLOCK);
            if ((long)n * k * (m + 3) < PACKED_PARALLEL_FROM) threads = 1;
            p.pieces = threads == 1 ? 1 : p.units < threads * PIECES_PER_THREAD ? (int)p.units : threads * PIECES_PER_THREAD;
            work_together(product_piece, &p, p.pieces, threads);
            done = 1;
        }
    }
    pthread_rwlock_unlock(&packs.lock);
    return done;
}

static void free_packed(struct packed *w) {
    if (w) free(w->data), free(w->scales), free(w);
}

/* Whether every expanded weight has the bits of the plain one. */
static int is_exact(const struct packed *w) {
    for (long block = 0; block * BLOCK < w->n; block++)
        for (long k = 0; k < w->k; k++) {
            const unsigned char *data = w->data + block * w->block_bytes;
            const float *scales = w->scales + (block * w->groups + k / w->group) * 2 * BLOCK;
            vec weight = w->kind == BYTES     ? expand(BYTES, data, k, *(const vec *)scales, *(const vec *)(scales + BLOCK))
                         : w->kind == NIBBLES ? expand(NIBBLES, data, k, *(const vec *)scales, *(const vec *)(scales + BLOCK))
                                              : expand(BFLOATS, data, k, (vec){0}, (vec){0});
            for (int j = 0; j < BLOCK && block * BLOCK + j < w->n; j++) {
                float value = weight[j];
                if (memcmp(&value, w->plain + (block * BLOCK + j) * w->k + k, sizeof value)) return 0;
            }
        }
    return 1;
}

static struct packed *new_packed(const float *plain, long n, long k, int kind, long group) {
    struct packed *w = calloc(1, sizeof *w);
    if (!w) return 0;
    long blocks = w->blocks = (n + WIDE * BLOCK - 1) / (WIDE * BLOCK) * WIDE;
    w->plain = plain, w->n = n, w->k = k, w->kind = kind, w->group = (int)group, w->groups = k / group;
    w->block_bytes = (kind == BYTES ? k : kind == NIBBLES ? k / 2 : 2 * k) * BLOCK;
    size_t data_bytes = (size_t)(blocks * w->block_bytes), scale_bytes = (size_t)(blocks * w->groups) * 2 * BLOCK * sizeof(float);
    w->data = aligned_alloc(64, (data_bytes + 63) / 64 * 64);
    w->scales = kind == BFLOATS ? 0 : aligned_alloc(64, scale_bytes);
    if (!w->data || (kind != BFLOATS && !w->scales)) {
        free_packed(w);
        return 0;
    }
    memset(w->data, 0, data_bytes);
    if (w->scales) memset(w->scales, 0, scale_bytes);
    return w;
}

static long keep(struct packed *w) {
    if (!w || !is_exact(w)) {
        free_packed(w);
        return 0;
    }
    pthread_rwlock_wrlock(&packs.lock);
    if (packs.count == packs.room) {
        int room = packs.room ? 2 * packs.room : 64;
        struct packed **items = realloc(packs.items, (size_t)room * sizeof *items);
        if (!items) {
            pthread_rwlock_unlock(&packs.lock);
            free_packed(w);
            return 0;
        }
        packs.items = items, packs.room = room;
    }
    int place = place_of(w->plain);
    memmove(packs.items + place + 1, packs.items + place, (size_t)(packs.count - place) * sizeof *packs.items);
    packs.items[place] = w;
    packs.count++;
    pthread_rwlock_unlock(&packs.lock);
    return w->blocks * w->block_bytes + (w->scales ? w->blocks * w->groups * 2 * BLOCK * (long)sizeof(float) : 0);
}

/* Pack weights plain(n, k) of which `words`, `scales` and `biases` are the form with `bits` (1 to 8) and groups that MLX stores: a row is a
 * stream of bits, lowest first. Returns the bytes that it takes, 0 where the plain weights are not exactly what the packed ones say. `plain`
 * must stay as it is until pomona_unpack. */
long pomona_pack(const float *plain, long n, long k, int bits, int group, const unsigned char *words, const float *scales, const float *biases) {
    if (bits < 1 || bits > 8 || group < 2 || group % 2 || k % group) return 0;
    struct packed *w = new_packed(plain, n, k, bits <= 4 ? NIBBLES : BYTES, group);
    if (!w) return 0;
    for (long column = 0; column < n; column++) {
        long block = column / BLOCK, lane = column % BLOCK;
        unsigned char *data = w->data + block * w->block_bytes;
        const unsigned char *row = words + column * (k * bits / 8);
        for (long i = 0; i < k; i++) {
            long bit = i * bits;
            unsigned value = row[bit / 8] >> bit % 8;
            if (bit % 8 + bits > 8) value |= (unsigned)row[bit / 8 + 1] << (8 - bit % 8);
            value &= (1u << bits) - 1;
            if (w->kind == BYTES) data[i * BLOCK + lane] = (unsigned char)value;
            else data[i / 2 * BLOCK + lane] |= (unsigned char)(value << 4 * (i % 2));
        }
        for (long g = 0; g < w->groups; g++) {
            float *to = w->scales + (block * w->groups + g) * 2 * BLOCK + lane;
            to[0] = scales[column * w->groups + g], to[BLOCK] = biases[column * w->groups + g];
        }
    }
    return keep(w);
}

/* The same for weights that are bfloat16 numbers, whatever they were made of. */
long pomona_pack_halves(const float *plain, long n, long k) {
    if (k < 2 || k % 2) return 0;
    struct packed *w = new_packed(plain, n, k, BFLOATS, k);
    if (!w) return 0;
    for (long column = 0; column < n; column++)
        for (long i = 0; i < k; i++) {
            unsigned bits;
            memcpy(&bits, plain + column * k + i, sizeof bits);
            unsigned short half = (unsigned short)(bits >> 16);
            memcpy(w->data + column / BLOCK * w->block_bytes + (i * BLOCK + column % BLOCK) * 2, &half, sizeof half);
        }
    return keep(w);
}

/* Forget the packed form of `plain`; products that run are waited for. */
void pomona_unpack(const float *plain) {
    pthread_rwlock_wrlock(&packs.lock);
    int place = place_of(plain);
    if (place && packs.items[place - 1]->plain == plain) {
        free_packed(packs.items[place - 1]);
        packs.count--;
        memmove(packs.items + place - 1, packs.items + place, (size_t)(packs.count - place + 1) * sizeof *packs.items);
    }
    pthread_rwlock_unlock(&packs.lock);
}

/* The most rows that are multiplied by packed weights on this processor. */
int pomona_packed_rows(void) { return MOST_PACKED_ROWS; }
