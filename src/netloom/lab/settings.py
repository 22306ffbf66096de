"""The settings files of a lab's server, agents and clients: what an operator would write by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec

from netloom.lab.hosts import SOCKET_IN_HOST
from netloom.lab.state import Lab, write
from netloom.lab.topology import FIRST_SIMULATED, INSTANCE_TYPES, PHYSICAL_NETWORKS, Node
from netloom.model import HostGrant
from netloom.model.hosts import TunnelType

SIMULATED = "simulated"
"""The process that simulates hosts, and the folder of their credentials."""

DOMAIN = "Default"
REGION = "RegionOne"


def toml(table: dict[str, object]) -> str:
    """One TOML table's lines; JSON's texts, numbers, booleans and lists of them are TOML's as well."""
    return "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in table.items())


def server_file(lab: Lab) -> Path:
    """Where the server's settings are."""
    return lab.directory / "server.toml"


def write_server(
    lab: Lab,
    nodes: list[Node],
    port: int,
    simulated: Sequence[str] = (),
    overlay_ip_version: int = 4,
) -> None:
    """Write the server's settings. `simulated`: hosts of one process, which share a socket."""
    sockets: dict[str, object] = {node.name: str(lab.socket(node.name)) for node in nodes}
    sockets |= dict.fromkeys(simulated, str(lab.socket(SIMULATED)))
    sections = {
        "server": {"listen": f"127.0.0.1:{port}", "state_dir": str(lab.directory / "server")},
        "server.agent_sockets": sockets,
        # An agent reports every 5 s: three reports missed and the host counts as dead.
        "network": {
            "external_physical_network": "public",
            "flat_networks": list(PHYSICAL_NETWORKS),
            "agent_down_seconds": 15.0,
            "overlay_ip_version": overlay_ip_version,
        },
        "network.vlan_ranges": {network: [[100, 199]] for network in PHYSICAL_NETWORKS},
    }
    text = "\n".join(f"[{name}]\n{toml(dict(table))}" for name, table in sections.items())
    write(server_file(lab), text)


def write_agent(lab: Lab, node: Node) -> None:
    """Write a host's agent's settings. Paths are those that the host sees."""
    directory = lab.host(node.name)
    agent: dict[str, object] = {
        "host": node.name,
        "backend": node.backend,
        "server": f"unix://{SOCKET_IN_HOST}",
        "secret_file": str(directory / "secret"),
        "roles": list(node.roles),
        "state_dir": str(directory / "state"),
        "tunnel_ip": node.tunnel_ip,
        "tunnel_types": list(get_args(TunnelType)),
        "network_namespace": "own",
        "instance_types": list(granted(node).instance_types),
    }
    physical: dict[str, object] = {network: node.nic(network) for network in PHYSICAL_NETWORKS}
    write(
        directory / "agent.toml", f"[agent]\n{toml(agent)}\n[physical_networks]\n{toml(physical)}"
    )


def simulated_file(lab: Lab) -> Path:
    """Where the settings of the simulated hosts are."""
    return lab.directory / "simulated.toml"


def write_simulated(lab: Lab, names: Sequence[str]) -> None:
    """Write the settings of the process that simulates hosts; it runs beside the server, not in a host."""
    table: dict[str, object] = {
        "server": f"unix://{lab.socket(SIMULATED)}",
        "secrets": str(lab.host(SIMULATED)),
        "hosts": list(names),
        "first_tunnel_ip": FIRST_SIMULATED,
    }
    write(simulated_file(lab), f"[simulated]\n{toml(table)}")


def granted(node: Node) -> HostGrant:
    """What the lab's server lets a host be: what `netloom host add --role …` would say."""
    return HostGrant(
        roles=node.roles,
        physical_networks=PHYSICAL_NETWORKS,
        instance_types=INSTANCE_TYPES if "compute" in node.roles else (),
    )


def passwords(lab: Lab) -> dict[str, str]:
    """User → password, as the server made them at its first start."""
    path = lab.directory / "server/first-passwords.json"
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str])


def credentials(lab: Lab, port: int, user: str) -> dict[str, str]:
    """What a client needs to be `user` in the project of the same name, by keystoneauth's names."""
    return {
        "auth_url": f"http://127.0.0.1:{port}/identity/v3",
        "username": user,
        "password": passwords(lab)[user],
        "project_name": user,
        "user_domain_name": DOMAIN,
        "project_domain_name": DOMAIN,
    }


def cloud_of(lab: Lab, user: str) -> str:
    """Return the name that a user's cloud has in the lab's clouds.yaml."""
    return lab.cloud if user == "admin" else f"{lab.cloud}-{user}"


def write_clouds(lab: Lab, port: int) -> None:
    """Write clouds.yaml: the administrator's cloud and the demo project's."""
    clouds = {
        name: {
            "auth": credentials(lab, port, user),
            "region_name": REGION,
            "identity_api_version": 3,
            "interface": "public",
        }
        for name, user in ((cloud_of(lab, user), user) for user in ("admin", "demo"))
    }
    # JSON is YAML too.
    write(lab.clouds, json.dumps({"clouds": clouds}, indent=2) + "\n")


def environment(lab: Lab, port: int, user: str) -> dict[str, str]:
    """Variables that make any OpenStack client `user` of this lab, those of 2016 included."""
    return {
        "OS_CLIENT_CONFIG_FILE": str(lab.clouds),
        **{f"OS_{key.upper()}": value for key, value in credentials(lab, port, user).items()},
        "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": REGION,
    }


def exports(lab: Lab, port: int, user: str, plain: bool = False) -> str:
    """Shell lines that make a client `user` of this lab.

    Clients find the user in the lab's clouds.yaml, so that `--os-cloud` chooses another one: OS_USERNAME and its
    like would win over it, and one that the shell has already is taken away. OS_AUTH_URL is the same for all users
    of the lab. `plain`: the variables alone, for clients that read no clouds.yaml.
    """
    variables = environment(lab, port, user)
    gone = ["OS_CLOUD"]
    if not plain:
        kept = ("OS_CLIENT_CONFIG_FILE", "OS_AUTH_URL")
        gone = [name for name in variables if name not in kept]
        variables = {name: variables[name] for name in kept} | {"OS_CLOUD": cloud_of(lab, user)}
    lines = [f"unset {' '.join([*gone, *_OTHERS])}"]
    lines += [f"export {name}={_quote(value)}" for name, value in variables.items()]
    return "\n".join(lines) + "\n"


_OTHERS = (
    "OS_USER_ID", "OS_PROJECT_ID", "OS_TENANT_NAME", "OS_TENANT_ID", "OS_USER_DOMAIN_ID", "OS_PROJECT_DOMAIN_ID",
    "OS_DOMAIN_NAME", "OS_DOMAIN_ID", "OS_TOKEN", "OS_AUTH_TYPE", "OS_SYSTEM_SCOPE", "OS_CACERT",
)  # fmt: skip
"""What another cloud may have left in the shell, and what would not go together with ours."""


def _quote(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
