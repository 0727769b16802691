"""Guessing tokens ahead, so that one pass makes several.

Owns: where guesses come from (the row's own text, a draft model), how many are worth their cost. Does not own: the pass that checks them
(`passes/`) and what becomes of its tokens (`engine.py`). Start reading at `speculator.py`.
"""
