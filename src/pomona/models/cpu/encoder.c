/* What encoders compute between their matrix products, on all cores and with vectors. Compiled once per machine by compiling.py.
 *
 * MLX's CPU back end computes exp and erf one number at a time on one core: the gelu of 1024 x 1536 numbers takes it 41 ms, twice as long
 * as all matrix products of the layer (two cores of an AMD EPYC), and 0.5 ms here. Everything works in place. */
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { ROWS = 4, WIDE = 2 * LANES };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int whole __attribute__((vector_size(LANES * sizeof(int)), aligned(sizeof(int)), may_alias));

static int threads = 1;

void pomona_encoder_threads(int count) { threads = count; }

static inline lanes load(const float *from) { return *(const lanes *)from; }
static inline void store(float *to, lanes value) { *(lanes *)to = value; }
static inline lanes all(float value) { return value - (lanes){0}; }
static inline lanes either(whole mask, lanes yes, lanes no) { return (lanes)(((whole)yes & mask) | ((whole)no & ~mask)); }

static inline float sum_of(lanes v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

static inline float most_of(lanes v) {
    float most = v[0];
    for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
    return most;
}

/* e^x for x <= 0, within 2e-7 of it: 2^n times the Taylor polynomial of 2^f, |f| <= 1/2. Below -87 as at -87. */
static inline lanes exponential(lanes x) {
    lanes t = either(x < -87.0f, all(-87.0f), x) * 1.44269504f;
    lanes rounded = (t + 12582912.0f) - 12582912.0f;
    lanes f = (t - rounded) * 0.69314718f;
    lanes power = 1 + f * (1 + f * (0.5f + f * (0.16666667f + f * (0.041666668f + f * (0.008333334f + f * 0.0013888889f)))));
    whole shifted = (__builtin_convertvector(rounded, whole) + 127) << 23;
    return power * (lanes)shifted;
}

/* x times the normal distribution's share below x. 1 - erf(z) = 1 / (1 + a1 z + ... + a6 z^6)^16 within 3e-7 (Abramowitz and Stegun
 * 7.1.28), and the half of it is exact for the side where it is small. */
static inline lanes gelu_of(lanes x) {
    whole negative = x < 0.0f;
    lanes z = either(negative, -x, x) * 0.70710678f;
    lanes p = 1 + z * (0.0705230784f + z * (0.0422820123f + z * (0.0092705272f + z * (0.0001520143f + z * (0.0002765672f + z * 0.0000430638f)))));
    p *= p, p *= p, p *= p, p *= p;
    lanes tail = 0.5f * x / p;
    return either(negative, tail, x - tail);
}

static inline lanes load_some(const float *from, int count) {
    lanes value = {0};
    memcpy(&value, from, (size_t)count * sizeof(float));
    return value;
}

static inline void gelu_run(float *x, const float *gate, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes value = gelu_of(load(x + i));
        if (gate) value *= load(gate + i);
        store(x + i, value);
    }
    if (i < count) {
        lanes rest = gelu_of(load_some(x + i, count - i));
        if (gate) rest *= load_some(gate + i, count - i);
        memcpy(x + i, &rest, (size_t)(count - i) * sizeof(float));
    }
}

/* x (tokens, width) becomes gelu(x). */
void pomona_gelu(float *x, long tokens, int width) {
#pragma omp parallel for num_threads(threads) if (tokens > 8)
    for (long t = 0; t < tokens; t++) gelu_run(x + t * width, NULL, width);
}

/* The first half of each row of x (tokens, 2 width) becomes gelu(first half) * second half. */
void pomona_gelu_gate(float *x, long tokens, int width) {
#pragma omp parallel for num_threads(threads) if (tokens > 8)
    for (long t = 0; t < tokens; t++) gelu_run(x + t * 2 * width, x + t * 2 * width + width, width);
}

/* x (tokens, width) becomes the layer norm of x + residual. No residual or bias: NULL. */
void pomona_add_norm(float *x, const float *residual, const float *weight, const float *bias, float epsilon, long tokens, int width) {
#pragma omp parallel for num_threads(threads) if (tokens > 8)
    for (long t = 0; t < tokens; t++) {
        float *row = x + t * width, sum = 0, squares = 0;
        if (residual)
            for (int i = 0; i < width; i++) row[i] += residual[t * width + i];
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < width; i++) sum += row[i];
        float mean = sum / (float)width;
#pragma omp simd reduction(+ : squares)
        for (int i = 0; i < width; i++) squares += (row[i] - mean) * (row[i] - mean);
        float spread = 1 / __builtin_sqrtf(squares / (float)width + epsilon);
        if (bias)
            for (int i = 0; i < width; i++) row[i] = (row[i] - mean) * spread * weight[i] + bias[i];
        else
            for (int i = 0; i < width; i++) row[i] = (row[i] - mean) * spread * weight[i];
    }
}

/* Queries and keys in qkv (tokens, 3, heads, size) are rotated by tables (tokens, size / 2): halves, not pairs. */
void pomona_rotate(float *qkv, const float *cosines, const float *sines, long tokens, int heads, int size) {
    int half = size / 2;
#pragma omp parallel for num_threads(threads) if (tokens > 8)
    for (long t = 0; t < tokens; t++) {
        const float *c = cosines + t * half, *s = sines + t * half;
        for (int head = 0; head < 2 * heads; head++) {
            float *x = qkv + (t * 3 * heads + head) * size;
            for (int i = 0; i < half; i++) {
                float first = x[i], second = x[half + i];
                x[i] = first * c[i] - second * s[i];
                x[half + i] = second * c[i] + first * s[i];
            }
        }
    }
}

