"""/v1/embeddings in OpenAI's shape, and /v1/rerank in Cohere's and Jina's.

Owns: their bodies, limits, records and answers. Does not own: making vectors (`core.ports.Embedder`, `Reranker`).
Start reading at `routes.py`.
"""
