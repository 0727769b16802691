"""OpenAI's Responses API: answers made of items, kept for later, made in the background, compacted.

Owns: its bodies (`wire.py`), its resources (one file each), the store of responses. `reading/` leads from body to request, `writing/` from
events to items. Does not own: generation, other APIs. Start reading at `create.py`.
"""
