"""Which ends of tunnels are silent, by real pings between two hosts."""

from __future__ import annotations

import pytest

from tests.support.host import Host, join

pytestmark = pytest.mark.root

LOOK = """
import time
from netloom.dataplane.linux.peers import Peers
peers, there, nobody = Peers(), {there!r}, "10.9.9.9"
print(sorted(peers.look([there, nobody], 100.0)))
for now in (104.0, 108.0, 112.0):
    time.sleep(0.3)
    peers.look([there, nobody], now)
time.sleep(0.3)
print(sorted(peers.look([there, nobody], 113.0)))
print(sorted(peers.look([there], 113.5)))
# Long away: nobody is called silent for what was never asked.
print(sorted(peers.look([there, nobody], 200.0)))
"""


def test_who_answers_and_who_is_silent() -> None:
    one, two = Host("a"), Host("b")
    try:
        join(one, two, bridge=None)
        for number, host in enumerate((one, two), 1):
            host.run("ip", "addr", "add", f"fd00::{number}/64", "dev", "eth0", "nodad")
        for there in ("172.31.0.2", "fd00::2"):
            said = one.python(LOOK.format(there=there))
            assert said == "[]\n['10.9.9.9']\n[]\n[]\n", there
    finally:
        one.close()
        two.close()
