"""Models that make vectors of texts or score pairs of them: BERT, RoBERTa and XLM-RoBERTa, ModernBERT, and decoders with pooling.

Owns: what a folder says of its task and pooling, the architectures, their weights, one pass over a batch. Does not own: which texts
share a pass (`pomona.engine.vectors`), tokenising (`pomona.fleet.vectors`). Start reading at `layout.py` (no MLX), then `model.py`.
"""
