"""LoRA and DoRA adapters in one engine: many in one batch, a row each.

Owns: adapters in memory and their budget, what a layer adds for which row. Does not own: their files (`pomona.models.adapters`),
rows, passes. Start reading at `bank.py`, then `layers.py`.
"""
