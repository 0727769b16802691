"""Who may ask, how much, how urgently, and what happens to the same question asked twice.

Owns: API keys and their file, rate limits, the count of who waits, the joining of requests that were sent again. Pure but for `key_file.py`
and `key_usage.py`; clocks come from outside. Does not own: HTTP headers and statuses (`server/access`), the engine's order of rows.
Start reading at `stack.py`.
"""
