"""The process of one engine: `python -m pomona.engine.process`, started by `pomona.fleet`.

Owns: the main loop, the socket to the gateway, the end of the process. Does not own: scheduling and stepping (`pomona.engine.engine`).
Start reading at `host.py` (from start to end), then `loop.py`. Nothing in here imports mlx before the BLAS is in place.
"""
