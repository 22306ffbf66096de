"""The head of a request, before anybody looks at it: what is refused, and who the client behind a proxy is.

The bytes and the number of headers are bounded earlier, where they are read (`patience`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from netloom.api.http import services_of

LONGEST_TARGET = 16_384
"""Bytes of path and query, as Neutron's server takes them."""

_ONCE = frozenset(
    [
        b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization",
        b"x-auth-token", b"x-subject-token", b"x-service-token", b"x-forwarded-host",
        b"x-forwarded-proto",
    ]
)  # fmt: skip
"""Headers of which two programs could each believe another one: they stand once, or the request is refused."""

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?")

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class Proxies:
    """The proxies that are trusted: they, and nobody else, are believed about their clients."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self.trusted: Networks = tuple(ipaddress.ip_network(each) for each in trusted_proxies)

    def believe(self, scope: Scope) -> None:
        """Take over what a trusted proxy says of its client."""
        if not self.trusted:
            return
        client: Sequence[str] = scope.get("client") or ("",)
        if self._trusts(client[0]):
            self._believe(scope, Headers(scope=scope))

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self.trusted)

    def _believe(self, scope: Scope, headers: Headers) -> None:
        """Take over what the proxy says of its client: address, scheme and the name that was asked for."""
        ways = [each.strip() for each in ",".join(headers.getlist("x-forwarded-for")).split(",")]
        # From the right: what stands left of an address that is not a trusted proxy was said by that address.
        for address in reversed([each for each in ways if each]):
            scope["client"] = (address[:64], 0)
            if not self._trusts(address):
                break
        scheme = headers.get("x-forwarded-proto", "").strip()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        host = headers.get("x-forwarded-host", "").strip()
        if _HOST.fullmatch(host):
            scope["netloom.host"] = host


def complaint(scope: Scope) -> tuple[int, str, str] | None:
    """Return what is wrong with a head: status, title and a sentence."""
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_TARGET:
        return 414, "Request-URI Too Long", f"Path and query have at most {LONGEST_TARGET} bytes."
    if scope["method"] == "CONNECT":
        return 405, "Method Not Allowed", "This server is no proxy."
    once = [name for name, _ in scope["headers"] if name in _ONCE]
    if len(once) > 1 and len(once) != len(set(once)):
        return 400, "Bad Request", "A header stands twice that may stand once."
    if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
        return 400, "Bad Request", "Path and query must not contain the character NUL."
    return None


def root_url(request: Request) -> str:
    """Return the URL that links in answers begin with, never from what a client alone says.

    `public_url` where it is set; else what a trusted proxy says was asked for; else the address at which the
    request came in.
    """
    settings = services_of(request).settings.server
    if settings.public_url:
        return settings.url
    scope = request.scope
    if host := scope.get("netloom.host"):
        return f"{scope['scheme']}://{host}"
    address, port = scope.get("server") or ("", None)
    if port is None:
        return settings.url
    literal = f"[{address}]" if ":" in address else address
    return f"{scope['scheme']}://{literal}:{port}"
