"""kill -9 while writing: what was acknowledged is there, what was not is gone without a trace."""

import os
import subprocess
import sys
import time

from netloom.model import Network, Subnet
from netloom.store import Store

WRITER = """
import sys
from netloom.model import Network, Subnet
from netloom.store import Store

store = Store.open(sys.argv[1])
number = int(sys.argv[2])
while True:
    number += 1
    with store.writer() as w:
        w.insert(Network(id=f"n{number}"))
        w.claim("vni:vxlan", str(number), f"n{number}")
        w.insert(Subnet(id=f"s{number}", network_id=f"n{number}", cidr="10.0.0.0/24"))
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_acknowledged_and_leaves_no_half(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    store = Store.open(url)
    store.upgrade()
    acknowledged = 0
    for pause in (0.05, 0.11, 0.17):
        with (tmp_path / "out").open("wb") as out:
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, url, str(acknowledged)],
                stdout=out,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            until = time.monotonic() + 60
            while not (tmp_path / "out").stat().st_size:
                assert writer.poll() is None and time.monotonic() < until
                time.sleep(0.01)
            time.sleep(pause)
            writer.kill()
            writer.wait()
        lines = (tmp_path / "out").read_text().split("\n")[:-1]
        said = int(lines[-1])
        with store.reader() as r:
            networks = {int(n.id[1:]) for n in r.list(Network)}
            assert set(range(1, said + 1)) <= networks
            # One more may have been committed but not printed; it must be whole too.
            assert len(networks) <= said + 1
            assert {int(s.id[1:]) for s in r.list(Subnet)} == networks
            assert {int(key) for key in r.claims("vni:vxlan")} == networks
            assert r.seq() == 2 * len(networks)
            acknowledged = len(networks)
    store.close()


def test_the_lock_of_a_killed_writer_is_free(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    store = Store.open(url)
    store.upgrade()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\nfrom netloom.store import Store\nfrom netloom.model import Network\n"
            "with Store.open(sys.argv[1]).writer() as w:\n"
            "    w.insert(Network(id='half'))\n    print('holding', flush=True)\n    time.sleep(60)",
            url,
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout.readline() == b"holding\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with store.writer() as w:
        assert w.list(Network) == []
        w.insert(Network(id="whole"))
    store.close()
