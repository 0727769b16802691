/* Attention over pages of keys and values, writing into these pages, the activation silu and norms, as calls that MLX makes.
 *
 * MLX's CPU backend runs its own operations alone, and composes attention of a dozen of them, exp at 12 ns a number. Its products
 * come to cblas_sgemm, though. So a product whose right matrix begins at a slot of a desk is a call: the slot says which, the left matrix is its
 * input, the result its output. MLX keeps its order among the others. (float32; AMD EPYC, one core.)
 *
 * Every sum has the order of the keys, page by page, whichever queries are computed together: a token gets the same bits alone, in a
 * batch, and in any chunk of a prompt. Softmax goes along with the pages (Milakov and Gimelshein 2018, arXiv:1805.02867). */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { WRITE = 1, ATTEND = 2, STEP = 3, SILU = 4, NORM = 5 };
enum { QUERIES = 16, MOST_KEYS = 256, WIDEST = 512, PIECES_OF_ATTENTION = 8, ATTENTION_PARALLEL_FROM = 1 << 21, LINES_PARALLEL_FROM = 1 << 17, SILU_LINE = 512 };

/* As calls.py has it. Pools are (heads, pages, page_tokens, dim), tables (rows, blocks); counts 0: one token a row; limit, window 0: none.
 * The input of WRITE are tokens for `keys`. That of STEP has for each row its queries, its new key of each head and its new values. NORM
 * has its weights for `keys` and its epsilon for `scale`. */
struct call {
    float *keys, *values;
    const uint32_t *table;
    const int32_t *starts, *counts;
    const float *sinks;
    int32_t kind, rows, heads, repeats, width, dim, out_dim, page_tokens, pages, blocks, limit, window;
    float scale;
};

static struct desk {
    const float *first;
    long slots;
    const struct call *calls;
    struct desk *next;
} *desks;
static pthread_rwlock_t desks_lock = PTHREAD_RWLOCK_INITIALIZER;

/* 0 if there is no memory for it. */
int pomona_open_desk(const float *first, long slots, const struct call *calls) {
    struct desk *desk = malloc(sizeof *desk);
    if (!desk) return 0;
    pthread_rwlock_wrlock(&desks_lock);
    *desk = (struct desk){.first = first, .slots = slots, .calls = calls, .next = desks};
    desks = desk;
    pthread_rwlock_unlock(&desks_lock);
    return 1;
}

void pomona_close_desk(const float *first) {
    pthread_rwlock_wrlock(&desks_lock);
    for (struct desk **at = &desks; *at; at = &(*at)->next)
        if ((*at)->first == first) {
            struct desk *closed = *at;
            *at = closed->next;
            free(closed);
            break;
        }
    pthread_rwlock_unlock(&desks_lock);
}

static int32_t first_block(const struct call *call, int32_t row) {
    int32_t seen = call->window ? call->starts[row] - (call->window - 1) : 0;
    return seen > 0 ? seen / call->page_tokens : 0;
}

/* tokens (rows, heads, width, dim), `stride` numbers from row to row, to their places in `pool`. */
static void write_pages(const struct call *call, float *pool, const float *tokens, int64_t stride) {
    for (int32_t row = 0; row < call->rows; row++) {
        int32_t first = first_block(call, row), count = call->counts ? call->counts[row] : 1;
        for (int32_t t = 0; t < count; t++) {
            int32_t position = call->starts[row] + t, block = position / call->page_tokens - first;
            if (block >= call->blocks) break;
            int64_t page = call->table[(int64_t)row * call->blocks + block];
            for (int64_t head = 0; head < call->heads; head++) {
                int64_t line = (head * call->pages + page) * call->page_tokens + position % call->page_tokens;
                memcpy(pool + line * call->dim, tokens + row * stride + (head * call->width + t) * call->dim, (size_t)call->dim * sizeof *tokens);
            }
        }
    }
}

INLINE vec all_of(float value) { return value - (vec){0}; }
INLINE vec choice(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }

typedef float four __attribute__((vector_size(16)));

