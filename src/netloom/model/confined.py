"""Work on data of strangers, in a process of its own with limits: it can be killed, and what it takes is bounded.

`run` starts `python -m MODULE` with the task as JSON on its standard input. The module hands its work to `serve`, which
sets the limits before the work begins and answers with JSON on standard output. Nothing of the data is read in the
process that asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

_PR_SET_PDEATHSIG = 1
_SOURCE = Path(__file__).resolve().parents[2]


class Bounds(Struct, frozen=True, kw_only=True):
    """What the process may take: address space, processor time, the largest file it writes, and time by the clock."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    seconds: float


class Refused(Exception):
    """The work came to no result; the text is one line with the reason."""


class Overrun(Refused):
    """The work was ended because it reached a bound."""


class _Order(Struct, frozen=True):
    bounds: Bounds
    parent: int
    task: msgspec.Raw


class _Answer(Struct, frozen=True, omit_defaults=True):
    result: msgspec.Raw = msgspec.Raw(b"null")
    refused: str = ""
    overrun: str = ""


def run(
    module: str,
    task: Struct,
    bounds: Bounds,
    started: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> bytes:
    """Return the JSON that the module's work answered.

    `started` gets the process, so that somebody else may kill it. Raises Refused where the work refused its data, Overrun
    where a bound was reached.
    """
    order = _Order(bounds, os.getpid(), msgspec.Raw(msgspec.json.encode(task)))
    environment = {**os.environ, "PYTHONPATH": str(_SOURCE)}
    with subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            if started is not None:
                started(process)
            out, words = process.communicate(msgspec.json.encode(order), timeout=bounds.seconds)
        except subprocess.TimeoutExpired:
            raise Overrun(f"it took more than {bounds.seconds:.0f} s") from None
        finally:
            process.kill()
    if process.returncode == -signal.SIGXCPU:
        raise Overrun(f"it took more than {bounds.cpu_seconds} s of processor time")
    if process.returncode:
        last = words.decode(errors="replace").strip().splitlines() or ["no words"]
        raise Refused(f"the process ended with {process.returncode}: {last[-1][:200]}")
    answer = msgspec.json.decode(out, type=_Answer)
    if answer.overrun:
        raise Overrun(answer.overrun)
    if answer.refused:
        raise Refused(answer.refused)
    return bytes(answer.result)


def serve(
    tasks: Any, work: Callable[[Any], object], refusals: tuple[type[Exception], ...]
) -> NoReturn:
    """In the process: confine it, do the work on the one task (of a type of `tasks`), answer, end.

    An exception of `refusals` is the answer that the data is refused, with its text.
    """
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    _confine(order.bounds, order.parent)
    try:
        result = work(msgspec.json.decode(order.task, type=tasks))
        answer = _Answer(result=msgspec.Raw(msgspec.json.encode(result)))
    except MemoryError:
        answer = _Answer(
            overrun=f"it takes more than {order.bounds.memory_bytes >> 20} MiB of memory"
        )
    except refusals as error:
        answer = _Answer(refused=str(error))
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    sys.stdout.buffer.flush()
    os._exit(0)


def _confine(bounds: Bounds, parent: int) -> None:
    """Limit this process, and have it end with the one that asked."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended meanwhile
    with contextlib.suppress(OSError):
        os.nice(5)
    for name, most in (
        (resource.RLIMIT_AS, bounds.memory_bytes),
        (resource.RLIMIT_FSIZE, bounds.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (most, most))
    # The soft limit ends it with SIGXCPU, which says why.
    resource.setrlimit(resource.RLIMIT_CPU, (bounds.cpu_seconds, bounds.cpu_seconds + 5))
