"""Which devices of the userspace switch the host's own kernel is kept from, so that only what is new is looked at."""

from __future__ import annotations

from collections.abc import Iterable

from netloom.dataplane.linux.netlink import link_names
from netloom.dataplane.ovs import bridges, shield
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.model.hoststate import Interface


class Shields:
    """Device → its index when it was shielded. `failed`: device → why it could not be."""

    def __init__(self, database: Ovsdb) -> None:
        self._database = database
        self._known: dict[str, int] = {}
        self.failed: dict[str, str] = {}

    def read(self) -> set[str]:
        """Look which there are, and return the devices without; shields of devices that are gone are removed."""
        there, devices = shield.read(), bridges.kernel_devices(self._database)
        self._known = {name: devices[name] for name in there if name in devices}
        shield.remove(there - devices.keys())
        return devices.keys() - there

    def made(self, names: Iterable[str]) -> None:
        """Take down that these were shielded as they were made."""
        links = link_names()
        self._known |= {name: links[name] for name in names if name in links}

    def ensure(self, wanted: Iterable[Interface]) -> None:
        """Shield those of these devices that are not yet."""
        devices = bridges.kernel_devices(self._database)
        bare = [
            i for i in wanted if i.name in devices and self._known.get(i.name) != devices[i.name]
        ]
        self.failed = shield.ensure(bare)
        self._known |= {
            item.name: devices[item.name] for item in bare if item.name not in self.failed
        }
