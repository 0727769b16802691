"""How queries meet keys and values that lie in pages.

Owns: the function that mlx-lm's models call to attend, the ways it takes, and kernels. Does not own: pages and who holds them (`cache`).
Start reading at `attend.py`; `paged.py` says what kernels do and how a compiled decode pass uses them.
"""
