"""Pictures in requests, before they reach an engine.

Owns: fetching, decoding, limits, sizes, what stands for a picture in a prompt. Does not own: arrays, vision models, HTTP routes.
Start reading at `geometry/facts.py`.
"""
