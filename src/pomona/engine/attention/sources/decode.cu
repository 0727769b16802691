// One query token per row over pages. A block takes one row, one key head with up to 16 of its query heads, and one piece of the keys,
// so keys are read once for all query heads. Its four warps take tiles of 16 keys in turn; their results, the new key and the sink are
// merged at the end. Scores are in units of log2; sums are in float. The new key and value go to their page on the way: nobody else
// reads that place in this pass.

constexpr int WARPS = 4, TILE = 16, MOST = 16;
constexpr float NOTHING = -1e30f, LOG2E = 1.4426950408889634f;

__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Which keys a row sees, counted from the first key of its table, and how they are cut into pieces.
template <int PT, int LIMIT, int WINDOW>
struct Sight {
  int base, first, from, end, piece, used;
  __device__ Sight(int start, int pieces, bool fresh, int least) {
    base = WINDOW ? max(start - WINDOW + 1, 0) / PT * PT : 0;
    first = LIMIT ? max(max(start - LIMIT + 1, 0) - base, 0) : 0;
    end = start - base + (fresh ? 0 : 1);
    from = first / TILE * TILE;
    const int keys = max(end - from, 0);
    const int share = (keys + pieces - 1) / pieces;
    piece = max(least, (share + 63) / 64 * 64);
    used = max(1, (keys + piece - 1) / piece);
  }
};

// Sums of a block, by query head: place(d) spreads dimensions over the banks of shared memory.
template <int DV>
struct Sums {
  static constexpr int STRIDE = DV / 16 * 20 + 4;
  float top[WARPS][MOST], total[WARPS][MOST], fresh[MOST], tops[MOST], totals[MOST];
  float mixed[MOST * STRIDE];
  static __device__ __forceinline__ int place(int head, int d) { return head * STRIDE + d / 16 * 20 + d % 16; }
};

template <typename T>
__device__ __forceinline__ void copy16(const T* from, T* to, int dims) {
  constexpr int EACH = 16 / sizeof(T);
  for (int i = threadIdx.x; i < dims / EACH; i += blockDim.x)
    reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
}

template <typename T, int D>
__device__ __forceinline__ void score_new(const T* queries, const T* key, int heads, float factor, float* scores) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int head = warp; head < heads; head += WARPS) {
    float sum = 0;
    for (int d = lane; d < D; d += 32) sum += float(queries[head * D + d]) * float(key[d]);
    for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (lane == 0) scores[head] = sum * factor;
  }
}

// After each warp has put its tops and totals: those of the block, and the new value as the beginning of the sums.
template <typename T, int DV, bool SINKS>
__device__ __forceinline__ void begin_sums(Sums<DV>& sums, const T* sinks, const T* value, int heads, bool fresh, bool leads) {
  __syncthreads();
  if (threadIdx.x < heads) {
    const int head = threadIdx.x;
    const float sink = SINKS && leads ? float(sinks[head]) * LOG2E : NOTHING;
    float top = fresh ? fmaxf(sums.fresh[head], sink) : sink, total = 0;
    for (int warp = 0; warp < WARPS; warp++) top = fmaxf(top, sums.top[warp][head]);
    for (int warp = 0; warp < WARPS; warp++) total += sums.total[warp][head] * power(sums.top[warp][head] - top);
    if (SINKS && leads) total += power(sink - top);
    if (fresh) total += power(sums.fresh[head] - top);
    sums.tops[head] = top;
    sums.totals[head] = total;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < heads * DV; i += blockDim.x) {
    const int head = i / DV, d = i % DV;
    sums.mixed[Sums<DV>::place(head, d)] = fresh ? power(sums.fresh[head] - sums.tops[head]) * float(value[d]) : 0.f;
  }
}

template <typename T, int DV>
__device__ __forceinline__ void hand_out(Sums<DV>& sums, int heads, size_t line, int pieces, T* out, float* partial, float* stats) {
  __syncthreads();
  for (int i = threadIdx.x; i < heads * DV; i += blockDim.x) {
    const int head = i / DV, d = i % DV;
    const float mixed = sums.mixed[Sums<DV>::place(head, d)];
    if (pieces == 1) out[(line + head) * DV + d] = T(mixed / sums.totals[head]);
    else partial[((line + head) * pieces + blockIdx.z) * DV + d] = mixed;
  }
  if (pieces > 1 && threadIdx.x < heads) {
    float* mine = stats + ((line + threadIdx.x) * pieces + blockIdx.z) * 2;
    mine[0] = sums.tops[threadIdx.x];
    mine[1] = sums.totals[threadIdx.x];
  }
}

template <typename T> struct Pairs;
template <> struct Pairs<__nv_bfloat16> {
  static __device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
  }
  static __device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
};
template <> struct Pairs<__half> {
  static __device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
  }
  static __device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
};

