"""How fast a matrix product is on the device in use: shows at once whether a fast BLAS is under MLX."""

import time

SIDE, ROUNDS = 1024, 3


def product_gigaflops() -> float:
    """Of a float32 product of two 1024 x 1024 matrices, the best of three rounds. Imports MLX: choose BLAS and device before."""
    import mlx.core as mx

    left, right = (mx.random.normal((SIDE, SIDE)) for _ in range(2))
    mx.eval(left @ right)  # first use: threads start, kernels compile
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        mx.eval(left @ right)
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best / 1e9
