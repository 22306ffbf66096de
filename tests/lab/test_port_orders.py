"""A port, its server and its floating IP come in any order; what is there at the end works, with real packets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.running_lab import RunningLab
from tests.support.tenant import COMPUTE, NETWORKING, Instance, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]

ICMP = {"protocol": "icmp"}


def active(tenant: Tenant, server: str, *ports: dict[str, Any]) -> Instance:
    """The server as it runs; it and its ports are ACTIVE."""
    found = tenant.instance(server)
    for port in ports:
        shown = tenant.get(f"{NETWORKING}/ports/{port['id']}")["port"]
        assert (shown["status"], shown["device_id"]) == ("ACTIVE", server)
    return found


def drop(tenant: Tenant, server: str) -> None:
    """Delete a server and wait until the API has forgotten it, no longer."""
    tenant.delete(f"{COMPUTE}/servers/{server}")


def test_every_order_of_port_server_and_floating_ip(lab: RunningLab) -> None:
    with Tenant(lab) as tenant:
        network = tenant.network("orders", "10.66.0.0/24")
        tenant.router(network)
        group = tenant.group(ICMP)
        attributes = {"network_id": network["id"], "security_groups": [group["id"]]}

        # The network is on both hosts already, so each of them knows every port before it is bound.
        anchors = [tenant.boot(f"anchor{n}", f"compute{n}", network, group) for n in (1, 2)]
        port = tenant.make("ports", **attributes)
        # Floating IP first, on a port that no host has; and the port is looked at while it is nobody's.
        floating = tenant.floating_ip(port["id"])["floating_ip_address"]
        first, _ = (tenant.instance(server) for server in anchors)
        assert tenant.get(f"{NETWORKING}/ports/{port['id']}")["port"]["status"] == "DOWN"

        server = tenant.boot_on("orders", "compute1", port)
        instance = active(tenant, server, port)
        instance.reaches(first.address)
        lab.until(
            lambda: (
                " 0% packet loss"
                in lab.exec("outside", "ping", "-c1", "-W1", floating, check=False)
            ),
            30,
            "the floating IP that came first is not answered",
        )
        said = instance.run("curl", "-s", "http://169.254.169.254/latest/meta-data/public-ipv4")
        assert said == floating
        # What proxies of Nova's metadata service are told apart by says nothing here.
        other = ("-H", f"X-Forwarded-For: {first.address}", "-H", f"X-Instance-ID: {first.id}")
        said = instance.run(
            "curl", "-s", *other, "http://169.254.169.254/openstack/latest/meta_data.json"
        )
        assert server in said and first.id not in said

        # The same port again at once, for a new server on the same host, then on the other, and back.
        for host in ("compute1", "compute2", "compute1"):
            drop(tenant, server)
            server = tenant.boot_on("orders", host, port)
            instance = active(tenant, server, port)
            assert instance.host == host
            instance.reaches(first.address)

        # There and back before any host has heard of it.
        drop(tenant, server)
        server = tenant.boot_on("orders", "compute2", port)
        drop(tenant, server)
        server = tenant.boot_on("orders", "compute1", port)
        active(tenant, server, port).reaches(first.address)

        # Another port that was made before, for a server whose floating IP moves over from the first.
        second = tenant.make("ports", **attributes)
        drop(tenant, server)
        server = tenant.boot_on("orders", "compute1", second)
        found = tenant.get(f"{NETWORKING}/floatingips", floating_ip_address=floating)
        tenant.put(
            f"{NETWORKING}/floatingips/{found['floatingips'][0]['id']}",
            {"floatingip": {"port_id": second["id"]}},
        )
        active(tenant, server, second)
        kept = tenant.get(f"{NETWORKING}/ports/{port['id']}")["port"]
        assert (kept["status"], kept["device_id"]) == ("DOWN", "")
        lab.until(
            lambda: (
                " 0% packet loss"
                in lab.exec("outside", "ping", "-c1", "-W1", floating, check=False)
            ),
            30,
            "the floating IP that moved is not answered",
        )
