"""The hub at the other end of the network.

Owns: asking it, reading its answers, telling its refusals in words that help. Does not own: downloading files (`hub/download`).
Start reading at `connection.py`.
"""
