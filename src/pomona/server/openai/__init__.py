"""The OpenAI API.

Owns: its bodies (`wire.py`), what its answering resources share (`call.py`, `answer.py`, `formats.py`), one package or file a resource.
Does not own: other vendors' shapes, generation. Start reading at `chat/routes.py`.
"""
