"""Towers: pixels of one picture to features, one file per kind, with their projectors.

Owns: the modules and what their configs default to. Does not own: reading weights, normalising pixels, the language part.
Start reading at `features.py`, then `qwen2_vl.py`.
"""
