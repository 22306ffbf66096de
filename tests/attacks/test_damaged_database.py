"""Random bytes in the database: one plain line each, and what can go on goes on."""

from __future__ import annotations

import logging
import random
import shutil
from pathlib import Path

import httpx
import pytest

from netloom.model import (
    KINDS,
    HostFacts,
    HostGrant,
    Network,
    Port,
    Replica,
    Router,
    Server,
    Status,
    Subnet,
)
from netloom.model.errors import UserError
from netloom.scope import Scope
from netloom.store import Store
from tests.support.serving import free_port, netloom, serving


def fill(path: Path) -> Store:
    """A small cloud with objects, statuses and two hosts."""
    store = Store.open(f"sqlite:///{path}")
    store.upgrade()
    with store.writer() as w:
        for name in ("c1", "c2"):
            facts = HostFacts(host=name, tunnel_ip=f"192.0.2.{name[1]}")
            w.put_host(name, secret_hash="x", facts=facts, granted=HostGrant())
        for number in range(40):
            w.insert(Network(id=f"n{number}", key=number + 1, name="x" * 200))
            w.insert(Subnet(id=f"s{number}", network_id=f"n{number}", cidr="10.0.0.0/24"))
            mac = f"fa:16:3e:00:00:{number:02x}"
            w.insert(Port(id=f"p{number}", network_id=f"n{number}", mac_address=mac, host="c1"))
            row = Status(kind="port", id=f"p{number}", aspect="l2", seq=1, state="ok")
            w.put_status("c1", [row])
        w.insert(Router(id="r", replicas=(Replica("c2"),)))
    return store


def use(store: Store) -> None:
    """All that a server reads when it starts, and one write."""
    with store.reader() as r:
        r.seq(), r.oldest(), r.hosts(), r.host("c1"), r.status_rows(), r.changes(0, 1000)
        for kind in KINDS.values():
            for each in r.list(kind):
                r.get(kind, each.id)
        r.list(Port, host="c1"), r.list(Router, host="c2"), r.list(Server, host="c1")
    Scope(store).views()
    with store.writer() as w:
        w.insert(Network(id="new", key=999))
        w.heartbeat("c1", 1.0, 5)


def test_whatever_byte_changes_only_plain_lines_are_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "whole.db").close()
    whole = (tmp_path / "whole.db").read_bytes()
    draw = random.Random(6)
    went_on = refused = 0
    for _ in range(80):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 1, 8, 200))):
            place = draw.randrange(len(damaged))
            if draw.random() < 0.3:
                place = draw.randrange(100)  # the file's own head
            damaged[place] = draw.randrange(256)
        for leftover in tmp_path.glob("x.db*"):
            leftover.unlink()
        (tmp_path / "x.db").write_bytes(damaged)
        store = Store.open(f"sqlite:///{tmp_path}/x.db")
        try:
            use(store)
            went_on += 1
        except UserError as error:
            assert str(error).isprintable() and len(str(error)) < 1000
            refused += 1
        finally:
            store.close()
    assert went_on > 10 and refused > 10
    assert all(record.getMessage().isprintable() for record in caplog.records)


DOCUMENTS = (
    "",
    "{",
    "[]",
    "null",
    '{"id": 5}',
    '{"id": "n3", "key": "no number"}',
    "\x00",
    "[" * 9999,
)


def test_a_row_that_is_no_document_is_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    store = fill(tmp_path / "x.db")
    for number, document in enumerate([*DOCUMENTS, b"\xff\xfe\x00"]):
        with store.writer() as w:
            w._session.connection.execute(
                "UPDATE resource SET doc = ? WHERE kind = 'network' AND id = ?",
                (document, f"n{number}"),
            )
            w._session.connection.execute(
                "UPDATE host SET facts = ?, granted = ? WHERE name = 'c2'", (document, document)
            )
        for _ in range(2):
            with store.reader() as r:
                assert len(r.list(Network)) == 40 - number - 1
                assert r.hosts()["c2"].facts is None or document == "null"
                assert r.hosts()["c1"].facts is not None
                with pytest.raises(UserError, match=f"network n{number} in the database"):
                    r.get(Network, f"n{number}")
                # A filter reads each document, from an index or from the row.
                assert r.list(Network, external=True) == [] == r.list(Network, mtu=7)
                assert len(r.list(Network, segmentation_id=None)) == 40 - number - 1
            views = Scope(store).views()
            assert f"n{number}" not in views["c1"].networks and "n39" in views["c1"].networks
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(set(lines)) and all(line.isprintable() for line in lines)
    assert sum("network n3 " in line for line in lines) == 1
    store.close()


