"""LoRA and DoRA adapters as files: what a folder holds, whether it can be used, which name leads to it.

Owns: the layouts of PEFT and mlx-lm, names of adapters, the place of each part in a model. Does not own: computing with them
(`pomona.engine.adapters`). Start reading at `reading.py`. Nothing in here imports mlx: the gateway lists adapters too.
"""
