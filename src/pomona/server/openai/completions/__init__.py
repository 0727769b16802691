"""Completions: a text goes on.

Owns: the way from their bodies to requests and from events to their answers, and the choice of the best.
Does not own: what chat completions share (`openai/call.py`, `openai/answer.py`), generation. Start reading at `routes.py`.
"""
