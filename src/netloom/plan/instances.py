"""Instances that this host runs."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.hoststate import Instance, Nic
from netloom.model.names import tap
from netloom.plan.index import Index, origin


def plan_instances(index: Index) -> Iterator[Instance]:
    """One Instance for each server placed here; its cards in the order in which it was given ports."""
    for _, server in sorted(index.view.servers.items()):
        if server.host != index.host:
            continue
        image = index.view.images.get(server.image_id)
        ports = [
            index.view.ports[port_id] for port_id in server.port_ids if port_id in index.view.ports
        ]
        nics = tuple(
            Nic(
                port_id=port.id,
                device=tap(port.id),
                name=f"eth{number}",
                mac=port.mac_address,
                mtu=index.view.networks[port.network_id].mtu,
            )
            for number, port in enumerate(ports)
            if port.network_id in index.view.networks
        )
        yield Instance(
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
            origin=(f"server/{server.id}", *origin(*ports)),
            aspect="instance",
        )
