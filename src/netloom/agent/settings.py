"""The agent's settings: a TOML file with `[agent]` and `[physical_networks]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from netloom.model import bounds, toml
from netloom.model.hosts import MOST_MEMBERS
from netloom.model.names import INTEGRATION_BRIDGE


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[agent]`.

    `host`: this host's name, as `netloom host add` registered it. `backend`: what carries networks here, Open vSwitch or Linux bridges. `server`: `unix:///path` or an https URL.
    `secret_file`: the credential that `netloom host add` printed. `ca_file`: the certificate authority of the
    server, where it is not one that the system trusts. `roles`: `network` (carries routers) and/or
    `compute`. `state_dir`: what must outlive a reboot. `run_dir`: what need not (files of dnsmasq, which others than root read). `tunnel_ip`: this host's end of tunnels.
    `tunnel_types`: that it can carry. `availability_zone`: that its ports and routers are in.
    `network_namespace = "own"`: the agent runs in a network namespace that is its own to change.
    `instance_types`: instances that it may run (`container`), none by default, as a tenant's image is hostile.
    `connections_per_port`: that Open vSwitch remembers for a port, each some 0.5 KiB of the switch's memory.
    `ovs_rundir`: where Open vSwitch keeps its sockets. Sizes in MiB: `max_image_mib` of an unpacked image.
    """

    host: str
    backend: Literal["ovs", "linuxbridge"] = "ovs"
    server: str
    secret_file: str
    ca_file: str | None = None
    roles: tuple[Literal["network", "compute"], ...] = ("compute",)
    state_dir: str = "/var/lib/netloom/agent"
    run_dir: str = "/run/netloom/agent"
    tunnel_ip: str | None = None
    tunnel_types: tuple[Literal["vxlan", "gre", "geneve"], ...] = ("vxlan",)
    network_namespace: Literal["own", "root"] | None = None
    availability_zone: str = "nova"
    instance_types: tuple[Literal["container"], ...] = ()
    ovs_rundir: str = "/var/run/openvswitch"
    max_image_mib: int = 8192
    connections_per_port: int = 65536

    @property
    def state(self) -> Path:
        """`state_dir` as a path."""
        return Path(self.state_dir)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file.

    `physical_networks`: name → the interface that leads to it, or several, which become a bond; its bridge is `br-<name>`.
    """

    agent: AgentSettings
    physical_networks: dict[str, str | tuple[str, ...]] = field(default_factory=dict)

    def bridge_mappings(self) -> dict[str, str]:
        """Physical network → bridge."""
        return {name: f"br-{name}" for name in self.physical_networks}

    def physical_interfaces(self) -> dict[str, str]:
        """Bridge → the interface, or the bond of several, that leads out of it."""
        return {
            f"br-{name}": nic if isinstance(nic, str) else f"bond-{name}"
            for name, nic in self.physical_networks.items()
        }

    def bonds(self) -> dict[str, tuple[str, ...]]:
        """Bond → its interfaces."""
        named = self.physical_networks.items()
        return {f"bond-{name}": nics for name, nics in named if not isinstance(nics, str)}


def load(path: Path) -> Settings:
    """Read the file; raises UserError with one line that says what is wrong with it."""
    return toml.load(path, Settings, _check)


def _check(settings: Settings) -> None:
    """What types alone cannot say; raises ValueError."""
    agent = settings.agent
    try:
        bounds.host_name(agent.host)
    except ValueError as error:
        raise ValueError(f"[agent] host: {error}") from None
    for name in settings.physical_networks:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,8}", name):
            # «int-br-» and the name is a device: 15 characters at most.
            raise ValueError(
                f"physical network {name!r}: the name takes 1 to 8 letters, digits, dots, dashes"
            )
        if f"br-{name}" == INTEGRATION_BRIDGE:
            raise ValueError(
                f"physical network {name!r} would get the bridge {INTEGRATION_BRIDGE}, which joins instances: name it otherwise"
            )
    for name, nics in settings.physical_networks.items():
        for nic in (nics,) if isinstance(nics, str) else nics:
            bounds.device_name(nic)
        if not isinstance(nics, str) and agent.backend == "linuxbridge":
            raise ValueError(
                f"physical network {name!r}: bonds are made by Open vSwitch; on a host with Linux bridges make one with the"
                " system's own tools and give its name"
            )
        if not isinstance(nics, str) and not 2 <= len(set(nics)) == len(nics) <= MOST_MEMBERS:
            raise ValueError(
                f"physical network {name!r}: a bond takes 2 to {MOST_MEMBERS} different interfaces"
            )
    if not _is_server(agent.server):
        raise ValueError(
            f"[agent] server must be unix:///path or an https URL, not {agent.server!r}"
        )
    if agent.tunnel_ip is not None:
        try:
            bounds.tunnel_end(agent.tunnel_ip)
        except ValueError as error:
            raise ValueError(f"[agent] tunnel_ip: {error}") from None
    bounds.line("[agent] availability_zone", agent.availability_zone, 255)
    if agent.max_image_mib < 1:
        raise ValueError("[agent] max_image_mib must be at least 1")
    if not 1 <= agent.connections_per_port <= 3_000_000:
        # Open vSwitch's own bound of all connections is 3,000,000.
        raise ValueError("[agent] connections_per_port must be from 1 to 3000000")


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return url.startswith("unix:///")
    return (
        parts.scheme == "https" and bool(parts.hostname) and port != 0 and parts.path in ("", "/")
    )
