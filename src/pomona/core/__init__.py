"""Words that every package shares.

Owns: messages, requests, events, ports, settings, errors, metrics, logging, plugins. Does not own: I/O, arrays, HTTP.
Start reading at `generation.py` (what goes in and out of a model), then `ports.py` (who answers it).
"""
