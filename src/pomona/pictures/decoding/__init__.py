"""Bytes to pixels, in a process of its own: what comes from strangers must not hang, fill or end the gateway.

Owns: Pillow and pdfium, the formats that are read, the worker process and its limits. Does not own: where bytes come from, sizes.
Start reading at `client.py`, then `worker.py`.
"""
