"""The OpenAI API.

Owns: its bodies (`wire.py`), the way from body to request (`decode.py`) and from events to answer (`encode.py`), one file per resource.
Does not own: other vendors' shapes, generation. Start reading at `chat.py`.
"""