/* out[i] = a[i] (1, k) . b (k, WIDE) for ROWS rows of a. */
static inline void tile(const float *const a[ROWS], int k, const float *b, long ldb, lanes out[ROWS][2]) {
    lanes sums[ROWS][2] = {0};
    for (int p = 0; p < k; p++) {
        lanes left = load(b + p * ldb), right = load(b + p * ldb + LANES);
        for (int i = 0; i < ROWS; i++) sums[i][0] += a[i][p] * left, sums[i][1] += a[i][p] * right;
    }
    memcpy(out, sums, sizeof sums);
}

/* The shares of scores[0..count), a multiple of WIDE, of which [from, until) hold; returns their sum before they are divided by it. */
static inline float shares(float *scores, int count, int from, int until, float scale) {
    for (int j = 0; j < from; j++) scores[j] = -1e30f;
    for (int j = until; j < count; j++) scores[j] = -1e30f;
    lanes most = load(scores);
    for (int j = LANES; j < count; j += LANES) {
        lanes here = load(scores + j);
        most = either(here > most, here, most);
    }
    float top = most_of(most);
    lanes total = {0};
    for (int j = 0; j < count; j += LANES) {
        lanes share = exponential((load(scores + j) - top) * scale);
        store(scores + j, share);
        total += share;
    }
    for (int j = 0; j < from; j++) scores[j] = 0;
    for (int j = until; j < count; j++) scores[j] = 0;
    return sum_of(total);
}

static int rounded_up(int count, int step) { return (count + step - 1) / step * step; }

/* One head of one text. keys: (size, padded length), values: (length, padded size), scores: (ROWS, padded length). */
static void attend_head(float *qkv, long stride, long width, int length, int size, float scale, int window, float *keys, float *values,
                        float *scores) {
    int padded = rounded_up(length, WIDE), wide = rounded_up(size, WIDE);
    memset(keys, 0, (size_t)size * (size_t)padded * sizeof(float));
    memset(values, 0, (size_t)length * (size_t)wide * sizeof(float));
    for (int j = 0; j < length; j++) {
        const float *key = qkv + j * stride + width;
        for (int p = 0; p < size; p++) keys[(long)p * padded + j] = key[p];
        memcpy(values + (long)j * wide, key + width, (size_t)size * sizeof(float));
    }
    for (int i = 0; i < length; i += ROWS) {
        int rows = length - i < ROWS ? length - i : ROWS;
        int first = window < 0 || i < window ? 0 : (i - window) / WIDE * WIDE;
        int last = window < 0 || i + rows + window > length ? length : i + rows + window;
        int count = rounded_up(last - first, WIDE);
        const float *queries[ROWS], *weights[ROWS];
        float totals[ROWS];
        for (int r = 0; r < ROWS; r++) queries[r] = qkv + (i + (r < rows ? r : 0)) * stride, weights[r] = scores + (long)r * padded;
        for (int j = 0; j < count; j += WIDE) {
            lanes out[ROWS][2];
            tile(queries, size, keys + first + j, padded, out);
            for (int r = 0; r < ROWS; r++) store(scores + (long)r * padded + j, out[r][0]), store(scores + (long)r * padded + j + LANES, out[r][1]);
        }
        for (int r = 0; r < ROWS; r++) {
            int at = i + (r < rows ? r : 0);
            int from = window < 0 || at - window < first ? 0 : at - window - first;
            int until = window < 0 || at + window + 1 > last ? last - first : at + window + 1 - first;
            totals[r] = shares(scores + (long)r * padded, count, from, until, scale);
        }
        for (int column = 0; column < wide; column += WIDE) {
            lanes out[ROWS][2];
            tile(weights, last - first, values + (long)first * wide + column, wide, out);
            for (int r = 0; r < rows; r++) {
                lanes result[2] = {out[r][0] / totals[r], out[r][1] / totals[r]};
                int kept = size - column < WIDE ? size - column : WIDE;
                memcpy(qkv + (i + r) * stride + column, result, (size_t)kept * sizeof(float));
            }
        }
    }
}

/* Attention within each of the texts in qkv (tokens, 3, heads, size); what a token takes in replaces its query.
 * window: keys at most so far away, negative: all. Returns 0, or 1 where there is no memory. */
int pomona_attend(float *qkv, const int *starts, const int *lengths, int texts, int heads, int size, float scale, int window) {
    int longest = 0, failed = 0;
    for (int i = 0; i < texts; i++) longest = lengths[i] > longest ? lengths[i] : longest;
    int padded = rounded_up(longest, WIDE), wide = rounded_up(size, WIDE);
    size_t keys = (size_t)size * (size_t)padded, values = (size_t)longest * (size_t)wide, scores = ROWS * (size_t)padded;
    long width = (long)heads * size, stride = 3 * width;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        float *room = malloc((keys + values + scores) * sizeof(float));
        failed = room == NULL;
#pragma omp for schedule(dynamic)
        for (int unit = 0; unit < texts * heads; unit++) {
            int text = unit / heads, head = unit % heads;
            if (room)
                attend_head(qkv + starts[text] * stride + head * size, stride, width, lengths[text], size, scale, window, room, room + keys,
                            room + keys + values);
        }
        free(room);
    }
    return failed;
}