__device__ __forceinline__ uint4 load16(const void* at) { return __ldg(reinterpret_cast<const uint4*>(at)); }
__device__ __forceinline__ uint32_t word(const uint4& four, int i) { return i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w; }

// 16-bit types, on tensor cores. Queries are the matrix A (16 heads, those that are missing are zero), keys B. The order in which
// dimensions are summed is free, so a lane takes 8 neighbours of one key by one load of 16 bytes, and they are B as they come:
// lane 4g+t has dimensions 32c+8t.. of key g. Weights become A as they lie; values become B by pairing those of neighbouring keys.
template <typename T, int D, int DV, int PT, int G>
struct TensorWay {
  static constexpr int CHUNKS = (D + 31) / 32, HALVES = (DV + 63) / 64;
  static constexpr bool UPPER = G > 8;  // rows 8 to 15 of A hold heads
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint32_t q[CHUNKS][2][4];
  float o[HALVES][8][4] = {};
  float top[2] = {NOTHING, NOTHING}, total[2] = {0, 0};

  __device__ TensorWay(const T* queries, int heads) {
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
      const int d = c * 32 + t * 8;
      const uint4 zero = {0, 0, 0, 0};
      const uint4 low = g < heads && d < D ? load16(queries + g * D + d) : zero;
      const uint4 high = UPPER && g + 8 < heads && d < D ? load16(queries + (g + 8) * D + d) : zero;
      q[c][0][0] = low.x; q[c][0][1] = high.x; q[c][0][2] = low.y; q[c][0][3] = high.y;
      q[c][1][0] = low.z; q[c][1][1] = high.z; q[c][1][2] = low.w; q[c][1][3] = high.w;
    }
  }

  __device__ __forceinline__ void load_values(uint4 (&v)[4], const T* values, int half) {
    const int d = half * 64 + g * 8;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = 2 * t + i % 2 + i / 2 * 8;
      v[i] = d < DV ? load16(values + key * DV + d) : uint4{0, 0, 0, 0};
    }
  }

  // `low` and `high`: the first key of the tile that is seen, and the first behind it that is not.
  __device__ __forceinline__ void tile(const T* keys, const T* values, int low, int high, float factor) {
    constexpr bool EARLY = DV <= 128;
    uint4 v[EARLY ? HALVES : 1][4];
    uint4 k[2][CHUNKS];
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
      for (int c = 0; c < CHUNKS; c++)
        k[n][c] = c * 32 + t * 8 < D ? load16(keys + (n * 8 + g) * D + c * 32 + t * 8) : uint4{0, 0, 0, 0};
    if constexpr (EARLY) {
#pragma unroll
      for (int half = 0; half < HALVES; half++) load_values(v[half], values, half);
    }
    float s[2][4] = {};
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
#pragma unroll
      for (int n = 0; n < 2; n++) {
        Pairs<T>::multiply(s[n], q[c][0], k[n][c].x, k[n][c].y);
        Pairs<T>::multiply(s[n], q[c][1], k[n][c].z, k[n][c].w);
      }
    const bool whole = low <= 0 && high >= TILE;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int key = n * 8 + 2 * t + i % 2;
        s[n][i] = whole || (key >= low && key < high) ? s[n][i] * factor : -INFINITY;
      }
    const float rise0 = raise<0>(s), rise1 = UPPER ? raise<1>(s) : 1.f;
    if (__any_sync(~0u, rise0 != 1.f || rise1 != 1.f)) {
#pragma unroll
      for (int half = 0; half < HALVES; half++)
#pragma unroll
        for (int j = 0; j < 8; j++) {
          o[half][j][0] *= rise0;
          o[half][j][1] *= rise0;
          if constexpr (UPPER) {
            o[half][j][2] *= rise1;
            o[half][j][3] *= rise1;
          }
        }
    }
    const uint32_t p[4] = {
        Pairs<T>::pack(s[0][0], s[0][1]), UPPER ? Pairs<T>::pack(s[0][2], s[0][3]) : 0u,
        Pairs<T>::pack(s[1][0], s[1][1]), UPPER ? Pairs<T>::pack(s[1][2], s[1][3]) : 0u};
