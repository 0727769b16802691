"""What the rows of one model remember.

Owns: pages and who holds them, the arrays behind them, shared prefixes, snapshots. Does not own: which row runs when (`engine/scheduling`).
Start reading at `model_cache.py`, then `pages.py` (the books) and `layers.py` (the arrays).
"""
