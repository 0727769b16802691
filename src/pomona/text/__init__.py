"""Words to ids and back.

Owns: tokenizers, chat templates, prompts, detokenising, stop strings. Does not own: HTTP, models, arrays, scheduling.
Start reading at `prompt.py` (request -> ids), then `output.py` (ids -> events).
"""
