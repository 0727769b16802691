"""Anthropic's Messages API, for its SDKs and for Claude Code.

Owns: bodies, blocks, tools, events and errors inside streams as Anthropic's clients read and write them.
Does not own: bytes of server-sent events (`server.sse`), the error table (`server.errors`), prompts (`pomona.text`).
Start reading at `messages.py`.
"""
