"""Key pairs: public keys of users, by name. A private key made here is given out once and never kept."""

from __future__ import annotations

import base64
import hashlib
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from netloom.compute import quotas
from netloom.model import Caller
from netloom.model.cloud import Keypair
from netloom.model.errors import BadRequest, Conflict, NotFound
from netloom.model.settings import ComputeSettings
from netloom.store import Reader, Writer

_NAME = re.compile(r"[\w .@-]{1,255}", re.ASCII)
_RSA_BITS = 2048


def key_id(user_id: str, name: str) -> str:
    """Return the id of a user's key pair of that name."""
    return f"{user_id}:{name}"


def get(reader: Reader, user_id: str, name: str) -> Keypair:
    """Return the key pair or raise NotFound."""
    keypair = reader.get(Keypair, key_id(user_id, name))
    if keypair is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return keypair


def visible(reader: Reader, user_id: str) -> list[Keypair]:
    """Return a user's key pairs by name."""
    return sorted(reader.list(Keypair, user_id=user_id), key=lambda keypair: keypair.name)


def create(
    w: Writer, settings: ComputeSettings, caller: Caller, user_id: str, name: str, public_key: str
) -> Keypair:
    """Keep a public key under a name."""
    quotas.check_keypairs(w, settings, caller.project_id, user_id)
    if w.get(Keypair, key_id(user_id, name)) is not None:
        raise Conflict(f"Key pair '{name}' already exists.")
    return w.insert(
        Keypair(
            id=key_id(user_id, name),
            name=name,
            user_id=user_id,
            public_key=public_key,
            fingerprint=fingerprint(public_key),
        )
    )


def delete(w: Writer, user_id: str, name: str) -> None:
    """Forget a key pair. Servers keep the key they were made with."""
    w.delete(Keypair, get(w, user_id, name).id)


def check_name(name: str) -> None:
    """Raise BadRequest for a name that cannot stand in a URL."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise BadRequest(
            "Keypair data is invalid: a name has letters, digits, spaces and . @ _ - only."
        )


def check(public_key: str) -> None:
    """Raise BadRequest for what is not one OpenSSH public key. It is kept as it was given, line end included."""
    line = public_key.rstrip("\r\n")
    try:
        if "\n" in line or "\r" in line or len(public_key) > 16384:
            raise ValueError("it is one line")
        serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadRequest(
            f"Keypair data is invalid: failed to generate fingerprint ({error})."
        ) from None


def fingerprint(public_key: str) -> str:
    """Return the MD5 fingerprint of a checked key, as Nova shows it."""
    digest = hashlib.md5(base64.b64decode(public_key.split()[1]), usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, 32, 2))


def generate() -> tuple[str, str]:
    """Return a new (private key as PEM, public key as one line). Slow: call it in a pool."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode(), public.decode() + " Generated-by-Netloom"
