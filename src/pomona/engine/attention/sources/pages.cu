// Tokens into pages and out of them.

template <typename T, int DIM>
__device__ __forceinline__ void write_token(const T* from, const int64_t* strides, const T* pool, size_t at, int row, int head, int token) {
  const T* source = from + row * strides[0] + head * strides[1] + token * strides[2];
  for (int d = threadIdx.x; d < DIM; d += blockDim.x) const_cast<T*>(pool)[at * DIM + d] = source[d * strides[3]];
}

// A block takes one token of one head of one row. Padding goes nowhere.
template <typename T, int D, int DV, int PT, int WINDOW>
__device__ __forceinline__ void write(
    const T* keys, const int64_t* key_strides, const T* values, const int64_t* value_strides, const T* key_pool, const T* value_pool,
    const uint32_t* table, const int* starts, const int* counts, int* done, int pages, int blocks) {
  const int token = blockIdx.x, head = blockIdx.y, row = blockIdx.z, position = starts[row] + token;
  if (token == 0 && head == 0 && row == 0 && threadIdx.x == 0) done[0] = 1;
  if (token >= counts[row]) return;
  const int first = WINDOW ? max(starts[row] - WINDOW + 1, 0) / PT : 0;
  const uint32_t page = table[size_t(row) * blocks + position / PT - first];
  const size_t at = (size_t(head) * pages + page) * PT + position % PT;
  write_token<T, D>(keys, key_strides, key_pool, at, row, head, token);
  write_token<T, DV>(values, value_strides, value_pool, at, row, head, token);
}

// A thread takes 16 bytes of keys and of values.
template <typename T, int D, int DV, int PT>
__device__ __forceinline__ void gather(
    const T* key_pool, const T* value_pool, const uint32_t* table, T* keys, T* values, int first, int tokens, int pages, int blocks) {
  constexpr int EACH = 16 / sizeof(T), KC = D / EACH, VC = DV / EACH, MOST = KC > VC ? KC : VC;
  const long long i = (long long)(blockIdx.x) * blockDim.x + threadIdx.x;
  const int token = i / MOST, chunk = i % MOST, head = blockIdx.y, row = blockIdx.z;
  if (token >= tokens) return;
  const uint32_t page = table[size_t(row) * blocks + (first + token) / PT];
  const size_t from = (size_t(head) * pages + page) * PT + (first + token) % PT;
  const size_t to = (size_t(row) * gridDim.y + head) * tokens + token;
  if (chunk < KC) reinterpret_cast<uint4*>(keys)[to * KC + chunk] = reinterpret_cast<const uint4*>(key_pool)[from * KC + chunk];
  if (chunk < VC) reinterpret_cast<uint4*>(values)[to * VC + chunk] = reinterpret_cast<const uint4*>(value_pool)[from * VC + chunk];
}
