"""The server's settings: one TOML file, decoded into frozen structs; what is not set has its default."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from netloom.model import NetworkSettings, toml
from netloom.model.context import LARGEST_GRE_KEY, LARGEST_VNI, NETWORK_QUOTAS, VLANS
from netloom.model.settings import COMPUTE_QUOTAS, ComputeSettings, IdentitySettings, ImageSettings


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: where the API listens and where it keeps its files.

    `listen`: address and port. `public_url`: what clients reach it as, for the catalog and links; empty:
    made from `listen`. `state_dir`: secrets, images, consoles, the default database. `database`: a URL;
    empty: `sqlite:///STATE_DIR/netloom.db`. `agent_sockets`: host name → path of a unix socket that
    only this host's agent reaches. `auth`: `token`, or `trusted-headers` (tests and benchmarks only:
    whoever reaches the port is who the X-Project-Id, X-User-Id and X-Roles headers say).
    `tls_certificate`, `tls_key`: PEM files; without them only loopback addresses are listened on, unless
    `plain_http_anywhere` says so. `readers`: threads that read. `policy_file`: oslo.policy overrides.
    `log_level`: as Python's logging names it. `max_body_bytes`: largest JSON body. `trusted_proxies`: addresses
    or networks of proxies whose X-Forwarded-For, -Proto and -Host are believed.
    """

    listen: str = "127.0.0.1:9696"
    public_url: str = ""
    state_dir: str = "/var/lib/netloom"
    database: str = ""
    agent_sockets: dict[str, str] = field(default_factory=dict)
    auth: Literal["token", "trusted-headers"] = "token"
    tls_certificate: str = ""
    tls_key: str = ""
    plain_http_anywhere: bool = False
    readers: int = 4
    policy_file: str = ""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_body_bytes: Annotated[int, Meta(ge=1)] = 1024**2
    trusted_proxies: tuple[str, ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        """`listen` as (address, port)."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def url(self) -> str:
        """The root that clients reach the API at, without a final slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        return f"{'https' if self.tls_certificate else 'http'}://{self.listen}"

    @property
    def database_url(self) -> str:
        """The database's URL."""
        return self.database or f"sqlite:///{self.state_dir}/netloom.db"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file, one section a field."""

    server: ServerSettings = field(default_factory=ServerSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)


def load(path: str | Path) -> Settings:
    """Read the file; a mistake in it is a UserError that names the file and the place."""
    return toml.load(Path(path), Settings, _check)


def _check(settings: Settings) -> None:
    """What types alone cannot say; raises ValueError."""
    server = settings.server
    host, _, port = server.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"[server] listen must be ADDRESS:PORT, not {server.listen!r}")
    if bool(server.tls_certificate) != bool(server.tls_key):
        raise ValueError("[server] tls_certificate and tls_key go together")
    if server.tls_certificate and server.agent_sockets:
        raise ValueError(
            "[server] agent_sockets are for a lab, without TLS: with it agents use the URL"
        )
    if not 1 <= server.readers <= 64:
        raise ValueError("[server] readers must be between 1 and 64")
    if server.public_url and not server.public_url.startswith(("https://", "http://")):
        raise ValueError(
            f"[server] public_url must be an http or https URL, not {server.public_url!r}"
        )
    for proxy in server.trusted_proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise ValueError(
                f"[server] trusted_proxies: {proxy!r} is no address and no network"
            ) from None
    network = settings.network
    _check_ranges("vni_ranges", network.vni_ranges, LARGEST_VNI)
    _check_ranges("tunnel_id_ranges", network.tunnel_id_ranges, LARGEST_GRE_KEY)
    for name, ranges in network.vlan_ranges.items():
        _check_ranges(f"vlan_ranges.{name}", ranges, VLANS[1])
    if int(network.base_mac[1], 16) & 1:
        raise ValueError(f"[network] base_mac {network.base_mac} is a multicast address")
    _check_quotas("network", network.quotas, NETWORK_QUOTAS)
    _check_quotas("compute", settings.compute.quotas, COMPUTE_QUOTAS)


def _check_ranges(name: str, ranges: tuple[tuple[int, int], ...], largest: int) -> None:
    for first, last in ranges:
        if not 1 <= first <= last <= largest:
            raise ValueError(
                f"[network] {name}: [{first}, {last}] is no range between 1 and {largest}"
            )


def _check_quotas(section: str, given: dict[str, int], known: dict[str, int]) -> None:
    for name in given.keys() - known.keys():
        raise ValueError(
            f"[{section}.quotas] {name} is no quota: there are {', '.join(sorted(known))}"
        )
