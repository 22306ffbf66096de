"""A lab with simulated hosts beside the real ones."""

from __future__ import annotations

import pytest

from netloom.lab import settings, status
from netloom.lab.client import Client
from tests.support.running_lab import own_lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

NETWORKING = "/networking/v2.0"


def test_simulated_hosts_carry_ports_beside_real_ones_and_run_no_instances() -> None:
    with own_lab("simulated", 1, simulated=5, bare=True) as lab:
        password = settings.passwords(lab.lab)["admin"]
        with Client(lab.state.port, "admin", password) as client:
            agents = client.get(f"{NETWORKING}/agents")["agents"]
            names = {f"sim-{number + 1}" for number in range(5)}
            assert names <= {agent["host"] for agent in agents if agent["alive"]}

            network = client.post(f"{NETWORKING}/networks", {"network": {}})["network"]["id"]
            subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
            client.post(f"{NETWORKING}/subnets", {"subnet": subnet})
            # A real host has the network as well, and pings the ends of tunnels that are only simulated.
            for host in ("sim-1", "sim-2", "compute1"):
                port = {"network_id": network, "binding:host_id": host}
                client.post(f"{NETWORKING}/ports", {"port": port})

            def states() -> dict[str, str]:
                ports = client.get(f"{NETWORKING}/ports", network_id=network)["ports"]
                return {port["binding:host_id"]: port["status"] for port in ports}

            lab.until(lambda: states()["sim-1"] == states()["sim-2"] == "ACTIVE", 30, "not ACTIVE")
            assert states()["compute1"] == "DOWN"  # nobody plugs it there

        def seen() -> dict[str, object]:
            return status.collect(lab.lab)

        lab.until(lambda: bool(seen()["well"]), 30, "the lab is not well")
        text = status.text(seen())
        assert "sim-1 … sim-5 simulated 5 running, up to date" in text, text
        assert all("tunnel" not in row["aspect"] for row in seen()["errors"])  # type: ignore[index, union-attr]
