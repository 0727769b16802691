"""Where the time of requests goes.

Owns: the words for it: spans, what an engine tells of a row, the marks that a request collects on its way.
Does not own: who keeps traces and shows them (`server/tracing/`), how an engine measures (`engine/timeline/`).
Start reading at `times.py`.
"""
