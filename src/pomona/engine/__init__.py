"""One model, continuous batching, ids only.

Owns: scheduling, KV pages, prefix cache, forward passes, sampling. Does not own: words, HTTP, tokenizers, other models.
Start reading at `engine.py` (`Engine.step`), then `scheduling/`, `passes/`, `attention/`.
"""
