"""The instances that this host runs."""

from __future__ import annotations

from netloom.model.cloud import Image, Server
from netloom.model.hoststate import Instance, Nic
from netloom.model.names import tap
from netloom.model.origin import Origin
from netloom.plan.index import Index, origin


def instance(index: Index, server: Server) -> Instance:
    """A server that is placed here; its cards in the order in which it was given ports."""
    image: Image | None = index.row("images", server.image_id)
    ports = [port for port_id in server.port_ids if (port := index.port(port_id)) is not None]
    nics = tuple(
        Nic(
            port_id=port.id,
            device=tap(port.id),
            name=f"eth{number}",
            mac=port.mac_address,
            mtu=network.mtu,
        )
        for number, port in enumerate(ports)
        if (network := index.network(port.network_id)) is not None
    )
    return Instance(
        server_id=server.id,
        project_id=server.project_id,
        type=server.instance_type,
        image_id=server.image_id,
        disk_format=(image.disk_format if image else None) or "raw",
        container_format=(image.container_format if image else None) or "bare",
        hostname=server.hostname,
        vcpus=server.flavor.vcpus,
        ram_mib=server.flavor.ram,
        disk_gib=server.flavor.disk,
        nics=nics,
        power=server.power,
        restarts=server.restarts,
        gently=server.gently,
        origin=(Origin.of(server), *origin(*ports)),
        aspect="instance",
    )
