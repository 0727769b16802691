"""How queries meet keys and values that lie in pages.

Owns: the function that mlx-lm's models call to attend, and the ways it takes. Does not own: pages and who holds them (`cache`).
Start reading at `attend.py`.
"""
