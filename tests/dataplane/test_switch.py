"""The switch's database and flows: numbers that outlive a restart, and one bad flow among good ones."""

from __future__ import annotations

import pytest

from tests.support.host import Host

pytestmark = pytest.mark.root

OPEN = """
from pathlib import Path
from netloom.dataplane.ovs import bridges
from netloom.dataplane.ovs.allocator import Allocator, InDatabase
from netloom.dataplane.ovs.openflow import Switch, cookie
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.model.hoststate import Bridge, Interface
database = Ovsdb("/run/openvswitch/db.sock", lambda: None)
database.connect()
"""


def test_numbers_outlive_a_restart_and_are_used_again(host: Host) -> None:
    first = """
numbers = Allocator(InDatabase(database))
numbers.load()
print([numbers.number("zone", name) for name in ("a", "b", "c", "a")], numbers.number("conj", "a"))
numbers.save()
"""
    assert host.python(OPEN + first) == "[1, 2, 3, 1] 1\n"
    second = """
numbers = Allocator(InDatabase(database))
numbers.load()
print(numbers.number("zone", "c"), numbers.keep("zone", {"a", "c"}), numbers.number("zone", "d"))
print(numbers.number("zone", "e"))
numbers.save()
numbers.load()
print(sorted(numbers.names("zone")))
"""
    assert host.python(OPEN + second) == "3 [2] 2\n4\n['a', 'c', 'd', 'e']\n"


def test_one_bad_flow_stops_no_other_and_foreign_flows_stay(host: Host) -> None:
    script = """
print(bridges.apply(database, [Bridge(name="br-int")], True))
switch = Switch(Path("/run/openvswitch"))
flows = [f"table=1,priority={n} actions=drop" for n in range(1, 50)]
flows += ["table=2 actions=ct(commit,zone=1)", "table=3 actions=nonsense"]
wanted = {cookie(text): text for text in flows}
failed = switch.apply("br-int", wanted, [])
print(len(failed), len(switch.read("br-int")), sorted(text[:7] for n, text in wanted.items() if n in failed))
print(switch.apply("br-int", {}, [n for n in wanted if n not in failed]), len(switch.read("br-int")))
"""
    host.sh("true")
    said = host.python(OPEN + script).splitlines()
    assert said[0] == "{}"
    assert said[1] == "2 49 ['table=2', 'table=3']"
    assert said[2] == "{} 0"


def test_what_is_not_ours_is_refused_and_left(host: Host) -> None:
    host.sh("ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev")
    script = """
print(bridges.apply(database, [Bridge(name="br-int")], True))
print(bridges.apply(database, [Bridge(name="br-x"), Interface(bridge="br-x", name="nic0", type="system")], True))
print(bridges.read(database, {}).keys(), bridges.remove(database, [("bridge", "br-int"), ("bridge", "br-x")]))
"""
    said = host.python(OPEN + script)
    assert "is not Netloom's" in said
    assert "device nic0 is not there" in said
    assert host.run("ovs-vsctl", "list-br").split() == ["br-int"]


def test_ports_and_bridges_of_ours_that_others_made_anew_are_taken_over(host: Host) -> None:
    """As after `ovs-vsctl del-port … -- add-port …` or a NetworkManager that was started again: the mark is gone."""
    script = """
import subprocess

bridge = Bridge(name="br-int")
port = Interface(bridge="br-int", name="tapone", type="veth", external_ids={"iface-id": "one"})

def after(*words):
    subprocess.run(["ovs-vsctl", *words], check=True)
    import time
    time.sleep(0.5)

def done(*wanted, **more):
    print(bridges.apply(database, wanted, True, **more), sorted(bridges.read(database, {i.key: i for i in wanted})))

done(bridge, port)
after("del-port", "br-int", "tapone", "--", "add-port", "br-int", "tapone")
done(bridge, port)
after("clear", "port", "tapone", "external_ids")
done(port)
after("del-br", "br-int")
after("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev")
done(bridge)
done(bridge, port, known={"br-int"})
print(subprocess.run(["ovs-vsctl", "get", "interface", "tapone", "external_ids:iface-id"], capture_output=True, text=True).stdout)
"""
    said = host.python(OPEN + script).splitlines()
    both = "{} [('bridge', 'br-int'), ('interface', 'br-int', 'tapone')]"
    assert said[:3] == [both, both, "{} [('bridge', 'br-int'), ('interface', 'br-int', 'tapone')]"]
    assert "is not Netloom's" in said[3], "nobody says that this bridge was ours"
    assert said[4:6] == [both, "one"]
