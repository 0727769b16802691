"""Ids as OpenAI writes them: a prefix that says what it is, and something random."""

import uuid


def fresh_id(prefix: str) -> str:
    """A fresh id such as `msg_8f1c…`."""
    return f"{prefix}_{uuid.uuid4().hex}"
