// One query token per row over pages, as decode.cu does it: a threadgroup takes one row, one key head with some of its query heads,
// and one piece of the keys. Its simdgroups take one key each in turn, their lanes every 32nd dimension.

constant constexpr int GROUPS = 8;
constant constexpr int MOST = 8;
constant constexpr float NOTHING = -1e30f;
constant constexpr float LOG2E = 1.4426950408889634f;

struct Sight {
  int base, first, end, piece, used;
};

inline Sight see(int start, int pieces, int page_tokens, int limit, int window) {
  Sight sight;
  sight.base = window ? max(start - window + 1, 0) / page_tokens * page_tokens : 0;
  sight.first = limit ? max(max(start - limit + 1, 0) - sight.base, 0) : 0;
  sight.end = start - sight.base + 1;
  const int keys = max(sight.end - sight.first, 0);
  sight.piece = max(64, (keys + pieces - 1) / pieces);
  sight.used = max(1, (keys + sight.piece - 1) / sight.piece);
  return sight;
}

// MLX hands small inputs over in constant memory, hence the types Table, Starts and Sinks.
template <typename T, int D, int DV, int PT, int G, int LIMIT, int WINDOW, bool SINKS, typename Table, typename Starts, typename Sinks>
inline void decode(
    const device T* queries, const device T* key_pool, const device T* value_pool, Table table, Starts starts, float factor, Sinks sinks,
    device T* out, device float* partial, device float* stats, threadgroup float* tops, threadgroup float* totals, threadgroup float* sums, int pages, int blocks, uint3 group,
    uint3 grid, uint simd, uint lane) {
  constexpr int PARTS = (G + MOST - 1) / MOST, HEADS = G < MOST ? G : MOST, KD = (D + 31) / 32, VD = (DV + 31) / 32;
  const int row = group.y, key_heads = grid.x / PARTS, key_head = group.x / PARTS, part = group.x % PARTS, pieces = grid.z;
  const int heads = min(MOST, G - part * MOST), start = starts[row];
  const Sight sight = see(start, pieces, PT, LIMIT, WINDOW);
  if (int(group.z) >= sight.used) return;
  const bool leads = group.z == 0;
  const size_t line = size_t(row) * key_heads * G + key_head * G + part * MOST;
  Table own = table + size_t(row) * blocks;
  const size_t head_at = size_t(key_head) * pages;

  float q[HEADS][KD], o[HEADS][VD], top[HEADS], total[HEADS];
  for (int h = 0; h < HEADS; h++) {
    top[h] = NOTHING;
    total[h] = 0;
    for (int i = 0; i < KD; i++) {
      const int d = int(lane) + 32 * i;
      q[h][i] = h < heads && d < D ? float(queries[(line + h) * D + d]) * factor : 0.f;
    }
    for (int i = 0; i < VD; i++) o[h][i] = 0;
  }
  const int begin = sight.first + int(group.z) * sight.piece, end = min(sight.end, begin + sight.piece);
  for (int key = begin + int(simd); key < end; key += GROUPS) {
    const size_t at = (head_at + own[key / PT]) * PT + key % PT;
    const device T* keys = key_pool + at * D;
    const device T* values = value_pool + at * DV;
    float k[KD], v[VD];
    for (int i = 0; i < KD; i++) k[i] = int(lane) + 32 * i < D ? float(keys[int(lane) + 32 * i]) : 0.f;
    for (int i = 0; i < VD; i++) v[i] = int(lane) + 32 * i < DV ? float(values[int(lane) + 32 * i]) : 0.f;
    for (int h = 0; h < HEADS; h++) {
      float score = 0;
      for (int i = 0; i < KD; i++) score += q[h][i] * k[i];
      score = simd_sum(score);
      const float most = max(top[h], score), rise = exp2(top[h] - most), weight = exp2(score - most);
      top[h] = most;
      total[h] = total[h] * rise + weight;
      for (int i = 0; i < VD; i++) o[h][i] = o[h][i] * rise + weight * v[i];
    }
  }
  for (int h = 0; h < HEADS; h++)
    if (lane == 0) {
      tops[simd * MOST + h] = top[h];
      totals[simd * MOST + h] = total[h];
    }
  for (int h = 0; h < heads; h++) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const float sink = SINKS && leads ? float(sinks[SINKS ? key_head * G + part * MOST + h : 0]) * LOG2E : NOTHING;
    float most = sink, sum = 0;
    for (int other = 0; other < GROUPS; other++) most = max(most, tops[other * MOST + h]);
    for (int other = 0; other < GROUPS; other++) sum += totals[other * MOST + h] * exp2(tops[other * MOST + h] - most);
    if (SINKS && leads) sum += exp2(sink - most);
    const float share = exp2(top[h] - most);
    for (int i = 0; i < VD; i++)
      if (int(lane) + 32 * i < DV) sums[simd * DV + lane + 32 * i] = share * o[h][i];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int d = simd * 32 + lane; d < DV; d += GROUPS * 32) {
      float mixed = 0;
      for (int other = 0; other < GROUPS; other++) mixed += sums[other * DV + d];
      if (pieces == 1) out[(line + h) * DV + d] = T(mixed / sum);
      else partial[((line + h) * pieces + group.z) * DV + d] = mixed;
    }
    if (pieces > 1 && simd == 0 && lane == 0) {
      stats[((line + h) * pieces + group.z) * 2] = most;
      stats[((line + h) * pieces + group.z) * 2 + 1] = sum;
    }
  }
}

template <typename T, int DV, int PT, int LIMIT, int WINDOW, typename Partial, typename Stats, typename Starts>
inline void combine(
    Partial partial, Stats stats, Starts starts, int pieces, int query_heads, device T* out,
    uint line, uint thread, uint threads) {
  const Sight sight = see(starts[line / query_heads], pieces, PT, LIMIT, WINDOW);
  Stats mine = stats + size_t(line) * pieces * 2;
  float top = NOTHING, total = 0;
  for (int i = 0; i < sight.used; i++) top = max(top, mine[2 * i]);
  for (int i = 0; i < sight.used; i++) total += mine[2 * i + 1] * exp2(mine[2 * i] - top);
  for (int d = thread; d < DV; d += threads) {
    float sum = 0;
    for (int i = 0; i < sight.used; i++) sum += exp2(mine[2 * i] - top) * partial[(size_t(line) * pieces + i) * DV + d];
    out[size_t(line) * DV + d] = T(sum / total);
  }
}
