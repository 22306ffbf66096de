"""Creating and upgrading a database."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from netloom.cli.main import main
from netloom.model import HostGrant, Network, Port, RbacPolicy, Replica, Router, Server
from netloom.model.errors import UserError
from netloom.store import Store, fields, migrate, schema
from netloom.store.connections import open_engine

BROKEN = """
from alembic import op
import sqlalchemy as sa

revision, down_revision = "9000", "HEAD"


def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer))
    raise RuntimeError("power cut")
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/x.db"


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
def test_migrations_make_the_tables_that_statements_expect(url):
    Store.open(url).upgrade()
    with create_engine(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        expressions = set(fields.index_statements())
        differences = [
            difference
            for difference in compare_metadata(context, schema.METADATA)
            if not (difference[0] == "remove_index" and difference[1].name in expressions)
        ]
        assert differences == []
        made = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE sql LIKE '%json_extract%'")
        )
        assert {row.name: row.sql for row in made} == fields.index_statements()


def test_upgrading_again_changes_nothing(url):
    store = Store.open(url)
    store.upgrade()
    epoch = store.epoch
    assert len(epoch) == 36
    with store.writer() as w:
        w.insert(Network(id="n"))
    store.upgrade()
    assert (store.epoch, store.version()) == (epoch, migrate.head())
    with store.reader() as r:
        assert r.get(Network, "n")