#pragma unroll
    for (int half = 0; half < HALVES; half++) {
      uint4(&mine)[4] = v[EARLY ? half : 0];
      if constexpr (!EARLY) load_values(mine, values, half);
      if (!whole) {
#pragma unroll
        for (int i = 0; i < 4; i++) {  // no weight times no number is no number
          const int key = 2 * t + i % 2 + i / 2 * 8;
          if (key < low || key >= high) mine[i] = uint4{0, 0, 0, 0};
        }
      }
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const uint32_t select = j % 2 ? 0x7632 : 0x5410;
        const uint32_t b0 = __byte_perm(word(mine[0], j / 2), word(mine[1], j / 2), select);
        const uint32_t b1 = __byte_perm(word(mine[2], j / 2), word(mine[3], j / 2), select);
        Pairs<T>::multiply(o[half][j], p, b0, b1);
      }
    }
  }

  // Scores of heads g (R = 0) or g + 8 become weights; how the sums so far shrink.
  template <int R>
  __device__ __forceinline__ float raise(float (&s)[2][4]) {
    float most = fmaxf(fmaxf(s[0][2 * R], s[0][2 * R + 1]), fmaxf(s[1][2 * R], s[1][2 * R + 1]));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
    most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
    most = fmaxf(most, top[R]);
    const float rise = power(top[R] - most);
    top[R] = most;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
      for (int i = 2 * R; i < 2 * R + 2; i++) sum += s[n][i] = power(s[n][i] - most);
    total[R] = total[R] * rise + sum;
    return rise;
  }

  __device__ __forceinline__ void put_tops(Sums<DV>& sums, int warp) {
#pragma unroll
    for (int r = 0; r < (UPPER ? 2 : 1); r++) {
      total[r] += __shfl_xor_sync(~0u, total[r], 1);
      total[r] += __shfl_xor_sync(~0u, total[r], 2);
      if (t == 0) {
        sums.top[warp][g + 8 * r] = top[r];
        sums.total[warp][g + 8 * r] = total[r];
      }
    }
  }

  __device__ __forceinline__ void add(Sums<DV>& sums, int heads) {
#pragma unroll
    for (int r = 0; r < (UPPER ? 2 : 1); r++) {
      const int head = g + 8 * r;
      if (head >= heads) continue;
      const float share = power(top[r] - sums.tops[head]);
#pragma unroll
      for (int half = 0; half < HALVES; half++) {
        const int d = half * 64 + t * 16;
        if (d >= DV) continue;
        float4* to = reinterpret_cast<float4*>(sums.mixed + Sums<DV>::place(head, d));
#pragma unroll
        for (int i = 0; i < 4; i++) {
          float4 sum = to[i];
          const int j = i % 2 * 4, side = 2 * r + i / 2;
          sum.x += share * o[half][j][side];
          sum.y += share * o[half][j + 1][side];
          sum.z += share * o[half][j + 2][side];
          sum.w += share * o[half][j + 3][side];
          to[i] = sum;
        }
      }
    }
  }
};

// Any type, without tensor cores: a warp takes one key at a time, a lane every 32nd dimension.
template <typename T, int D, int DV, int PT, int G>
struct PlainWay {
  static constexpr int HEADS = G < MOST ? G : MOST, KD = (D + 31) / 32, VD = (DV + 31) / 32;
  const int lane = threadIdx.x % 32;
  const T* queries;
  const int heads;
  float o[HEADS][VD] = {};
  float top[HEADS], total[HEADS];

  __device__ PlainWay(const T* queries, int heads) : queries(queries), heads(heads) {
#pragma unroll
    for (int h = 0; h < HEADS; h++) top[h] = NOTHING, total[h] = 0;
  }

  __device__ __forceinline__ void tile(const T* keys, const T* values, int low, int high, float factor) {
    for (int key = max(low, 0); key < min(high, TILE); key++) {
      float k[KD], v[VD];
#pragma unroll
      for (int i = 0; i < KD; i++) k[i] = lane + 32 * i < D ? float(keys[key * D + lane + 32 * i]) : 0.f;
#pragma unroll
      for (int i = 0; i < VD; i++) v[i] = lane + 32 * i < DV ? float(values[key * DV + lane + 32 * i]) : 0.f;
#pragma unroll
      for (int h = 0; h < HEADS; h++) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < KD; i++)
          if (h < heads && lane + 32 * i < D) sum += k[i] * float(queries[h * D + lane + 32 * i]);
        for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        const float score = sum * factor, most = fmaxf(top[h], score);
        const float rise = power(top[h] - most), weight = power(score - most);
        top[h] = most;
        total[h] = total[h] * rise + weight;
#pragma unroll
        for (int i = 0; i < VD; i++) o[h][i] = o[h][i] * rise + weight * v[i];
      }
    }
  }

  __device__ __forceinline__ void put_tops(Sums<DV>& sums, int warp) {
#pragma unroll
    for (int h = 0; h < HEADS; h++)
      if (lane == 0) sums.top[warp][h] = top[h], sums.total[warp][h] = total[h];
  }

  __device__ __forceinline__ void add(Sums<DV>& sums, int) {
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
      if (h >= heads) continue;
      const float share = power(top[h] - sums.tops[h]);
#pragma unroll
      for (int i = 0; i < VD; i++)
        if (lane + 32 * i < DV) sums.mixed[Sums<DV>::place(h, lane + 32 * i)] += share * o[h][i];
    }
  }
};

