"""The sockets of the server: the port of the API, and a unix socket for each host of a lab."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
import stat
from pathlib import Path

from netloom.model.errors import UserError
from netloom.model.server_settings import ServerSettings

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A connection that has been silent for a minute is asked every 15 s; after four times without an answer it ends."""


def listen(settings: ServerSettings) -> list[socket.socket]:
    """Bind the API's port and one unix socket a host, before anything else is touched."""
    host, port = settings.address
    if not _is_loopback(host) and settings.auth == "trusted-headers":
        raise UserError(
            f"{settings.listen} can be reached from other machines, and with trusted headers anybody there would "
            'be an administrator: set [server] auth = "token"'
        )
    if not _is_loopback(host) and not settings.tls_certificate and not settings.plain_http_anywhere:
        raise UserError(
            f"{settings.listen} can be reached from other machines, and tokens would travel in the clear: "
            "set [server] tls_certificate and tls_key (or plain_http_anywhere = true behind a TLS proxy)"
        )
    if settings.tls_certificate:
        try:
            ssl.create_default_context().load_cert_chain(settings.tls_certificate, settings.tls_key)
        except OSError as error:
            raise UserError(
                f"cannot read [server] tls_certificate {settings.tls_certificate} with tls_key "
                f"{settings.tls_key}: {error.strerror or error}"
            ) from error
    sockets = [_tcp(host, port)]
    try:
        # Hosts that one process simulates share a socket.
        paths = {path: name for name, path in reversed(settings.agent_sockets.items())}
        sockets += [_unix(name, Path(path)) for path, name in paths.items()]
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tcp(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Every connection takes these over: a client whose machine is gone does not hold its half upload for good.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            bound.setsockopt(socket.IPPROTO_TCP, option, value)
        bound.bind(address)
        bound.listen(2048)
    except OSError as error:
        why = {
            errno.EADDRINUSE: "another process has it: stop that, or set [server] listen",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "ports below 1024 need root",
        }.get(error.errno or 0, error.strerror or str(error))
        raise UserError(f"cannot listen on {host}:{port}: {why}") from error
    bound.setblocking(False)
    return bound


def _unix(name: str, path: Path) -> socket.socket:
    if len(os.fsencode(path)) > 107:
        raise UserError(
            f"the agent socket of {name} has too long a path (107 bytes at most): {path}"
        )
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            # Left over, or alive? Only who answers is alive.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    path.unlink()
                else:
                    raise UserError(f"another server answers on the agent socket of {name}: {path}")
        bound.bind(str(path))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise UserError(
            f"cannot make the agent socket of {name}, {path}: {error.strerror}"
        ) from error
    bound.setblocking(False)
    return bound
