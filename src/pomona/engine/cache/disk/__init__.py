"""Beginnings of prompts on disk, for when memory has let go of them or the engine starts anew.

Owns: files of pages and states, who reads and writes them when, what space they take. Does not own: pages in memory (`engine/cache`).
Start reading at `tier.py`, then `form.py` (one file) and `store.py` (the folder).
"""
