"""`embed` and `rerank`: vectors and relevance on the command line.

Owns: reading texts, choosing who makes the vectors, printing them. Does not own: making them (`core.ports`), the wire
(`pomona.ops.remote_vectors`). Start reading at `embed.py`.
"""
