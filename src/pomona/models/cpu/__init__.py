"""MLX on Linux CPUs, made fast.

Owns: the BLAS under MLX, float32 weights, shared rotary tables. Does not own: choosing the device (`models.device`).
Start reading at `blas.py`.
"""
