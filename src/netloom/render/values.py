"""The forms of values that may stand in another program's text.

Each function returns its value as text, or raises Unwritable. Nothing else than these forms is put into a line, so
that no value can end the line, begin another word, or be read as a keyword.
"""

from __future__ import annotations

import ipaddress
import re

from netloom.model.family import V4, Family

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Unwritable(ValueError):
    """A value has not the form that its place in a program's text asks for."""

    def __init__(self, what: str, value: object) -> None:
        super().__init__(f"{str(value)[:100]!r} is no {what}")


def word(value: str) -> str:
    """An id, or a name made of one: letters, digits, `.`, `_` and `-`, at most 100."""
    if not _WORD.fullmatch(value):
        raise Unwritable("plain name", value)
    return value


def device(value: str) -> str:
    """A network device's name: as `word`, at most 15 characters (IFNAMSIZ)."""
    if not _DEVICE.fullmatch(value):
        raise Unwritable("device name", value)
    return value


def mac(value: str) -> str:
    """A MAC address in small letters with colons."""
    if not _MAC.fullmatch(value):
        raise Unwritable("MAC address", value)
    return value


def mac_or_mask(value: str) -> str:
    """A MAC address, alone or with a mask (`MAC/MASK`)."""
    return "/".join(mac(part) for part in _two(value))


def address(value: str, family: Family) -> str:
    """An address of a family."""
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        found = None
    # A scope (`fe80::1%eth0`) may be any text.
    if found is None or found.version != family.version or "%" in value:
        raise Unwritable(f"{family.ethertype} address", value)
    return str(found)


def ipv4(value: str) -> str:
    """An IPv4 address."""
    return address(value, V4)


def network(value: str, family: Family) -> str:
    """An address or CIDR of a family, as it was written."""
    try:
        found = ipaddress.ip_network(value, strict=False)
    except ValueError:
        found = None
    # A scope (`fe80::1%eth0`) may be any text.
    if found is None or found.version != family.version or "%" in value:
        raise Unwritable(f"{family.ethertype} address or network", value)
    return value


def number(value: int, most: int) -> int:
    """A whole number from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise Unwritable(f"number from 0 to {most}", value)
    return value


def host_name(value: str) -> str:
    """A host name without its domain (RFC 1123: letters, digits, hyphens, at most 63)."""
    if not _LABEL.fullmatch(value):
        raise Unwritable("host name", value)
    return value


def domain(value: str) -> str:
    """A domain name (RFC 1123), at most 253 characters."""
    if len(value) > 253 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise Unwritable("domain name", value)
    return value


def line(text: str, most: int) -> str:
    """A line without its end; it must have at most `most` bytes, the end not counted."""
    if "\n" in text or "\r" in text or "\0" in text or len(text.encode(errors="replace")) > most:
        raise Unwritable(f"line of at most {most} bytes", text)
    return text


def _two(value: str) -> list[str]:
    parts = value.split("/")
    if len(parts) > 2:
        raise Unwritable("value with at most one mask", value)
    return parts
