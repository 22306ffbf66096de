"""Credentials of hosts: the text that a host shows, and the hash of it that the server keeps."""

from __future__ import annotations

import hashlib


def secret_hash(secret: str) -> str:
    """Return what is stored of a host's secret. It is 256 random bits: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()
