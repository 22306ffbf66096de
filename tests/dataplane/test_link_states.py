"""What a device's link is, and that one which came and went between two looks is not overlooked."""

from __future__ import annotations

import pytest

from tests.support.host import Host

pytestmark = pytest.mark.root

SCRIPT = """
import subprocess
from netloom.dataplane.linux.netlink import links_by_name

def after(words):
    subprocess.run(words, shell=True, check=True)
    print(links_by_name()["near"].state)

after("ip link add near type veth peer name far")
after("ip link set near up")
after("ip link set far up; ip link set far down")  # nobody looked in between
after("ip link set far up")
after("ip link set near down")
"""


def test_a_link_that_came_and_went_between_two_looks_is_remembered(host: Host) -> None:
    said = host.python(SCRIPT).splitlines()
    assert said == ["down", "no link yet", "no link", "up", "down"]
