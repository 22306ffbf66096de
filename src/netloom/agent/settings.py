"""The agent's settings: a TOML file with `[agent]` and `[physical_networks]`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from netloom.model.errors import UserError


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[agent]`.

    `host`: this host's name, as `netloom host add` registered it. `server`: `unix:///path` or an https URL.
    `secret_file`: the credential that `netloom host add` printed. `ca_file`: the certificate authority of the
    server, where it is not one that the system trusts. `roles`: `network` (carries routers) and/or
    `compute`. `state_dir`: what must outlive a reboot. `run_dir`: what need not (files of dnsmasq, which others than root read). `tunnel_ip`: this host's end of tunnels.
    `network_namespace = "own"`: the agent runs in a network namespace that is its own to change.
    `instance_types`: instances that it may run (`container`), none by default, as a tenant's image is hostile.
    `ovs_rundir`: where Open vSwitch keeps its sockets. Sizes in MiB: `max_image_mib` of an unpacked image.
    """

    host: str
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

    @property
    def state(self) -> Path:
        """`state_dir` as a path."""
        return Path(self.state_dir)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. `physical_networks`: name → the interface that leads to it; its bridge is `br-<name>`."""

    agent: AgentSettings
    physical_networks: dict[str, str] = field(default_factory=dict)

    def bridge_mappings(self) -> dict[str, str]:
        """Physical network → bridge."""
        return {name: f"br-{name}" for name in self.physical_networks}


def load(path: Path) -> Settings:
    """Read the file; raises UserError with one line that says what is wrong with it."""
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {error}") from error
    for name in settings.physical_networks:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,8}", name):
            # «int-br-» and the name is a device: 15 characters at most.
            raise UserError(
                f"{path}: physical network {name!r}: the name takes 1 to 8 letters, digits, dots, dashes"
            )
    server = settings.agent.server
    if not server.startswith(("unix:///", "https://")):
        raise UserError(f"{path}: server must be unix:///path or an https URL, not {server!r}")
    return settings
