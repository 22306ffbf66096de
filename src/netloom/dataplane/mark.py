"""How an object that exists is told from one that is wanted: a short fingerprint of its content."""

from __future__ import annotations

import hashlib

import msgspec

from netloom.model.hoststate import HostObject

_encoder = msgspec.json.Encoder(order="sorted")


def digest(text: str | bytes, length: int = 16) -> str:
    """The first hexadecimal digits of a hash of a text."""
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()[:length]


_BROKEN = "broken: "


def broken(reason: str) -> str:
    """The mark of an object that is there but not whole, with the reason in words: no fingerprint equals it."""
    return _BROKEN + reason


def why_broken(mark: str) -> str:
    """The reason that a mark gives; empty where it is a fingerprint, or gives none."""
    return mark.removeprefix(_BROKEN) if mark.startswith(_BROKEN) else ""


def fingerprint(item: HostObject) -> str:
    """Content of an object as 16 hexadecimal digits; why it exists (`origin`, `aspect`) does not count."""
    return digest(_encoder.encode(msgspec.structs.replace(item, origin=(), aspect="")))
