"""A lab's files, its processes' names and its refusals; no root needed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netloom.lab import checks, down, init, processes, settings, state, topology
from netloom.lab.processes import Process
from netloom.model.errors import UserError


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Not tmp_path: unix sockets have short paths only.
    with tempfile.TemporaryDirectory(prefix="nl") as name:
        monkeypatch.setenv("NETLOOM_STATE", name)
        yield Path(name)


@pytest.mark.parametrize("name", ["", "a", "lab-2", "0"])
def test_a_lab_lies_in_the_state_folder(name: str, folder: Path) -> None:
    lab = state.find(name)
    assert lab.directory == folder / "labs" / (name or "netloom")
    assert lab.cloud == ("netloom" if not name else f"netloom-{name}")


@pytest.mark.parametrize("name", ["A", "-a", "a/b", "..", "x" * 33, "a b"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no name for a lab"):
        state.find(name)


def test_a_state_folder_too_deep_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETLOOM_STATE", "/tmp/" + "d" * 100)
    with pytest.raises(UserError, match="set NETLOOM_STATE to a shorter one"):
        state.find()


def test_a_state_cut_short_counts_as_none_and_is_removed_by_down() -> None:
    lab = state.find("broken")
    lab.directory.mkdir(parents=True)
    lab.file.write_text('{"name": "bro')
    assert lab.load() is None
    with pytest.raises(UserError, match="netloom lab down --name broken"):
        checks.no_earlier_lab(lab)
    with pytest.raises(UserError, match="netloom lab down --name broken"):
        lab.running()
    assert down.down(lab)
    assert not lab.directory.exists()
    assert not down.down(lab)


def test_a_state_folder_that_cannot_be_one_is_one_line(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("NETLOOM_STATE", str(folder / "file"))
    lab = state.find()
    for use in (lab.load, lambda: down.down(lab)):
        with (
            pytest.raises(UserError, match=r"cannot be used \(Not a directory\).*NETLOOM_STATE"),
            state.plain_errors(),
        ):
            use()
    with pytest.raises(FileNotFoundError), state.plain_errors():
        (folder / "elsewhere" / "x").write_text("")  # not of the state folder: a mistake of ours


def test_a_lab_of_another_boot_is_not_alive() -> None:
    me = processes.describe(os.getpid())
    assert me is not None and me.alive
    there = state.LabState(
        name="x", computes=1, boot_id="another", port=1, ready=True, processes={"server": me}
    )
    assert not there.alive
    assert msgspec.structs.replace(there, boot_id=processes.boot_id()).alive


def test_down_never_touches_a_process_that_has_the_id_of_an_old_one() -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        now = processes.describe(stranger.pid)
        assert now is not None
        lab = state.find("old")
        lab.directory.mkdir(parents=True)
        old = Process(now.pid, now.started - 1)
        lab.save(
            state.LabState(
                name="old",
                computes=0,
                boot_id=processes.boot_id(),
                port=1,
                processes={"server": old},
            )
        )
        assert down.down(lab)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_down_finds_a_process_that_was_never_written_down() -> None:
    lab = state.find("forgotten")
    with subprocess.Popen(
        ["sleep", "60"],
        env={**os.environ, processes.TAG: str(lab.directory)},
        start_new_session=True,
    ) as child:
        # What /proc shows of it is set up a moment after Popen knows that the program runs.
        environ = Path(f"/proc/{child.pid}/environ")
        while processes.TAG.encode() not in environ.read_bytes():
            time.sleep(0.01)
        assert down.down(lab)
        assert processes.describe(child.pid) is None


def test_two_at_once_are_refused() -> None:
    lab = state.find("busy")
    with lab.lock(), pytest.raises(UserError, match="just now"), lab.lock():
        pass
    with lab.lock():
        pass


def test_pid_1_outlives_a_log_that_cannot_be_written() -> None:
    """On a full disk it would end otherwise, and all of its host with it."""
    service = init.Service("ovsdb-server", Path("/proc"))  # where nobody can make a file
    service.pid, service.started = 7, time.monotonic()
    service.wanted = {"name": "ovsdb-server", "command": ["true"]}
    service.ended(9, time.monotonic())
    assert service.pid == 0 and service.due(service.started) is not None


def test_a_lock_leaves_nothing_however_it_ends() -> None:
    lab = state.find("cut")
    with pytest.raises(KeyboardInterrupt), lab.lock():
        raise KeyboardInterrupt
    assert list(lab.directory.parent.iterdir()) == []


def test_settings_files_are_toml_and_private() -> None:
    lab = state.find()
    nodes = topology.nodes(2)
    for node in nodes:
        lab.host(node.name).mkdir(parents=True)
        settings.write_agent(lab, node)
    settings.write_server(lab, nodes, 9696)
    server = tomllib.loads(settings.server_file(lab).read_text())
    assert server["server"]["listen"] == "127.0.0.1:9696"
    assert set(server["server"]["agent_sockets"]) == {"network1", "compute1", "compute2"}
    agent = tomllib.loads((lab.host("compute1") / "agent.toml").read_text())
    assert agent["physical_networks"] == {"extnet": "eth-extnet", "public": "eth-public"}
    assert settings.server_file(lab).stat().st_mode & 0o077 == 0


def test_a_port_that_is_none_is_one_line() -> None:
    for port in (-1, 0, 65536):
        with pytest.raises(UserError, match="is no port"):
            checks.choose_port(port)


def test_a_taken_port_is_one_line() -> None:
    free = checks.choose_port(None)
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import socket; s=socket.create_server(('127.0.0.1',{free})); print(1,flush=1); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None and child.stdout.readline()
        with pytest.raises(UserError, match=f"127.0.0.1:{free} cannot be used"):
            checks.choose_port(free)
        assert checks.choose_port(None) != free
        child.kill()
