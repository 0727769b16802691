"""The parts of vision models that see: towers and projectors, one file per kind, and what they need of the language part.

Owns: towers, their weights, three-axis positions, features that are added between layers. Does not own: language models (mlx-lm's),
pixels' sizes, caches. Start reading at `loading.py`.
"""
