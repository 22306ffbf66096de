"""What a new lab's cloud holds, made through its API as any administrator would."""

from __future__ import annotations

from netloom.lab import image
from netloom.lab.client import Client
from netloom.lab.topology import GATEWAYS, RANGES, WEB

FLAVORS = (("m1.tiny", 1, 64, 1), ("m1.small", 1, 128, 2), ("m1.medium", 2, 256, 4))
"""Name, virtual CPUs, memory in MiB, disk in GiB."""
PUBLIC = "public"
PUBLIC_POOL = ("203.0.113.10", "203.0.113.199")


def fill(client: Client, bare: bool) -> None:
    """Make the flavors and the small image, and unless `bare` the external network."""
    for name, vcpus, ram, disk in FLAVORS:
        client.post(
            "/compute/v2.1/flavors",
            {"flavor": {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}},
        )
    upload(client, image.NAME)
    if not bare:
        make_public(client)


def upload(client: Client, name: str) -> None:
    """Put the small image into the image service."""
    made = client.post(
        "/image/v2/images",
        {"name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"},
    )
    client.put_bytes(f"/image/v2/images/{made['id']}/file", image.small_image().read_bytes())


def make_public(client: Client) -> None:
    """Make the external network `public`: which physical network carries it is the cloud's setting."""
    network = client.post(
        "/networking/v2.0/networks", {"network": {"name": PUBLIC, "router:external": True}}
    )["network"]
    start, end = PUBLIC_POOL
    client.post(
        "/networking/v2.0/subnets",
        {
            "subnet": {
                "name": "public_subnet",
                "network_id": network["id"],
                "ip_version": 4,
                "cidr": RANGES[PUBLIC],
                "gateway_ip": GATEWAYS[PUBLIC],
                "allocation_pools": [{"start": start, "end": end}],
                "enable_dhcp": False,
                "dns_nameservers": [WEB],
            }
        },
    )
