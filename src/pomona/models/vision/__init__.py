"""The parts of vision models that see, and what they need of the language part.

Owns: towers (`towers/`), their weights, three-axis positions, features added between layers. Does not own: language models
(mlx-lm's), sizes of pictures, caches. Start reading at `loading.py`.
"""
