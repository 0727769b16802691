"""What HTTP has to do with who asks and how much.

Owns: authentication, the check of Host and Origin, CORS, request ids, limits on bodies, heads and connections, the headers about limits.
Does not own: the decisions (`pomona.control`), how errors look (`server/errors.py`). Start reading at `door.py`.
"""
