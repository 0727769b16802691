"""Models on disk and in memory.

Owns: references, the catalog, validation, loading, the device; `cpu/` makes MLX fast there. Does not own: running a model.
Start reading at `references.py` (a name becomes a folder), then `loading.py` (a folder becomes a module).
"""
