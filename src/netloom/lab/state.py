"""Where a lab keeps its files, and what is written down of it.

```
STATE/
  images/                small images, by the hash of what they were made from
  labs/NAME/
    lab.json             LabState
    clouds.yaml          for clients (0600: passwords)
    server.toml server.log server/   the API server's settings, log and state
    simulated.toml simulated.log     the simulated hosts' settings and log; their credentials in hosts/simulated/
    run/HOST/api.sock    where the server listens for this host's agent
    hosts/HOST/          init.json, agent.toml, secret, state/, logs/
```
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import msgspec
from msgspec import Struct, field

from netloom.lab.processes import Process, boot_id
from netloom.model.errors import UserError
from netloom.model.files import write_whole
from netloom.model.hosts import Backend

DEFAULT_NAME = "netloom"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_LONGEST_SOCKET = 107


class LabState(Struct, frozen=True, kw_only=True):
    """A lab as it was started.

    `processes`: host name → PID 1 of the host as the machine sees it (`server` is the API server's own).
    `networks`: network hosts. `simulated`: how many hosts the process `simulated` is. `overlay_ip_version`: of the ends of tunnels.
    `backend`: of its hosts; `backends`: of single hosts, where it is another one.
    `ready`: it came up wholly.
    """

    name: str
    computes: int
    boot_id: str
    port: int
    bare: bool = False
    simulated: int = 0
    overlay_ip_version: int = 4
    networks: int = 1
    backend: Backend = "ovs"
    backends: dict[str, Backend] = field(default_factory=dict)
    ready: bool = False
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """True while any of its noted processes runs."""
        return self.boot_id == boot_id() and any(
            process.alive for process in self.processes.values()
        )


class Lab(Struct, frozen=True):
    """A lab's name and folder; what is in the folder may be anything or nothing."""

    name: str
    directory: Path

    @property
    def file(self) -> Path:
        """LabState as JSON."""
        return self.directory / "lab.json"

    @property
    def clouds(self) -> Path:
        """clouds.yaml."""
        return self.directory / "clouds.yaml"

    @property
    def cloud(self) -> str:
        """The administrator's cloud in clouds.yaml; the demo project's is the same with `-demo`."""
        return "netloom" if self.name == DEFAULT_NAME else f"netloom-{self.name}"

    @property
    def group(self) -> str:
        """Its control group: unique over labs of all state folders of this machine."""
        return f"netloom-{self.name}-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:8]}"

    def host(self, name: str) -> Path:
        """Folder of a host."""
        return self.directory / "hosts" / name

    def socket(self, host: str) -> Path:
        """Where the server listens for the agent of this host; only its folder is mounted into the host."""
        return self.directory / "run" / host / "api.sock"

    def load(self) -> LabState | None:
        """What is written down; None where there is no lab (a file cut short by a crash counts as none)."""
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=LabState)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def save(self, state: LabState) -> None:
        """Write the state down, whole or not at all."""
        write(self.file, msgspec.json.format(msgspec.json.encode(state), indent=1).decode() + "\n")

    def running(self) -> LabState:
        """The state of a lab that must be running; UserError where it is not."""
        state = self.load()
        if state is None and not self.directory.exists():
            others = ", ".join(lab.name for lab in all_labs())
            raise UserError(
                f"there is no lab {self.name!r}: start it with `{command('up', self.name)}`"
                + (f", or name another with --name (there is {others})" if others else "")
            )
        if state is None or not state.ready or not state.alive:
            raise UserError(
                f"lab {self.name!r} is not running any more: remove what is left of it with "
                f"`{command('down', self.name)}`"
            )
        return state

    @contextlib.contextmanager
    def lock(self) -> Generator[None]:
        """Hold the lab against a second `up` or `down` at the same time."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        path = self.directory.with_name(f".{self.name}.lock")
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Of a file that its holder has just removed, a lock keeps nobody out.
                gone = not path.exists() or os.fstat(handle.fileno()).st_ino != path.stat().st_ino
            except (BlockingIOError, FileNotFoundError):
                gone = True
            if gone:
                raise UserError(
                    f"lab {self.name!r} is being started or removed just now: wait for that"
                )
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


def state_directory() -> Path:
    """`$NETLOOM_STATE`; else `.state` in the checkout that runs; else ~/.local/state/netloom."""
    if chosen := os.environ.get("NETLOOM_STATE"):
        return Path(chosen).absolute()
    top = Path(__file__).parents[3]
    if (top / "pyproject.toml").is_file() and (top / "src/netloom").is_dir():
        return top / ".state"
    return Path.home() / ".local/state/netloom"


@contextlib.contextmanager
def plain_errors() -> Generator[None]:
    """Say in one line what the state folder's disk refuses; other errors pass as they are."""
    top = state_directory()
    try:
        yield
    except OSError as error:
        inside = isinstance(error.filename, str) and Path(error.filename).is_relative_to(top)
        if not inside and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the state folder {top} cannot be used ({error.strerror}): mend that, or set NETLOOM_STATE to another one"
        ) from error


def find(name: str | None = None) -> Lab:
    """The lab of this name, running or not."""
    name = name or DEFAULT_NAME
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name for a lab: lower-case letters, digits and hyphens, at most 32 of them"
        )
    lab = Lab(name, state_directory() / "labs" / name)
    longest = lab.socket("compute999")
    if len(os.fsencode(longest)) > _LONGEST_SOCKET:
        raise UserError(
            f"the state folder's path is too long for unix sockets: set NETLOOM_STATE to a shorter one "
            f"than {state_directory()}"
        )
    return lab


def all_labs() -> list[Lab]:
    """Every lab of the state folder."""
    directory = state_directory() / "labs"
    if not directory.is_dir():
        return []
    return [Lab(path.name, path) for path in sorted(directory.iterdir()) if path.is_dir()]


def command(verb: str, name: str) -> str:
    """The command line that does `verb` to a lab, as hints print it; ready to be copied."""
    program = "netloom"
    if shutil.which(program) is None:
        beside = Path(sys.executable).with_name(program)
        with contextlib.suppress(ValueError):
            beside = beside.relative_to(Path.cwd())
        program = str(beside)
    return f"{program} lab {verb}" + ("" if name == DEFAULT_NAME else f" --name {name}")


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all; readable by its owner only unless `mode` says else."""
    write_whole(path, text.encode(), mode)
