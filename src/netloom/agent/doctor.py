"""How `netloom doctor` asks an agent: a unix socket in the agent's state folder, one line of JSON each way.

The agent answers with everything that differs between its plan and a whole look at the host. On `repair` it repairs exactly that
and looks again. `hold` keeps it from repairing by itself for so many seconds, for somebody who wants to look first.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from netloom.agent.reconcile.reconciler import Finding
from netloom.model.bounds import one_line
from netloom.model.errors import UserError

log = logging.getLogger(__name__)

SOCKET = "doctor.sock"
"""Its name in the state folder."""
ANSWER_SECONDS = 120.0
LONGEST_HOLD = 600.0
_LONGEST_LINE = 64 << 20

_SAYS = {
    "add": "is not there",
    "alter": "differs",
    "remove": "is left over",
    "wait": "waits",
    "leave": "is foreign",
}
_DID = {"add": "made", "alter": "repaired", "remove": "removed", "wait": "ready", "leave": "gone"}


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """`repair`: put right what differs. `hold`: look at nothing now, and repair nothing by yourself
    for so many seconds; 0 ends that.
    """

    repair: bool = False
    hold: float | None = None


class Report(Struct, frozen=True):
    """What an agent found.

    `findings`: what differs now; `repaired`: what differed before and does not any more; `changes`: how many objects the repair
    made, changed or removed. `wrong`: why the host could not be
    looked at, empty where it was.
    """

    host: str
    seq: int = 0
    findings: list[Finding] = []
    repaired: list[Finding] = []
    changes: int = 0
    wrong: str = ""


class Listener:
    """Answers in a thread of its own; `examine` is called by the loop, in an event that `post` hands to it."""

    def __init__(
        self,
        folder: Path,
        post: Callable[[Callable[[], None]], None],
        examine: Callable[[Request], Report],
    ) -> None:
        self._post = post
        self._examine = examine
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = folder / SOCKET
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._socket.bind(_short(folder, path))
        finally:
            os.umask(mask)
        self._socket.listen(8)
        threading.Thread(target=self._serve, daemon=True, name="doctor").start()

    def _serve(self) -> None:
        while True:
            link, _ = self._socket.accept()
            with link:
                try:
                    link.settimeout(ANSWER_SECONDS)
                    link.sendall(self._answer(_line(link)) + b"\n")
                except (OSError, queue.Empty) as error:
                    log.info("a doctor was not answered: %s", error or "the agent was busy")

    def _answer(self, line: bytes) -> bytes:
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.MsgspecError as error:
            return msgspec.json.encode(
                Report(host="", wrong=f"a question is not understood: {error}")
            )
        answers: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._post(lambda: answers.put(self._examine(request)))
        return msgspec.json.encode(answers.get(timeout=ANSWER_SECONDS))


def ask(folder: Path, request: Request) -> Report:
    """Ask the agent of this state folder; raises UserError where none answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(ANSWER_SECONDS)
            link.connect(_short(folder, folder / SOCKET))
            link.sendall(msgspec.json.encode(request) + b"\n")
            return msgspec.json.decode(_line(link), type=Report)
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(f"no agent answers at {folder / SOCKET} ({why}): is it running?") from error
    except msgspec.MsgspecError as error:
        raise UserError(
            f"the agent at {folder} answers as another version does: {error}"
        ) from error


def _short(folder: Path, path: Path) -> str:
    """A name of the socket that fits into the 107 bytes of its address."""
    if len(str(path)) < 100:
        return str(path)
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)  # for as long as this process lives
    return f"/proc/self/fd/{held}/{path.name}"


def _line(link: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = link.recv(1 << 16)
        if not more or len(data) > _LONGEST_LINE:
            raise OSError("the other side ended in the middle of a line")
        data += more
    return data


def lines(report: Report) -> Iterator[str]:
    """A report for people: one line a finding."""
    if report.wrong:
        yield f"{report.host}: {report.wrong}"
        return
    left = f", {len(report.findings)} left" if report.repaired and report.findings else ""
    if report.repaired:
        yield f"{report.host}: {len(report.repaired)} repaired{left}"
    elif report.findings:
        yield f"{report.host}: {len(report.findings)} not as wanted (change {report.seq})"
    else:
        yield f"{report.host}: all as wanted (change {report.seq})"
    for item, words in (
        *((item, _DID[item.action]) for item in report.repaired),
        *((item, _SAYS[item.action]) for item in report.findings),
    ):
        why = f": {item.why}" if item.why else ""
        cause = f" [{', '.join(map(str, item.origin))}]" if item.origin else ""
        yield "  " + one_line(f"{' '.join(item.key)} {words}{why}{cause}", 400)