INLINE float sum_over(vec v) {
    four sum = {0};
    UNROLLED for (int i = 0; i < BLOCK; i += 4) {
        four part;
        memcpy(&part, (const char *)&v + 4 * i, sizeof part);
        sum += part;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* e^x for x <= 0, within 2e-7 of it, 0 below -87: 2^n times the Taylor polynomial of 2^f, |f| <= 1/2. */
INLINE vec power_of_e(vec x) {
    ivec gone = x < -87.0f;
    vec t = choice(gone, all_of(-87.0f), x) * 1.44269504f;
    vec rounded = (t + 12582912.0f) - 12582912.0f;
    vec f = (t - rounded) * 0.69314718f;
    vec power = 1 + f * (1 + f * (0.5f + f * (0.16666667f + f * (0.041666668f + f * (0.008333334f + f * 0.0013888889f)))));
    ivec shifted = (__builtin_convertvector(rounded, ivec) + 127) << 23;
    return choice(gone, (vec){0}, power * (vec)shifted);
}

INLINE float lone_power_of_e(float x) { return power_of_e(all_of(x))[0]; }

/* Some queries of one row and key head: neighbours, and the heads that share its keys. */
struct tile {
    const float *query[QUERIES];
    float *out[QUERIES];
    int32_t position[QUERIES], lowest[QUERIES]; /* of the keys that each sees */
    float sink[QUERIES], top[QUERIES], total[QUERIES];
    float scores[QUERIES][MOST_KEYS] __attribute__((aligned(64)));
    float mixed[QUERIES][WIDEST] __attribute__((aligned(64)));
    int count;
};

/* scores(queries, keys) of up to 4 x 4. */
INLINE void score_few(struct tile *tile, int from, int queries, const float *keys, int first, int count, int dim, float scale) {
    vec sums[4][4] = {0};
    int d = 0;
    for (; d + BLOCK <= dim; d += BLOCK) {
        vec query[4];
        UNROLLED for (int i = 0; i < queries; i++) query[i] = *(const vec *)(tile->query[from + i] + d);
        UNROLLED for (int j = 0; j < count; j++) {
            vec key = *(const vec *)(keys + (long)(first + j) * dim + d);
            UNROLLED for (int i = 0; i < queries; i++) sums[i][j] += query[i] * key;
        }
    }
    UNROLLED for (int i = 0; i < queries; i++) UNROLLED for (int j = 0; j < count; j++) {
        float sum = sum_over(sums[i][j]);
        for (int rest = d; rest < dim; rest++) sum += tile->query[from + i][rest] * keys[(long)(first + j) * dim + rest];
        tile->scores[from + i][first + j] = scale * sum;
    }
}

/* The queries of a tile by four, and those that are left: what is read serves as many as there are registers for. */
#define BY_FOUR(count, FEW)          \
    int i = 0;                       \
    for (; i + 4 <= count; i += 4) { \
        FEW(4);                      \
    }                                \
    if (count - i == 3) {            \
        FEW(3);                      \
    } else if (count - i == 2) {     \
        FEW(2);                      \
    } else if (count - i == 1) {     \
        FEW(1);                      \
    }

static __attribute__((noinline)) void score(struct tile *tile, const float *keys, int count, int dim, float scale) {
#define SCORE(queries)                                                                                \
    int j = 0;                                                                                        \
    for (; j + 4 <= count; j += 4) score_few(tile, i, queries, keys, j, 4, dim, scale);               \
    for (; j < count; j++) score_few(tile, i, queries, keys, j, 1, dim, scale)
    BY_FOUR(tile->count, SCORE)
}

/* Scores of the page at `position` become weights beside the largest so far; what was mixed before is scaled to it. */
static void weigh(struct tile *tile, int i, int32_t position, int count, int out_dim) {
    float *scores = tile->scores[i], most = tile->top[i];
    int padded = (count + BLOCK - 1) / BLOCK * BLOCK;
    for (int j = 0; j < padded; j++) {
        int32_t key = position + j;
        if (j >= count || key > tile->position[i] || key < tile->lowest[i]) scores[j] = -INFINITY;
        most = scores[j] > most ? scores[j] : most;
    }
    if (most == -INFINITY) { /* nothing is seen yet */
        memset(scores, 0, (size_t)padded * sizeof *scores);
        return;
    }
    vec sums = {0};
    for (int j = 0; j < padded; j += BLOCK) {
        vec weights = power_of_e(*(vec *)(scores + j) - most);
        *(vec *)(scores + j) = weights;
        sums += weights;
    }
    float kept = lone_power_of_e(tile->top[i] - most);
    tile->total[i] = tile->total[i] * kept + sum_over(sums);
    tile->top[i] = most;
    if (kept != 1)
        for (int d = 0; d < out_dim; d++) tile->mixed[i][d] *= kept;
}

/* mixed += weights . values, for `queries` queries and `wide` registers of columns. */
INLINE void mix_few(struct tile *tile, int from, int queries, const float *values, int count, int out_dim, int d, int wide) {
    vec sums[4][4];
    UNROLLED for (int i = 0; i < queries; i++) UNROLLED for (int w = 0; w < wide; w++) sums[i][w] = *(vec *)(tile->mixed[from + i] + d + w * BLOCK);
    for (int j = 0; j < count; j++) {
        const float *value = values + (long)j * out_dim + d;
        UNROLLED for (int i = 0; i < queries; i++) {
            float weight = tile->scores[from + i][j];
            UNROLLED for (int w = 0; w < wide; w++) sums[i][w] += weight * *(const vec *)(value + w * BLOCK);
        }
    }
    UNROLLED for (int i = 0; i < queries; i++) UNROLLED for (int w = 0; w < wide; w++) *(vec *)(tile->mixed[from + i] + d + w * BLOCK) = sums[i][w];
}

static __attribute__((noinline)) void mix(struct tile *tile, const float *values, int count, int out_dim) {
    int d = 0;
#define MIX(wide)                                            \
    for (; d + wide * BLOCK <= out_dim; d += wide * BLOCK) { \
        BY_FOUR(tile->count, MIX_##wide)                     \
    }
#define MIX_4(queries) mix_few(tile, i, queries, values, count, out_dim, d, 4)
#define MIX_1(queries) mix_few(tile, i, queries, values, count, out_dim, d, 1)
    MIX(4)
    MIX(1)
    for (; d < out_dim; d++)
        for (int i = 0; i < tile->count; i++)
            for (int j = 0; j < count; j++) tile->mixed[i][d] += tile->scores[i][j] * values[(long)j * out_dim + d];
}

static void finish_tile(struct tile *tile, int out_dim) {
    for (int i = 0; i < tile->count; i++) {
        float most = tile->sink[i] > tile->top[i] ? tile->sink[i] : tile->top[i];
        float kept = most == -INFINITY ? 0 : lone_power_of_e(tile->top[i] - most);
        float total = tile->total[i] * kept + (tile->sink[i] == -INFINITY ? 0 : lone_power_of_e(tile->sink[i] - most));
        for (int d = 0; d < out_dim; d++) tile->out[i][d] = total > 0 ? tile->mixed[i][d] * kept / total : 0;
    }
}

static void attend_tile(const struct call *call, const uint32_t *table, int32_t first, int32_t head, struct tile *tile) {
    int32_t size = call->page_tokens, low = tile->lowest[0], high = tile->position[tile->count - 1];
    for (int i = 0; i < tile->count; i++) {
        tile->top[i] = -INFINITY, tile->total[i] = 0;
        memset(tile->mixed[i], 0, (size_t)call->out_dim * sizeof(float));
    }
    for (int32_t block = low / size > first ? low / size : first; block <= high / size && block - first < call->blocks; block++) {
        int64_t line = ((int64_t)head * call->pages + table[block - first]) * size;
        int count = high + 1 - block * size < size ? high + 1 - block * size : size;
        score(tile, call->keys + line * call->dim, count, call->dim, call->scale);
        for (int i = 0; i < tile->count; i++) weigh(tile, i, block * size, count, call->out_dim);
        mix(tile, call->values + line * call->out_dim, count, call->out_dim);
    }
    finish_tile(tile, call->out_dim);
}

struct attention {
    const struct call *call;
    const float *queries;
    float *out;
    int64_t lines; /* of width tokens, from row to row */
    int pieces;
};

static long tiles_of(const struct call *call) { return ((long)call->width * call->repeats + QUERIES - 1) / QUERIES; }

static void attend_piece(void *job, int piece) {
    const struct attention *whole = job;
    const struct call *call = whole->call;
    struct tile tile;
    long each = tiles_of(call), all = each * call->rows * call->heads;
    for (long at = all * piece / whole->pieces; at < all * (piece + 1) / whole->pieces; at++) {
        int32_t row = (int32_t)(at / each / call->heads), head = (int32_t)(at / each % call->heads);
        int32_t real = call->counts ? call->counts[row] : 1, start = call->starts[row];
        int64_t line = (row * whole->lines + (int64_t)head * call->repeats) * call->width, last = (int64_t)call->width * call->repeats;
        tile.count = 0;
        for (int64_t i = at % each * QUERIES; i < last && i < (at % each + 1) * QUERIES; i++) { /* by token, then by head */
            int32_t t = (int32_t)(i / call->repeats), repeat = (int32_t)(i % call->repeats);
            int64_t place = line + (int64_t)repeat * call->width + t;
            if (t >= real) { /* padding */
                memset(whole->out + place * call->out_dim, 0, (size_t)call->out_dim * sizeof(float));
                continue;
            }
            int n = tile.count++;
            tile.query[n] = whole->queries + place * call->dim, tile.out[n] = whole->out + place * call->out_dim;
            tile.position[n] = start + t;
            tile.lowest[n] = call->limit && start + t >= call->limit ? start + t - call->limit + 1 : 0;
            tile.sink[n] = call->sinks ? call->sinks[head * call->repeats + repeat] : -INFINITY;
        }
        if (tile.count) attend_tile(call, call->table + (int64_t)row * call->blocks, first_block(call, row), head, &tile);
    }
}

static void attend_all(const struct call *call, const float *queries, float *out, int64_t lines, int threads) {
    struct attention whole = {.call = call, .queries = queries, .out = out, .lines = lines, .pieces = 1};
    double products = 0;
    for (int32_t row = 0; row < call->rows; row++) products += (double)call->starts[row] + call->width;
    products *= (double)call->heads * call->repeats * call->width * call->dim;
    long all = tiles_of(call) * call->rows * call->heads;
    if (threads > 1 && products >= ATTENTION_PARALLEL_FROM)
        whole.pieces = all < threads * PIECES_OF_ATTENTION ? (int)all : threads * PIECES_OF_ATTENTION;
    work_together(attend_piece, &whole, whole.pieces, threads);
}

/* x / (1 + e^-x), so computed that nothing overflows. */
INLINE vec silu_of(vec x) {
    ivec negative = x < 0.0f;
    vec power = power_of_e(choice(negative, x, -x));
    return x * choice(negative, power, all_of(1)) / (1 + power);
}

/* `total` numbers in lines of `dim`, each computed alone; the last may be shorter. */
struct lines {
    void (*compute)(const struct call *call, const float *x, float *out, long dim);
    const struct call *call;
    const float *x;
    float *out;
    long total, dim;
    int pieces;
};

static void silu_line(const struct call *call, const float *x, float *out, long dim) {
    (void)call;
    long d = 0;
    for (; d + BLOCK <= dim; d += BLOCK) *(vec *)(out + d) = silu_of(*(const vec *)(x + d));
    if (d < dim) {
        vec rest = {0};
        memcpy(&rest, x + d, (size_t)(dim - d) * sizeof *x);
        rest = silu_of(rest);
        memcpy(out + d, &rest, (size_t)(dim - d) * sizeof *x);
    }
}

/* x times its weights, divided by the root of its mean square. */
static void norm_line(const struct call *call, const float *x, float *out, long dim) {
    vec sums = {0};
    float rest = 0;
    long d = 0;
    for (; d + BLOCK <= dim; d += BLOCK) sums += *(const vec *)(x + d) * *(const vec *)(x + d);
    for (; d < dim; d++) rest += x[d] * x[d];
    float share = 1 / sqrtf((sum_over(sums) + rest) / (float)dim + call->scale);
    for (d = 0; d < dim; d++) out[d] = x[d] * share * call->keys[d];
}

static void lines_piece(void *job, int piece) {
    const struct lines *all = job;
    long lines = (all->total + all->dim - 1) / all->dim;
    for (long line = lines * piece / all->pieces; line < lines * (piece + 1) / all->pieces; line++) {
        long at = line * all->dim, left = all->total - at;
        all->compute(all->call, all->x + at, all->out + at, left < all->dim ? left : all->dim);
    }
}

static void by_line(struct lines all, int threads) {
    all.pieces = all.total < LINES_PARALLEL_FROM ? 1 : threads;
    work_together(lines_piece, &all, all.pieces, threads);
}

/* Whether the product of a(m, k) is a call, which then is done. */
static int is_call(const float *b, const float *a, float *c, int m, int k, int threads) {
    const struct call *call = 0;
    pthread_rwlock_rdlock(&desks_lock);
    for (const struct desk *desk = desks; desk; desk = desk->next)
        if (b >= desk->first && b < desk->first + desk->slots) call = desk->calls + (b - desk->first);
    pthread_rwlock_unlock(&desks_lock);
    if (!call) return 0;
    int64_t heads = call->heads, own = heads * call->repeats, lines = own + 2 * heads, dim = call->dim;
    switch (call->kind) {
    case WRITE: write_pages(call, call->keys, a, heads * call->width * dim); break;
    case ATTEND: attend_all(call, a, c, own, threads); break;
    case SILU: by_line((struct lines){.compute = silu_line, .x = a, .out = c, .total = (long)m * k, .dim = SILU_LINE}, threads); break;
    case NORM: by_line((struct lines){.compute = norm_line, .call = call, .x = a, .out = c, .total = (long)m * k, .dim = dim}, threads); break;
    case STEP:
        write_pages(call, call->keys, a + own * dim, lines * dim);
        write_pages(call, call->values, a + (own + heads) * dim, lines * dim);
        attend_all(call, a, c, lines, threads);
    }
    return 1;
}
