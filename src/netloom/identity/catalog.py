"""The service catalog: four services under one URL."""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import Struct

INTERFACES = ("admin", "internal", "public")


class Service(Struct, frozen=True):
    """One service: `path` is where it lies below the cloud's public URL."""

    type: str
    name: str
    path: str
    description: str

    @property
    def id(self) -> str:
        """The same id everywhere and always."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"netloom:{self.type}").hex


SERVICES = (
    Service("compute", "nova", "/compute/v2.1", "Netloom Compute"),
    Service("identity", "keystone", "/identity", "Netloom Identity"),
    Service("image", "glance", "/image", "Netloom Image"),
    Service("network", "neutron", "/networking", "Netloom Networking"),
)


def endpoints(service: Service, url: str, region: str) -> list[dict[str, Any]]:
    """Return the endpoints of a service as they stand in a token."""
    return [
        {
            "id": uuid.uuid5(uuid.NAMESPACE_URL, f"netloom:{service.type}:{interface}").hex,
            "interface": interface,
            "region": region,
            "region_id": region,
            "url": url + service.path,
        }
        for interface in INTERFACES
    ]


def catalog(url: str, region: str) -> list[dict[str, Any]]:
    """Return the catalog as it stands in a token."""
    return [
        {"id": s.id, "type": s.type, "name": s.name, "endpoints": endpoints(s, url, region)}
        for s in SERVICES
    ]
