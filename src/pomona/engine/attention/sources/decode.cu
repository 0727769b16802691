// One query token per row over pages, or TOKENS neighbours of one: then `starts` are those of their last, and the G heads are those of the
// first token, then of the next. A block takes one row, one key head with up to 16 of its query heads, and one piece of the keys,
// so keys are read once for all query heads. Its warps take tiles of 16 keys in turn; their results and the sink are merged at the end.
// Scores are in units of log2; sums are in float. The new key and value go to their page on the way: nobody reads that place in this
// pass, since they are taken from where they come.

constexpr int TILE = 16, MOST = 16;
constexpr float NOTHING = -1e30f, LOG2E = 1.4426950408889634f;

// Tokens of the row behind the one that a head belongs to: it sees so many keys less.
template <int G, int TOKENS>
__device__ __forceinline__ int later(int head) { return TOKENS > 1 ? TOKENS - 1 - head / (G / TOKENS) : 0; }

__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Which keys a row sees, counted from the first key of its table, and how they are cut into pieces.
template <int PT, int LIMIT, int WINDOW>
struct Sight {
  int base, first, from, end, piece, used;
  __device__ Sight(int start, int pieces, int least) {
    base = WINDOW ? max(start - WINDOW + 1, 0) / PT * PT : 0;
    first = LIMIT ? max(max(start - LIMIT + 1, 0) - base, 0) : 0;
    end = start - base + 1;
    from = first / TILE * TILE;
    const int keys = end - from;
    const int share = (keys + pieces - 1) / pieces;
    piece = max(least, (share + 63) / 64 * 64);
    used = (keys + piece - 1) / piece;
  }
};

// Sums of a block: its warps add theirs to as many areas as there is room for. place(d) spreads dimensions over the banks of memory.
template <int DV, int G, int WARPS>
struct Sums {
  static constexpr int HEADS = G < MOST ? G : MOST, STRIDE = DV / 16 * 20 + 4, FIT = 44000 / 4 / (HEADS * STRIDE);
  static constexpr int AREAS = FIT < 1 ? 1 : FIT < WARPS ? FIT : WARPS;
  float mixed[AREAS][HEADS * STRIDE];
  float top[WARPS][MOST], total[WARPS][MOST], tops[MOST], totals[MOST];
  static __device__ __forceinline__ int place(int head, int d) { return head * STRIDE + d / 16 * 20 + d % 16; }
};

template <typename T>
__device__ __forceinline__ void copy16(const T* from, T* to, int dims) {
  constexpr int EACH = 16 / sizeof(T);
  for (int i = threadIdx.x; i < dims / EACH; i += blockDim.x)
    reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
}

// After each warp has put its tops and totals: those of the block.
template <typename T, typename Sums, int WARPS, bool SINKS>
__device__ __forceinline__ void begin_sums(Sums& sums, const T* sinks, int heads, bool leads) {
  __syncthreads();
  if (threadIdx.x < heads) {
    const int head = threadIdx.x;
    const float sink = SINKS && leads ? float(sinks[head]) * LOG2E : NOTHING;
    float top = sink, total = 0;
    for (int warp = 0; warp < WARPS; warp++) top = fmaxf(top, sums.top[warp][head]);
    for (int warp = 0; warp < WARPS; warp++) total += sums.total[warp][head] * power(sums.top[warp][head] - top);
    if (SINKS && leads) total += power(sink - top);
    sums.tops[head] = top;
    sums.totals[head] = total;
  }
  __syncthreads();
}

