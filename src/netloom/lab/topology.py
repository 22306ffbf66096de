"""Which hosts a lab has, how they are wired and which addresses they have.

```
              outside: the internet, 198.51.100.10 (web, DNS)
               | 192.0.2.1          | 203.0.113.1
   ======= extnet =======   ======= public =======      physical networks (kernel bridges)
      |      |      |          |      |      |
   network1  compute1 ...   network1  compute1 ...
      |10.255.0.11  |10.255.0.12
   ====================== underlay ======================    tunnels
```

The bridges stand in a namespace of their own, `fabric`. Address ranges are those that RFC 5737 keeps for
examples; they exist inside the lab's namespaces only.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from msgspec import Struct

from netloom.model.family import of as family_of
from netloom.model.hosts import Backend, InstanceType, Role

FABRIC = "fabric"
OUTSIDE = "outside"
UNDERLAY = "underlay"
PHYSICAL_NETWORKS = ("extnet", "public")
WEB = "198.51.100.10"
"""The web and name server that plays the rest of the internet, in `outside`."""
GATEWAYS = {"extnet": "192.0.2.1", "public": "203.0.113.1"}
"""Physical network → the gateway on it, an address of `outside`."""
RANGES = {"extnet": "192.0.2.0/24", "public": "203.0.113.0/24"}
INSTANCE_TYPES: tuple[InstanceType, ...] = ("container",)


class Overlay(Struct, frozen=True):
    """Addresses of one IP version on the underlay, between which tunnels run.

    `first`: of the first host; the others' follow. `fabric`: the fabric's own, with the length of the prefix.
    """

    first: str
    fabric: str

    @property
    def prefix_length(self) -> str:
        """Of the underlay, in bits."""
        return self.fabric.partition("/")[2]


OVERLAYS = {
    4: Overlay("10.255.0.11", "10.255.255.254/16"),
    6: Overlay("fd00:10:255::11", "fd00:10:255::fffe/64"),
}
"""By IP version."""
SIMULATED_RANGE = "10.255.128.0/17"
"""Ends of tunnels of simulated hosts, on the underlay: the fabric answers for all of them, so that nobody calls them silent."""
FIRST_SIMULATED = "10.255.128.1"
MOST_SIMULATED = 1000
"""Simulated hosts of one lab, which one process is."""


class Node(Struct, frozen=True):
    """One host of the lab."""

    name: str
    roles: tuple[Role, ...]
    tunnel_ip: str
    backend: Backend = "ovs"

    def nic(self, network: str) -> str:
        """The host's network card on the underlay or a physical network."""
        return f"eth-{network}"

    def plug(self, network: str) -> str:
        """The other end of that cable, a port of the fabric's bridge."""
        return f"{network[0]}-{self.name}"


def overlay_of(node: Node) -> Overlay:
    """The addresses of the version that a host's are of."""
    return OVERLAYS[family_of(node.tunnel_ip).version]


def nodes(
    computes: int,
    overlay_ip_version: int = 4,
    networks: int = 1,
    backend: Backend = "ovs",
    backends: Mapping[str, Backend] = {},
) -> list[Node]:
    """`networks` network hosts and `computes` compute hosts. `backends`: of single hosts, where it is another one."""
    first = ip_address(OVERLAYS[overlay_ip_version].first)
    names = [f"network{number + 1}" for number in range(networks)]
    names += [f"compute{number + 1}" for number in range(computes)]
    return [
        Node(
            name,
            ("network",) if name.startswith("network") else ("compute",),
            str(first + number),
            backends.get(name, backend),
        )
        for number, name in enumerate(names)
    ]


def simulated(count: int) -> list[str]:
    """Names of the hosts that one process simulates."""
    return [f"sim-{number + 1}" for number in range(count)]
