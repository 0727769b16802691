"""Chat completions.

Owns: the way from their bodies to requests, from events to their answers, and the answers that clients ask to be kept.
Does not own: what completions share (`openai/call.py`, `openai/answer.py`), generation. Start reading at `routes.py`.
"""