template <typename T, int D, int DV, int PT, int G> struct Chosen { using Way = TensorWay<T, D, DV, PT, G>; };
template <int D, int DV, int PT, int G> struct Chosen<float, D, DV, PT, G> { using Way = PlainWay<float, D, DV, PT, G>; };

// `ways`: the factor of the scores, the least tokens of a piece, and 1 if the new keys are not in the pool yet.
template <typename T, int D, int DV, int PT, int G, int LIMIT, int WINDOW, bool SINKS>
__device__ __forceinline__ void decode(
    const T* queries, const T* new_keys, const T* new_values, const T* key_pool, const T* value_pool, const uint32_t* table,
    const int* starts, const float* ways, const T* sinks, T* out, float* partial, float* stats, int pages, int blocks) {
  constexpr int PARTS = (G + MOST - 1) / MOST;
  __shared__ __align__(16) Sums<DV> sums;
  const int row = blockIdx.y, key_heads = gridDim.x / PARTS, key_head = blockIdx.x / PARTS, part = blockIdx.x % PARTS;
  const int warp = threadIdx.x / 32, pieces = gridDim.z, start = starts[row], heads = min(MOST, G - part * MOST);
  const float factor = ways[0];
  const bool fresh = ways[2] != 0;
  const Sight<PT, LIMIT, WINDOW> sight(start, pieces, fresh, int(ways[1]));
  if (int(blockIdx.z) >= sight.used) return;
  const bool leads = blockIdx.z == 0;
  const size_t line = size_t(row) * key_heads * G + key_head * G + part * MOST;
  const uint32_t* own = table + size_t(row) * blocks;
  const T* fresh_key = new_keys + (fresh ? size_t(row * key_heads + key_head) * D : 0);
  const T* fresh_value = new_values + (fresh ? size_t(row * key_heads + key_head) * DV : 0);
  const size_t head_at = size_t(key_head) * pages;

  if (fresh && leads) {
    score_new<T, D>(queries + line * D, fresh_key, heads, factor, sums.fresh);
    if (part == 0) {
      const size_t at = (head_at + own[(start - sight.base) / PT]) * PT + start % PT;
      copy16(fresh_key, const_cast<T*>(key_pool) + at * D, D);
      copy16(fresh_value, const_cast<T*>(value_pool) + at * DV, DV);
    }
  }
  typename Chosen<T, D, DV, PT, G>::Way way(queries + line * D, heads);
  const int begin = sight.from + blockIdx.z * sight.piece, end = min(sight.end, begin + sight.piece);
  int from = begin + warp * TILE;
  uint32_t page = from < end ? own[from / PT] : 0;
  while (from < end) {
    const int next = from + WARPS * TILE;
    const uint32_t following = next < end ? own[next / PT] : 0;
    const size_t at = (head_at + page) * PT + from % PT;
    way.tile(key_pool + at * D, value_pool + at * DV, sight.first - from, end - from, factor);
    from = next;
    page = following;
  }
  way.put_tops(sums, warp);
  begin_sums<T, DV, SINKS>(sums, sinks + (SINKS ? key_head * G + part * MOST : 0), fresh_value, heads, fresh && leads, leads);
  for (int turn = 0; turn < WARPS; turn++) {
    __syncthreads();
    if (turn == warp) way.add(sums, heads);
  }
  hand_out<T, DV>(sums, heads, line, pieces, out, partial, stats);
}

// The pieces of one query head; a thread takes every 128th dimension.
template <typename T, int DV, int PT, int LIMIT, int WINDOW>
__device__ __forceinline__ void combine(
    const float* partial, const float* stats, const int* starts, const float* ways, int pieces, int query_heads, T* out) {
  const int row = blockIdx.y / query_heads;
  const Sight<PT, LIMIT, WINDOW> sight(starts[row], pieces, ways[2] != 0, int(ways[1]));
  const float* mine = stats + size_t(blockIdx.y) * pieces * 2;
  float top = NOTHING, total = 0;
  for (int i = 0; i < sight.used; i++) top = fmaxf(top, mine[2 * i]);
  for (int i = 0; i < sight.used; i++) total += mine[2 * i + 1] * power(mine[2 * i] - top);
  for (int d = threadIdx.x; d < DV; d += blockDim.x) {
    float sum = 0;
    for (int i = 0; i < sight.used; i++) sum += power(mine[2 * i] - top) * partial[(size_t(blockIdx.y) * pieces + i) * DV + d];
    out[size_t(blockIdx.y) * DV + d] = T(sum / total);
  }
}
