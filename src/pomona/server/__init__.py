"""HTTP only: bytes on one side, the words of `core` on the other.

Owns: both ASGI applications, middleware, the wire of each API, server-sent events, HTTP errors, probes, sockets and shutdown. Does not
own: generation, models, policy. Start reading at `application.py`, then follow `openai/chat/routes.py`.
"""
