from __future__ import annotations

import random
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from netloom.agent import view
from netloom.model import Chassis, HostFacts, HostView, Network, Port, ViewDelta

FACTS = HostFacts(host="a")


def doc(thing: msgspec.Struct) -> object:
    return msgspec.json.decode(msgspec.json.encode(thing))


def test_a_snapshot_replaces_all_and_deltas_change_rows() -> None:
    start = HostView(seq=3, facts=FACTS, networks={"old": Network(id="old")})
    snapshot = ViewDelta(
        seq=7,
        snapshot=True,
        upsert={
            "networks": [doc(Network(id="n1", key=5))],
            "ports": [
                doc(Port(id="p1", network_id="n1", mac_address="fa:16:3e:00:00:01", host="a"))
            ],
            "chassis": [doc(Chassis(host="a", tunnel_ip="192.0.2.1"))],
        },
    )
    now = view.apply_delta(start, view.typed(snapshot))
    assert (now.seq, list(now.networks), list(now.chassis)) == (7, ["n1"], ["a"])
    assert now.ports["p1"].host == "a"
    renamed = doc(Network(id="n1", key=5, name="blue"))
    step = ViewDelta(seq=9, upsert={"networks": [renamed]}, delete={"ports": ["p1", "never there"]})
    later = view.apply_delta(now, view.typed(step))
    assert later.networks["n1"].name == "blue"
    assert later.ports == {}
    assert later.chassis is now.chassis  # what did not change is not copied
    assert now.ports  # the older view is as it was


def test_a_malformed_row_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        view.typed(ViewDelta(seq=1, upsert={"ports": [{"id": 5}]}))


def test_the_copy_on_disk_is_for_root_alone_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "view.json"
    held = HostView(seq=12, facts=FACTS, networks={"n1": Network(id="n1", key=5)})
    view.save(path, "epoch-1", held)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    today = HostFacts(host="a", tunnel_ip="192.0.2.9")
    cached = view.load(path, today)
    assert cached is not None
    assert (cached.epoch, cached.view.seq, cached.view.facts) == ("epoch-1", 12, today)
    assert view.load(path, HostFacts(host="b")) is None
    path.write_text("{")
    assert view.load(path, today) is None
    assert view.load(tmp_path / "none", today) is None


def test_a_damaged_copy_is_none(tmp_path: Path) -> None:
    path = tmp_path / "view.json"
    mac = "fa:16:3e:00:00:01"
    port = Port(id="p1", network_id="n1", mac_address=mac, host="a")
    view.save(path, "epoch-1", HostView(seq=12, facts=FACTS, ports={"p1": port}))
    whole = path.read_bytes()
    assert view.load(path, FACTS) is not None
    draw = random.Random(1)
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    damaged.append(whole.replace(b"00:01", b"00:02"))  # still a view, but not the one that was kept
    for _ in range(200):
        place = draw.randrange(whole.index(b"view") + 6, len(whole) - 1)
        damaged.append(
            whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :]
        )
    for content in damaged:
        path.write_bytes(content)
        assert view.load(path, FACTS) is None


@pytest.mark.root
def test_a_full_disk_keeps_no_older_view(tmp_path: Path) -> None:
    """It would undo, at the next start, what came since."""
    script = """
import sys
from pathlib import Path
from netloom.agent import view
from netloom.model import HostFacts, HostView, Network
folder = Path(sys.argv[1])
facts = HostFacts(host="a")
view.save(folder / "view.json", "e", HostView(seq=1, facts=facts))
large = {str(n): Network(id=str(n), name="x" * 100) for n in range(2000)}
try:
    view.save(folder / "view.json", "e", HostView(seq=2, facts=facts, networks=large))
    print("saved")
except OSError as error:
    print(error.strerror, [each.name for each in folder.iterdir()])
view.save(folder / "view.json", "e", HostView(seq=3, facts=facts))
print(view.load(folder / "view.json", facts).view.seq)
"""
    mounted = 'mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "$3" "$1"'
    words = ["unshare", "--mount", "sh", "-c", mounted, "sh", str(tmp_path), sys.executable, script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["No space left on device []", "3"]
