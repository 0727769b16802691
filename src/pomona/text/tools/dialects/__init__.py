"""The dialects, by the form of their calls.

Owns: one file per dialect in `json/` (calls are JSON objects), `markup/` (tags around names and values) and `channels/` (messages within
an answer). Does not own: what they share (text.tools), their order (text.tools.catalog). Start reading at `json/hermes.py`.
"""
