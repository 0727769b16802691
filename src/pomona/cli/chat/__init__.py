"""The chat in the terminal.

Owns: the conversation, its slash commands, reading lines, showing answers. Does not own: who answers (`pomona.cli.answering`).
Start reading at `conversation.py`, then `loop.py`.
"""
