"""Decisions: typed questions about one input, answered with probabilities.

Owns: OpenAI's /v1/decisions: how a question is put to a model, and how probabilities are read from its next token.
Does not own: generation, the other APIs. Start reading at `routes.py`.
"""
