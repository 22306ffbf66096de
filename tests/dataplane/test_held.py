"""What keepalived holds in a namespace, the agent neither adds nor removes nor complains of."""

from __future__ import annotations

import pytest

from tests.support.host import Host

pytestmark = pytest.mark.root

SCRIPT = """
import subprocess
from msgspec.structs import replace
from netloom.dataplane.linux import namespaces, nsroutes
from netloom.dataplane.linux.namespaces import Held
from netloom.dataplane.mark import why_broken
from netloom.model.hoststate import Address, Device, Namespace, NsRoute

def sh(words):
    return subprocess.run(words, shell=True, check=True, capture_output=True, text=True).stdout

NS = "qrouter-one"
namespaces.ensure_namespace(Namespace(name=NS))
sh("ip link add qr-one type veth peer name peer; ip link set peer up")
kept = Address("10.0.0.1/24", "keepalived")
device = Device(
    namespace=NS, name="qr-one", mac="fa:16:3e:00:00:01", mtu=1450, held_by="keepalived",
    addresses=(Address("10.9.0.1/24"), kept),
)
route = NsRoute(
    namespace=NS, destination="0.0.0.0/0", device="qr-one", gateway="10.0.0.254", held_by="keepalived"
)
held = Held.of([device, route])

def look():
    seen = namespaces.read_namespace(NS, held)
    mark = seen.devices[device.key]
    print(mark == namespaces.device_mark(device), why_broken(mark), seen.routes, list(seen.foreign.values()))

print(namespaces.ensure_device(device))
look()
print("UP" in sh(f"ip -n {NS} link show qr-one").split("mtu")[0].split("<")[1].split(","))
sh(f"ip -n {NS} link set qr-one up; ip -n {NS} addr add 10.0.0.1/24 dev qr-one")
sh(f"ip -n {NS} route add default via 10.0.0.254 proto 18")
look()
print(namespaces.ensure_device(device))
nsroutes.ensure_route(route)
print(sh(f"ip -n {NS} -br -4 addr show qr-one").split()[2:], sh(f"ip -n {NS} route show default").split()[:3])
sh(f"ip -n {NS} addr del 10.9.0.1/24 dev qr-one")
look()
own = replace(device, held_by="agent", addresses=(Address("10.9.0.1/24"),))
print(namespaces.ensure_device(own), sh(f"ip -n {NS} -br -4 addr show qr-one").split()[2:])
"""


def test_held_addresses_links_and_routes_are_left_alone(host: Host) -> None:
    assert host.python(SCRIPT).splitlines() == [
        "['10.9.0.1/24']",
        "True  {} []",
        "False",  # the link stays down
        "True  {} []",
        "[]",
        "['10.9.0.1/24', '10.0.0.1/24'] ['default', 'via', '10.0.0.254']",
        "False  {} []",
        "['10.9.0.1/24'] ['10.9.0.1/24']",
    ]
