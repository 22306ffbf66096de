"""Links and settings that somebody takes away on a host come back by themselves, and it is said what was done."""

from __future__ import annotations

import pytest

from netloom.lab import status
from tests.support.running_lab import RunningLab
from tests.support.tenant import NETWORKING, Instance, Tenant

pytestmark = [pytest.mark.root, pytest.mark.slow]


def repairs(lab: RunningLab, ident: str) -> str:
    """What is said of repairs for an object of the API."""
    found = status.collect(lab.lab)["repairs"]
    return " ".join(each["detail"] for each in found if each["object"].endswith(ident))


def damages(near: Instance) -> list[tuple[str, list[str], str]]:
    """What befalls an instance's card: (name, command on its host, what is said of it)."""
    tap = near.tap
    return [
        ("put down", ["ip", "link", "set", tap, "down"], f"device {tap} was down"),
        ("out of the switch", ["ovs-vsctl", "del-port", "br-int", tap], "it was gone"),
        ("deleted", ["ip", "link", "del", tap], f"device {tap} was gone"),
        (
            "renamed",
            ["sh", "-c", f"ip link set {tap} down name lost; ip link set lost up"],
            f"device {tap} was gone",
        ),
    ]


def test_a_card_that_is_lost_comes_back(lab: RunningLab) -> None:
    with Tenant(lab) as tenant:
        network = tenant.network("links", "10.59.0.0/24")
        group = tenant.group({})
        ids = [tenant.boot(f"links-{h}", h, network, group) for h in ("compute1", "compute2")]
        near, far = (tenant.instance(server) for server in ids)
        far.reaches(near.address)
        server = f"/compute/v2.1/servers/{near.id}"
        for number, (name, command, said) in enumerate(damages(near), 1):
            lab.exec("compute1", *command)
            times = "once" if number == 1 else f"{number} times"
            RunningLab.until(
                lambda times=times: f"repaired ({times}" in repairs(lab, near.port["id"]),
                20,
                f"{name}: nothing is said of it: {repairs(lab, near.port['id'])}",
            )
            assert said in repairs(lab, near.port["id"]), name
            far.reaches(near.address, 20)
            assert tenant.get(server)["server"]["status"] == "ACTIVE", name
        # The instance's own root deletes its card.
        near.run("ip", "link", "del", "eth0")
        RunningLab.until(
            lambda: "repaired (5 times" in repairs(lab, near.port["id"]), 20, "the card is gone"
        )
        far.reaches(near.address, 20)
        # It may put its own end down: nobody puts that up again, and nobody says ACTIVE meanwhile.
        port = f"{NETWORKING}/ports/{near.port['id']}"
        near.run("ip", "link", "set", "eth0", "down")
        RunningLab.until(lambda: tenant.get(port)["port"]["status"] == "DOWN", 20, "port is up")
        waiting = status.collect(lab.lab)["waiting"]
        assert any(f"device {near.tap} has no link" in each["detail"] for each in waiting)
        ends = {"source": far.port["id"], "destination": near.port["id"]}
        answer = tenant.get("/explain/v1", **ends)
        assert (answer["verdict"], answer["decided_by"]) == (
            "unreachable",
            f"port/{near.port['id']}",
        ), answer
        assert answer["fix"].startswith(
            f"in the instance: ip link set DEVICE up, for the card {near.port['mac_address']};"
        )
        near.run("ip", "link", "set", "eth0", "up")
        RunningLab.until(lambda: tenant.get(port)["port"]["status"] == "ACTIVE", 20, "port is down")
        assert "repaired (5 times" in repairs(lab, near.port["id"])


def test_settings_and_links_of_namespaces_are_put_right_at_once(lab: RunningLab) -> None:
    with Tenant(lab) as tenant:
        network = tenant.network("settings", "10.57.0.0/24")
        router = tenant.router(network)
        space = f"qrouter-{router['id']}"
        inside = ("ip", "netns", "exec", space)
        ports = tenant.get(f"{NETWORKING}/ports", device_id=router["id"])["ports"]
        port = next(p for p in ports if p["device_owner"] == "network:router_interface")
        device = f"qr-{port['id'][:11]}"

        def show(key: str) -> str:
            return lab.exec("network1", *inside, "sysctl", "-n", key, check=False).strip()

        def link() -> str:
            return lab.exec("network1", "ip", "-n", space, "link", "show", device, check=False)

        RunningLab.until(lambda: ",UP,LOWER_UP" in link() and show("net.ipv4.ip_forward") == "1")
        for key, damaged in (
            ("net.ipv4.ip_forward", "0"),
            (f"net.ipv4.conf.{device}.rp_filter", "1"),
            ("net.ipv4.conf.all.proxy_arp", "1"),
        ):
            before = show(key)
            lab.exec("network1", *inside, "sysctl", "-qw", f"{key}={damaged}")
            # Heard of at once, not found by an audit once a minute.
            RunningLab.until(lambda key=key, was=before: show(key) == was, 20, key)
        lab.exec("network1", "ip", "-n", space, "link", "set", device, "down")
        RunningLab.until(lambda: ",UP,LOWER_UP" in link(), 20, "the device stays down")
        RunningLab.until(
            lambda: f"device {device} was down: repaired" in repairs(lab, port["id"]),
            20,
            repairs(lab, port["id"]),
        )
        assert "net.ipv4.conf.all.proxy_arp was 1 and not 0" in repairs(lab, router["id"])
