"""Commands for the models of a running server: `ps`, `load`, `unload`, `pin`, `events`.

Owns: their options and what they print. Does not own: HTTP (`ops/admin_client.py`).
Start reading at `connecting.py`.
"""