template <typename T, typename Sums, int DV>
__device__ __forceinline__ void hand_out(Sums& sums, int heads, size_t line, int pieces, T* out, float* partial, float* stats) {
  __syncthreads();
  for (int i = threadIdx.x; i < heads * DV; i += blockDim.x) {
    const int head = i / DV, d = i % DV;
    float mixed = 0;
#pragma unroll
    for (int area = 0; area < Sums::AREAS; area++) mixed += sums.mixed[area][Sums::place(head, d)];
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
template <typename T, int D, int DV, int PT, int G, int TOKENS>
struct TensorWay {
  static constexpr int CHUNKS = (D + 31) / 32, HALVES = (DV + 63) / 64;
  static constexpr bool UPPER = G > 8;  // rows 8 to 15 of A hold heads
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  uint32_t q[CHUNKS][2][4];
  uint4 k[2][CHUNKS];
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

  // Key `other` of the tile comes from elsewhere.
  __device__ __forceinline__ void load_keys(const T* keys, int other, const T* elsewhere) {
#pragma unroll
    for (int n = 0; n < 2; n++) {
      const T* from = n * 8 + g == other ? elsewhere : keys + (n * 8 + g) * D;
#pragma unroll
      for (int c = 0; c < CHUNKS; c++) k[n][c] = c * 32 + t * 8 < D ? load16(from + c * 32 + t * 8) : uint4{0, 0, 0, 0};
    }
  }

  __device__ __forceinline__ void load_values(uint4 (&v)[4], const T* values, int other, const T* elsewhere, int half) {
    const int d = half * 64 + g * 8;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = 2 * t + i % 2 + i / 2 * 8;
      v[i] = d < DV ? load16((key == other ? elsewhere : values + key * DV) + d) : uint4{0, 0, 0, 0};
    }
  }

  // The tile whose keys were loaded. `low` and `high`: the first of them that is seen, and the first behind it that is not; `last`: the first
  // behind all that the row sees. The keys of the next tile are loaded on the way, so that there is always something on its way from memory.
  template <typename Next>
  __device__ __forceinline__ void tile(const T* values, int low, int high, int last, float factor, int other, const T* elsewhere, Next next) {
    constexpr bool EARLY = DV <= 128;
    uint4 v[EARLY ? HALVES : 1][4];
    if constexpr (EARLY) {
#pragma unroll
      for (int half = 0; half < HALVES; half++) load_values(v[half], values, other, elsewhere, half);
    }
    float s[2][4] = {};
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
#pragma unroll
      for (int n = 0; n < 2; n++) {
        Pairs<T>::multiply(s[n], q[c][0], k[n][c].x, k[n][c].y);
        Pairs<T>::multiply(s[n], q[c][1], k[n][c].z, k[n][c].w);
      }
    next();
    const bool whole = low <= 0 && min(high, last - (TOKENS - 1)) >= TILE;
    const int ends[2] = {min(high, last - later<G, TOKENS>(g)), min(high, last - later<G, TOKENS>(g + 8))};
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int key = n * 8 + 2 * t + i % 2;
        s[n][i] = whole || (key >= low && key < ends[i / 2]) ? s[n][i] * factor : -INFINITY;
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
      if constexpr (!EARLY) load_values(mine, values, other, elsewhere, half);
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

  template <typename Sums>
  __device__ __forceinline__ void put_tops(Sums& sums, int warp) {
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

  template <typename Sums>
  __device__ __forceinline__ void add(Sums& sums, float* area, int heads, bool begins) {
#pragma unroll
    for (int r = 0; r < (UPPER ? 2 : 1); r++) {
      const int head = g + 8 * r;
      if (head >= heads) continue;
      const float share = power(top[r] - sums.tops[head]);
#pragma unroll
      for (int half = 0; half < HALVES; half++) {
        const int d = half * 64 + t * 16;
        if (d >= DV) continue;
        float4* to = reinterpret_cast<float4*>(area + Sums::place(head, d));
#pragma unroll
        for (int i = 0; i < 4; i++) {
          float4 sum = begins ? float4{0, 0, 0, 0} : to[i];
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
template <typename T, int D, int DV, int PT, int G, int TOKENS>
struct PlainWay {
  static constexpr int HEADS = G < MOST ? G : MOST, KD = (D + 31) / 32, VD = (DV + 31) / 32;
  const int lane = threadIdx.x % 32;
  const T *queries, *keys, *new_key;
  const int heads;
  int new_at;
  float o[HEADS][VD] = {};
  float top[HEADS], total[HEADS];

  __device__ PlainWay(const T* queries, int heads) : queries(queries), heads(heads) {
#pragma unroll
    for (int h = 0; h < HEADS; h++) top[h] = NOTHING, total[h] = 0;
  }

  __device__ __forceinline__ void load_keys(const T* at, int which, const T* from) { keys = at, new_at = which, new_key = from; }

  template <typename Next>
  __device__ __forceinline__ void tile(const T* values, int low, int high, int last, float factor, int other, const T* elsewhere, Next next) {
    for (int key = max(low, 0); key < min(high, TILE); key++) {
      const T* own_key = key == new_at ? new_key : keys + key * D;
      const T* own_value = key == other ? elsewhere : values + key * DV;
      float k[KD], v[VD];
#pragma unroll
      for (int i = 0; i < KD; i++) k[i] = lane + 32 * i < D ? float(own_key[lane + 32 * i]) : 0.f;
#pragma unroll
      for (int i = 0; i < VD; i++) v[i] = lane + 32 * i < DV ? float(own_value[lane + 32 * i]) : 0.f;
#pragma unroll
      for (int h = 0; h < HEADS; h++) {
        if (TOKENS > 1 && key >= last - later<G, TOKENS>(h)) continue;
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
    next();
  }

  template <typename Sums>
  __device__ __forceinline__ void put_tops(Sums& sums, int warp) {
#pragma unroll
    for (int h = 0; h < HEADS; h++)
      if (lane == 0) sums.top[warp][h] = top[h], sums.total[warp][h] = total[h];
  }

  template <typename Sums>
  __device__ __forceinline__ void add(Sums& sums, float* area, int, bool begins) {
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
      if (h >= heads) continue;
      const float share = power(top[h] - sums.tops[h]);
#pragma unroll
      for (int i = 0; i < VD; i++)
        if (lane + 32 * i < DV) {
          float& sum = area[Sums::place(h, lane + 32 * i)];
          sum = (begins ? 0.f : sum) + share * o[h][i];
        }
    }
  }
};

template <typename T, int D, int DV, int PT, int G, int TOKENS> struct Chosen { using Way = TensorWay<T, D, DV, PT, G, TOKENS>; };
template <int D, int DV, int PT, int G, int TOKENS>
struct Chosen<float, D, DV, PT, G, TOKENS> { using Way = PlainWay<float, D, DV, PT, G, TOKENS>; };

// `ways`: the factor of the scores, the least tokens of a piece, and 1 if the new keys are not in the pool yet.
template <typename T, int D, int DV, int PT, int G, int TOKENS, int LIMIT, int WINDOW, bool SINKS, int WARPS>
__device__ __forceinline__ void decode(
    const T* queries, const T* new_keys, const T* new_values, const T* key_pool, const T* value_pool, const uint32_t* table,
    const int* starts, const float* ways, const T* sinks, T* out, float* partial, float* stats, int pages, int blocks) {
  constexpr int PARTS = (G + MOST - 1) / MOST;
  using Own = Sums<DV, G, WARPS>;
  __shared__ __align__(16) Own sums;
  const int row = blockIdx.y, key_heads = gridDim.x / PARTS, key_head = blockIdx.x / PARTS, part = blockIdx.x % PARTS;
  const int warp = threadIdx.x / 32, pieces = gridDim.z, start = starts[row], heads = min(MOST, G - part * MOST);
  const float factor = ways[0];
  const bool fresh = ways[2] != 0;
  const Sight<PT, LIMIT, WINDOW> sight(start, pieces, int(ways[1]));
  if (int(blockIdx.z) >= sight.used) return;
  const size_t line = size_t(row) * key_heads * G + key_head * G + part * MOST;
  const uint32_t* own = table + size_t(row) * blocks;
  const T* fresh_key = new_keys + (fresh ? size_t(row * key_heads + key_head) * D : 0);
  const T* fresh_value = new_values + (fresh ? size_t(row * key_heads + key_head) * DV : 0);
  const size_t head_at = size_t(key_head) * pages;
  const int begin = sight.from + blockIdx.z * sight.piece, end = min(sight.end, begin + sight.piece), newest = sight.end - 1;

  typename Chosen<T, D, DV, PT, G, TOKENS>::Way way(queries + line * D, heads);
  int from = begin + warp * TILE;
  size_t at = 0, after = 0;
  const auto find = [&](int key) { return (head_at + own[key / PT]) * PT + key % PT; };
  const auto other = [&](int key) { return fresh ? newest - key : -1; };
  if (from < end) {
    at = find(from);
    way.load_keys(key_pool + at * D, other(from), fresh_key);
  }
  if (from + WARPS * TILE < end) after = find(from + WARPS * TILE);
  while (from < end) {
    const int next = from + WARPS * TILE;
    const auto go_on = [&] {
      if (next < end) way.load_keys(key_pool + after * D, other(next), fresh_key);
    };
    way.tile(value_pool + at * DV, sight.first - from, end - from, sight.end - from, factor, other(from), fresh_value, go_on);
    from = next;
    at = after;
    if (from + WARPS * TILE < end) after = find(from + WARPS * TILE);
  }
  if (fresh && part == 0 && begin <= newest && newest < end) {
    const size_t slot = find(newest);
    copy16(fresh_key, const_cast<T*>(key_pool) + slot * D, D);
    copy16(fresh_value, const_cast<T*>(value_pool) + slot * DV, DV);
  }
  way.put_tops(sums, warp);
  begin_sums<T, Own, WARPS, SINKS>(sums, sinks + (SINKS ? key_head * G + part * MOST : 0), heads, blockIdx.z == 0);
  for (int turn = 0; turn < WARPS; turn += Own::AREAS) {
    if (turn) __syncthreads();
    if (warp >= turn && warp < turn + Own::AREAS) way.add(sums, sums.mixed[warp - turn], heads, turn == 0);
  }
  hand_out<T, Own, DV>(sums, heads, line, pieces, out, partial, stats);
}

// The pieces of one query head; a thread takes every 128th dimension.
template <typename T, int DV, int PT, int LIMIT, int WINDOW>
__device__ __forceinline__ void combine(
    const float* partial, const float* stats, const int* starts, const float* ways, int pieces, int query_heads, T* out) {
  __shared__ float shares[64];
  const int row = blockIdx.y / query_heads, lane = threadIdx.x % 32;
  const Sight<PT, LIMIT, WINDOW> sight(starts[row], pieces, int(ways[1]));
  const float2* mine = reinterpret_cast<const float2*>(stats) + size_t(blockIdx.y) * pieces;
  const float2 low = lane < sight.used ? mine[lane] : float2{NOTHING, 0};
  const float2 high = lane + 32 < sight.used ? mine[lane + 32] : float2{NOTHING, 0};
  float top = fmaxf(low.x, high.x);
  for (int step = 16; step; step /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, step));
  const float low_share = power(low.x - top), high_share = power(high.x - top);
  float total = low.y * low_share + high.y * high_share;
  for (int step = 16; step; step /= 2) total += __shfl_xor_sync(~0u, total, step);
  if (threadIdx.x < 32) shares[lane] = low_share, shares[lane + 32] = high_share;
  __syncthreads();
  for (int d = threadIdx.x; d < DV; d += blockDim.x) {
    const float* parts = partial + size_t(blockIdx.y) * pieces * DV + d;
    float sum = 0;
#pragma unroll 8
    for (int i = 0; i < sight.used; i++) sum += shares[i] * parts[size_t(i) * DV];
    out[size_t(blockIdx.y) * DV + d] = T(sum / total);
  }
}
