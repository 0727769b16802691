"""API keys: how they look, what of them is stored, how one is recognised.

A key is `pomona_sk_`, 8 hex digits that name it, and 43 characters for 32 random bytes. Only a salted SHA-256 of it is stored. A slow
hash (bcrypt, Argon2) protects secrets that people choose, because those can be guessed; nobody guesses 256 random bits, so a fast one
loses nothing, and a server can afford it for each request.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pomona.control.callers import Allowance, Caller, Scope
from pomona.core.generation import Priority

PREFIX = "pomona_sk_"
_ID_CHARACTERS = 8
_SECRET_BYTES = 32
KeyState = Literal["active", "expired", "revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is stored of a key. Times are in Unix seconds."""

    id: str
    name: str
    salt: str
    digest: str
    created: int
    scope: Scope = "public"
    allowance: Allowance = field(default_factory=Allowance)
    priority: Priority = "normal"
    expires: int | None = None
    revoked: int | None = None

    @property
    def shown(self) -> str:
        """The beginning of the key, by which a person knows it again."""
        return f"{PREFIX}{self.id}…"

    def state(self, now: float) -> KeyState:
        """Whether it opens the door at the Unix time `now`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"

    def caller(self) -> Caller:
        """Who comes with this key."""
        return Caller(
            id=self.id,
            name=self.name,
            account=f"key {self.id}",
            scope=self.scope,
            allowance=self.allowance,
            priority=self.priority,
            ceiling=self.priority,
        )


class Keys(Protocol):
    """The keys that there are, now."""

    @property
    def exist(self) -> bool:
        """Whether there is any key, be it revoked or expired: then nobody gets in without one."""
        ...

    def find(self, text: str) -> Key | None:
        """The key that `text` is, whatever its state; None where it is none."""
        ...


class KeyRing:
    """Keys in memory."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys: Mapping[str, Key] = {key.id: key for key in keys}

    @property
    def exist(self) -> bool:
        """Whether there is any key."""
        return bool(self.keys)

    def find(self, text: str) -> Key | None:
        """The key that `text` is. The time it takes tells at most whether the id exists, which is no secret."""
        key = self.keys.get(text[len(PREFIX) : len(PREFIX) + _ID_CHARACTERS]) if text.startswith(PREFIX) else None
        if key is None:
            return None
        return key if hmac.compare_digest(_digest(key.salt, text), key.digest) else None


def make_key(
    name: str,
    *,
    now: float,
    scope: Scope = "public",
    allowance: Allowance | None = None,
    priority: Priority = "normal",
    lifetime_days: float | None = None,
) -> tuple[Key, str]:
    """A new key and its text, which nobody can get back from what is stored. `now` is in Unix seconds."""
    key_id, salt = secrets.token_hex(_ID_CHARACTERS // 2), secrets.token_hex(16)
    text = f"{PREFIX}{key_id}{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = Key(
        id=key_id,
        name=name,
        salt=salt,
        digest=_digest(salt, text),
        created=int(now),
        scope=scope,
        allowance=allowance or Allowance(),
        priority=priority,
        expires=None if lifetime_days is None else int(now + lifetime_days * 86400),
    )
    return key, text


def _digest(salt: str, text: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + text.encode()).hexdigest()
