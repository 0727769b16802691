"""What operators and monitoring ask for.

Owns: health, readiness, version, Prometheus metrics, the status document. Does not own: the facts, which come through `core.ports`.
Start reading at `probes.py`.
"""