def test_the_commands_and_the_server_say_it_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    fill(folder / "netloom.db").close()
    whole = (folder / "netloom.db").read_bytes()
    for place, length in ((0, 16), (len(whole) // 3, len(whole) // 2)):
        damaged = bytearray(whole)
        damaged[place : place + length] = random.Random(place).randbytes(length)
        (folder / "netloom.db").write_bytes(damaged)
        for leftover in folder.glob("netloom.db-*"):
            leftover.unlink()
        url = f"sqlite:///{folder}/netloom.db"
        settings = tmp_path / "server.toml"
        settings.write_text(
            f'[server]\nlisten = "127.0.0.1:{free_port()}"\nstate_dir = "{folder}"\n'
        )
        for words in (
            ("server", "--config", str(settings)),
            ("host", "list", "--database", url),
        ):
            done = netloom(*words)
            if words[0] == "server" or place == 0:
                assert done.returncode == 2, (words, done.stdout)
            assert "Traceback" not in done.stderr, done.stderr
            assert len(done.stderr.splitlines()) <= 2, done.stderr


def test_a_server_goes_on_beside_a_damaged_row(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        pass
    store = Store.open(f"sqlite:///{running.state}/netloom.db")
    with store.writer() as w:
        w.put_host("c1", secret_hash="x", facts=HostFacts(host="c1"))
        w.insert(Network(id="well", key=1))
        w.insert(Network(id="torn", key=2))
        w.insert(Port(id="p", network_id="well", mac_address="fa:16:3e:00:00:01", host="c1"))
        w._session.run_text("UPDATE resource SET doc = '{' WHERE id = 'torn'")
        w._session.run_text("UPDATE change SET after = '{' WHERE id = 'torn'")
        w._session.run_text("""UPDATE host SET facts = '{"host":5}' WHERE name = 'c1'""")
    store.close()
    with serving(tmp_path, 'auth = "trusted-headers"') as running:
        admin = {"X-Roles": "admin", "X-Project-Id": "a" * 32}
        url = f"{running.url}/networking/v2.0"
        assert [
            n["id"] for n in httpx.get(f"{url}/networks", headers=admin).json()["networks"]
        ] == ["well"]
        assert httpx.get(f"{url}/networks/torn", headers=admin).status_code == 503
        assert httpx.get(f"{url}/agents", headers=admin).json() == {"agents": []}
        assert running.says("network torn in the database cannot be read")
        assert running.says("reported by host c1 in the database cannot be read")
    assert "Traceback" not in running.log


def test_a_whole_file_passes_the_check_and_a_torn_page_of_any_table_does_not(
    tmp_path: Path,
) -> None:
    store = fill(tmp_path / "x.db")
    store.check()
    with store.reader() as r:
        roots = r._session.run_text(
            "SELECT name, rootpage FROM sqlite_master WHERE type = 'table' AND rootpage > 1"
        )
    store.close()
    assert {"link", "resource", "host", "status"} <= {name for name, _ in roots}
    whole = (tmp_path / "x.db").read_bytes()
    for _, page in roots:
        torn = bytearray(whole)
        torn[(page - 1) * 4096 : (page - 1) * 4096 + 64] = b"\x07" * 64
        (tmp_path / "y.db").write_bytes(torn)
        with pytest.raises(UserError, match="restore it from a backup"):
            Store.open(f"sqlite:///{tmp_path}/y.db").check()


def test_copy_of_the_database_is_all_that_a_restore_needs(tmp_path: Path) -> None:
    fill(tmp_path / "x.db").close()
    shutil.copy(tmp_path / "x.db", tmp_path / "y.db")
    (tmp_path / "x.db").write_bytes(b"")
    with pytest.raises(UserError), Store.open(f"sqlite:///{tmp_path}/x.db").reader() as r:
        r.hosts()
    use(Store.open(f"sqlite:///{tmp_path}/y.db"))
