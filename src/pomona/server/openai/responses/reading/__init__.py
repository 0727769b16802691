"""From a body of the Responses API to a request in words.

Owns: items to messages, tools to definitions, and what is dropped when the context is too short. Does not own: HTTP, the way back.
Start reading at `call.py`.
"""
