"""Which devices of the userspace switch the host's own kernel is kept from, so that only what is new is looked at."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from netloom.dataplane.linux.netlink import link_names
from netloom.dataplane.ovs import bonds, bridges, shield
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Interface

log = logging.getLogger(__name__)


class Shields:
    """Device → its index when it was shielded. `failed`: device → why it could not be."""

    def __init__(self, database: Ovsdb) -> None:
        self._database = database
        self._known: dict[str, int] = {}
        self._left: set[str] = set()
        self._stale = True
        self.failed: dict[str, str] = {}

    def look_again(self) -> None:
        """Others may have changed some."""
        self._stale = True

    def read(self) -> set[str]:
        """Return the devices without a shield; nftables is asked only after `look_again`."""
        devices = bridges.kernel_devices(self._database)
        if not self._stale:
            return {name for name, index in devices.items() if self._known.get(name) != index}
        self._stale = False
        there = shield.read()
        self._known = {name: devices[name] for name in there if name in devices}
        self._left = there - devices.keys()
        return devices.keys() - there

    def tidy(self) -> None:
        """Remove the shields of devices that were gone at the last look."""
        gone, self._left = self._left, set()
        try:
            shield.remove(gone - link_names().keys() if gone else gone)
        except ApplyError as error:
            log.warning("shields stay: %s", error)

    def made(self, names: Iterable[str]) -> None:
        """Take down that these were shielded as they were made."""
        links = link_names()
        self._known |= {name: links[name] for name in names if name in links}

    def ensure(self, wanted: Iterable[Interface]) -> None:
        """Shield those of these devices that are not yet."""
        devices = bridges.kernel_devices(self._database)
        bare = [
            i
            for item in wanted
            for i in bonds.parts(item)
            if i.name in devices and self._known.get(i.name) != devices[i.name]
        ]
        self.failed = shield.ensure(bare)
        self._known |= {
            item.name: devices[item.name] for item in bare if item.name not in self.failed
        }
