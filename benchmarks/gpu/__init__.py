"""Measurements on a GPU, of model shapes with random weights, so that no download is needed.

Owns: shapes, absolute figures against mlx-lm, transformers, plain loops and the floor. Does not own: comparisons on the bundled model
(`benchmarks.engine`). Start reading at `engine.py`, which runs `worker.py` part by part.
"""
