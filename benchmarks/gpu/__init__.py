"""Measurements on a GPU, of model shapes with random weights, so that no download is needed.

Owns: shapes, absolute figures against mlx-lm. Does not own: comparisons on the bundled model (`benchmarks.engine`).
Start reading at `engine.py`.
"""
