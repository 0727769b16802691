"""Commands about models: what is here, what the hub has, getting, naming and removing.

Owns: `pull`, `list`, `show`, `remove`, `search`, `alias` and how they look. Does not own: doing it (`hub`, `models`).
Start reading at `pulling.py`.
"""
