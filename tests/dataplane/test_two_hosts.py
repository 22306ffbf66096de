from __future__ import annotations

import sys

import pytest

from tests.support.host import Host

pytestmark = pytest.mark.root


def apply(host: Host, *words: str) -> list[str]:
    return host.run(sys.executable, "-m", "tests.support.hand_made", *words).strip().splitlines()


def test_a_ping_crosses_two_hosts_and_nothing_is_done_twice(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    assert apply(a, "1", "2")[-1] == "changes 13"
    assert apply(b, "2", "1")[-1] == "changes 13"
    out = a.run(
        "ip", "netns", "exec", "qdhcp-net", "ping", "-c", "3", "-i", "0.2", "-W", "2", "10.0.0.2"
    )
    assert " 3 received" in out
    # What is there already stays as it is.
    assert apply(a, "1", "2") == ["changes 0"]
    # What drifted is mended, and no more than that.
    a.run("ip", "netns", "exec", "qdhcp-net", "ip", "addr", "add", "10.9.9.9/24", "dev", "tapone")
    a.run("ovs-ofctl", "del-flows", "br-int", "table=1")
    a.run("ovs-ofctl", "add-flow", "br-int", "table=9,cookie=0x5,actions=drop")
    groups = ["ovs-ofctl", "-O", "OpenFlow15"]
    bucket = "group_id=9,command_bucket_id=last,bucket=bucket_id:8,actions=drop"
    a.run(*groups, "insert-buckets", "br-int", bucket)
    a.run(*groups, "add-group", "br-int", "group_id=77,type=select,bucket=output:1")
    assert apply(a, "1", "2") == ["changes 4"]
    assert "group_id=77" not in a.run(*groups, "dump-groups", "br-int")
    assert "bucket_id:8" not in a.run(*groups, "dump-groups", "br-int")
    assert "10.9.9.9" not in a.run("ip", "netns", "exec", "qdhcp-net", "ip", "addr")
    # Nothing wanted: all of ours goes, the rest stays.
    a.sh(
        "ovs-vsctl add-br br-theirs -- set bridge br-theirs datapath_type=netdev; ip netns add qdhcp-theirs"
    )
    apply(a, "1", "2", "0")
    assert a.run("ovs-vsctl", "list-br").split() == ["br-phy", "br-theirs"]
    assert a.run("ip", "netns").split() == ["qdhcp-theirs"]
