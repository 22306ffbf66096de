"""What a host's own words may be: names and addresses that reach other hosts, the kernel or a log.

Each function returns its argument where it is valid and raises ValueError with one plain line where it is not.
The types that carry such words (`HostFacts`, `Chassis`, `SetTunnel`) call them whenever one is made, by hand or
from JSON: at the server's door, from the database, on the agent, and in the plan.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

LONGEST_HOST_NAME = 253
"""Characters of a host's name: those of a DNS name (RFC 1035, section 2.3.4, as text)."""

LONGEST_DETAIL = 500
"""Characters of the sentence that a host says of an object."""

_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*")
_DEVICE = re.compile(r"[A-Za-z0-9_.@+-]{1,15}")
_PHYSICAL_NETWORK = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_METADATA = IPv4Address("169.254.169.254")


def shown(text: object) -> str:
    """Show what somebody else wrote in a line of ours: quoted, escaped, and cut."""
    return ascii(text if not isinstance(text, str) or len(text) <= 60 else text[:60] + "…")


def host_name(text: str) -> str:
    """A host's name is one path segment and one word of every text that names it: letters, digits, `-`, `_`, `.`."""
    if len(text) > LONGEST_HOST_NAME or not _HOST_NAME.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is no host name: it takes 1 to {LONGEST_HOST_NAME} letters, digits, dots, dashes and"
            " underscores, and each part begins with a letter, digit or underscore"
        )
    return text


@lru_cache(4096)
def tunnel_end(text: str) -> str:
    """The address of one host, IPv4 or IPv6, in its usual form: other hosts send their tunnels there."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is no IP address: tunnels need one") from None
    if (
        address.is_multicast
        or address.is_loopback
        or address.is_reserved
        or (_is_of_no_host(address) if isinstance(address, IPv4Address) else _needs_more(address))
    ):
        raise ValueError(f"{shown(text)} is no address of a host: no tunnel can end there")
    if text != str(address):
        # Hosts are compared by the text of their addresses: each has one spelling (RFC 5952).
        raise ValueError(f"{shown(text)} is not the usual form of the address: write {address}")
    return text


def _is_of_no_host(address: IPv4Address) -> bool:
    return address in _THIS_NETWORK or address == _METADATA


def _needs_more(address: IPv6Address) -> bool:
    """Whether an address means something only together with a link, or is none at all."""
    return address.is_link_local or address.is_unspecified or address.scope_id is not None


def device_name(text: str) -> str:
    """A name that Linux takes for a network device: 1 to 15 characters (IFNAMSIZ), no slash, colon or space."""
    if not _DEVICE.fullmatch(text) or text in (".", "..") or text.startswith("-"):
        raise ValueError(f"{shown(text)} is no name of a network device")
    return text


def physical_network(text: str) -> str:
    """The name of a physical network, as `provider:physical_network` has it."""
    if not _PHYSICAL_NETWORK.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is no physical network: the name takes letters, digits, dots, dashes and underscores"
        )
    return text


def line(what: str, text: str, most: int) -> str:
    """One line of at most `most` characters: no line break, no NUL, nothing that a terminal would obey."""
    if len(text) > most:
        raise ValueError(f"{what} is longer than {most} characters")
    if not text.isprintable():
        raise ValueError(f"{what} holds characters that cannot be printed: {shown(text)}")
    return text


def one_line(text: str, most: int = LONGEST_DETAIL) -> str:
    """Make `line` true of any text: what cannot be printed becomes a space, what is too long is cut."""
    text = "".join(c if c.isprintable() else " " for c in text[: most * 4])
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