def test_the_file_is_durable_and_checks_references(url):
    store = Store.open(url)
    store.upgrade()
    with store.reader() as r:
        pragma = {
            name: r._session.run_text(f"PRAGMA {name}")[0][0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_step_that_fails_half_way_leaves_the_old_database(url, tmp_path, monkeypatch):
    head = migrate.head()
    store = Store.open(url)
    store.upgrade()
    with store.writer() as w:
        w.insert(Network(id="n"))
    scripts = tmp_path / "migrations"
    shutil.copytree(migrate.SCRIPTS, scripts)
    (scripts / "versions" / "9000_broken.py").write_text(BROKEN.replace("HEAD", head))
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    with pytest.raises(RuntimeError, match="power cut"):
        store.upgrade()
    with create_engine(url).connect() as connection:
        tables = set(connection.execute(text("SELECT name FROM sqlite_master")).scalars())
    assert "half" not in tables and store.version() == head
    with store.reader() as r:
        assert r.get(Network, "n")


def test_two_that_upgrade_at_once_take_turns(url):
    failures = []

    def upgrade():
        try:
            Store.open(url).upgrade()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_new_file_is_opened_by_many_at_once(tmp_path):
    """Two that switch it to WAL at once get "locked" at once: SQLite does not wait where both would for ever."""
    failures = []
    with ThreadPoolExecutor(8) as pool:
        for number in range(150):
            url = f"sqlite:///{tmp_path}/{number}.db"
            ready = threading.Barrier(8)

            def connect(_, url=url, ready=ready):
                engine = open_engine(url)
                ready.wait(60)
                try:
                    engine.raw_connection().close()
                except Exception as error:
                    failures.append(error)
                engine.dispose()

            list(pool.map(connect, range(8)))
    assert failures == []


def test_a_newer_database_is_refused_in_one_line(url):
    store = Store.open(url)
    store.upgrade()
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UserError, match="newer"):
        store.upgrade()


def test_a_file_that_is_no_database_is_refused_in_one_line(url, tmp_path):
    (tmp_path / "x.db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(UserError):
        Store.open(url).upgrade()


def test_the_command(url, tmp_path, capsys):
    assert main(["db", "upgrade", "--database", url]) == 0
    assert migrate.head() in capsys.readouterr().out
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o600
    (tmp_path / "server.toml").write_text(f'[server]\nlisten = "127.0.0.1:0"\ndatabase = "{url}"\n')
    assert main(["db", "upgrade", "--config", str(tmp_path / "server.toml")]) == 0
    with Store.open(url).reader() as r:
        assert r.list(Port) == []
    assert main(["db", "upgrade", "--database", "mysql://x/y"]) == 2
    assert capsys.readouterr().err.startswith("netloom: ")
    assert main(["db", "upgrade", "--database", f"sqlite:///{tmp_path}/no/x.db"]) == 2


def test_servers_of_an_older_database_are_found_by_their_ports(url, tmp_path):
    with create_engine(url).begin() as connection:
        command.upgrade(migrate.config(connection), "0001")
        connection.execute(
            text("INSERT INTO resource (kind, id, doc) VALUES ('server', 's', :doc)"),
            {"doc": '{"id":"s","user_id":"u","image_id":"i","flavor":{"id":"1"},"port_ids":["p"]}'},
        )
    store = Store.open(url)
    store.upgrade()
    with store.reader() as r:
        assert [server.id for server in r.list(Server, port_id=["p", "q"])] == ["s"]


def test_hosts_of_before_are_granted_what_they_reported(url):
    old = {
        "net": '{"host":"net","roles":["network"],"bridge_mappings":{"extnet":"br-extnet","x,y":"z"}}',
        "cmp": '{"host":"cmp","instance_types":["container"]}',
        "new": None,
        "bad": '{"host":"bad","roles":[["x"]]}',
        "odd": '{"host":"odd","tunnel_ip":"192.0.2.1\\n"}',
    }
    with create_engine(url).begin() as connection:
        command.upgrade(migrate.config(connection), "0002")
        for name, facts in old.items():
            values = {"name": name, "facts": facts}
            connection.execute(
                text("INSERT INTO host (name, facts) VALUES (:name, :facts)"), values
            )
    store = Store.open(url)
    store.upgrade()
    with store.reader() as r:
        hosts = r.hosts()
    assert hosts["net"].granted == HostGrant(roles=("network",), physical_networks=("extnet",))
    assert hosts["cmp"].granted == HostGrant(instance_types=("container",))
    assert hosts["new"].granted == HostGrant()
    assert (hosts["bad"].granted.roles, hosts["odd"].granted) == ((), HostGrant())
    assert (hosts["odd"].facts, hosts["net"].facts) == (None, None) and hosts["cmp"].facts


def test_an_older_database_has_statuses_counts_and_what_owners_see(url):
    port = '{"id":"%s","network_id":"n","mac_address":"fa:%s","device_owner":"%s"}'
    rows = [
        ("network", "n", "a", "", '{"id":"n"}'),
        ("port", "own", "a", "ACTIVE", port % ("own", 1, "")),
        ("port", "guest", "b", "", port % ("guest", 2, "")),
        ("port", "floating", "", "", port % ("floating", 3, "network:floatingip")),
        ("router", "r", "a", "", '{"id":"r"}'),
    ]
    with create_engine(url).begin() as connection:
        command.upgrade(migrate.config(connection), "0003")
        for kind, id, project, status, doc in rows:
            connection.execute(
                text(
                    "INSERT INTO resource (kind, id, project_id, status, doc) "
                    "VALUES (:kind, :id, :project, :status, :doc)"
                ),
                {"kind": kind, "id": id, "project": project, "status": status, "doc": doc},
            )
            if kind == "port":
                link = "INSERT INTO link VALUES ('port', :id, 'port.network_id', 'network', 'n')"
                connection.execute(text(link), {"id": id})
    store = Store.open(url)
    store.upgrade()
    with store.reader() as r:
        states = r.api_status(Port, ["own", "guest", "floating"])
        assert states == {"own": "ACTIVE", "guest": "DOWN", "floating": "N/A"}
        assert r.api_status("router", ["r"]) == {"r": "ACTIVE"}
        assert [port.id for port in r.list(Port, seen_by="a")] == ["floating", "guest"]
        assert (r.tally(Port, "a"), r.tally(Port, "b"), r.tally(Network, "a")) == (1, 1, 1)


def test_ports_of_before_get_their_numbers(url):
    with create_engine(url).begin() as connection:
        command.upgrade(migrate.config(connection), "0003")
        for name in "ba":
            doc = f'{{"id":"{name}","network_id":"n","mac_address":"fa:16:3e:00:00:01"}}'
            connection.execute(
                text("INSERT INTO resource (kind, id, doc) VALUES ('port', :id, :doc)"),
                {"id": name, "doc": doc},
            )
    store = Store.open(url)
    store.upgrade()
    with store.reader() as r:
        assert {port.id: port.key for port in r.list(Port)} == {"a": 1, "b": 2}
        assert r.claims("port-key") == {"1": "a", "2": "b"}


def test_grants_of_an_older_database_become_policies(url):
    with create_engine(url).begin() as connection:
        command.upgrade(migrate.config(connection), "0006")
        connection.execute(
            text(
                "INSERT INTO resource (kind, id, project_id, doc) "
                """VALUES ('network', 'n', 'a', '{"id":"n","project_id":"a"}')"""
            )
        )
        connection.execute(text("INSERT INTO access VALUES ('n', '*', 'access_as_shared')"))
    store = Store.open(url)
    store.upgrade()
    with store.writer() as w:
        (policy,) = w.list(RbacPolicy, object_id="n")
        assert (policy.project_id, policy.target_tenant) == ("a", "*")
        assert (policy.object_type, policy.action) == ("network", "access_as_shared")
        assert w.tally(RbacPolicy, "a") == 1
        w.delete(Network, "n")
        assert w.list(RbacPolicy) == []


def test_the_host_of_an_older_router_is_its_one_replica(url):
    with create_engine(url).begin() as connection:
        command.upgrade(migrate.config(connection), "0008")
        docs = {
            "placed": '{"id":"placed","host":"n1"}',
            "waits": '{"id":"waits","host":""}',
            "old": '{"id":"old"}',
            "torn": '{"id":"to',
        }
        for id, doc in docs.items():
            connection.execute(
                text("INSERT INTO resource (kind, id, doc) VALUES ('router', :id, :doc)"),
                {"id": id, "doc": doc},
            )
    store = Store.open(url)
    store.upgrade()
    with store.reader() as r:
        assert r.list(Router, host="n1") == [Router(id="placed", replicas=(Replica("n1"),))]
        assert [router.id for router in r.list(Router, host="")] == ["old", "waits"]
        assert r.count(Router, host="n1") == 1
