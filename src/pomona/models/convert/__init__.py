"""Models made of other models: weights quantised, GGUF files turned into model folders.

Owns: reading GGUF, quantising, writing folders that appear whole or not at all. Does not own: getting files (`pomona.hub`).
Start reading at `__main__.py`, the process that does it; then `quantize.py` and `gguf/convert.py`.
"""
