"""Keys of ports: numbers under which hosts know them, unique over all ports, by the claim `port-key`."""

from __future__ import annotations

import random

from netloom.model.openflow import LARGEST_PORT_KEY
from netloom.store import Claimed, Writer

SCOPE = "port-key"


def claim_any(w: Writer, owner: str) -> int:
    """Take a free number for a port. It is drawn: so none is used again soon, and no counter is kept."""
    while True:
        number = random.randint(1, LARGEST_PORT_KEY)
        try:
            w.claim(SCOPE, str(number), owner)
        except Claimed:
            continue
        return number
