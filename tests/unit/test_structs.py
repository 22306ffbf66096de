"""Threads that decode the same struct at the same moment, before anybody else did: the process must live."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, threading, time, types
import msgspec
from netloom.model.structs import compile_structs

made = types.ModuleType("netloom.made")
sys.modules[made.__name__] = made

def late(kind):
    time.sleep(0.5)
    return kind

made.late = late
exec('''
import msgspec
class Inner(msgspec.Struct):
    number: "late(int)"
class Row(msgspec.Struct):
    id: "str"
    inner: "Inner"
''', made.__dict__)

if sys.argv[1:] == ["compiled"]:
    compile_structs()
row = b'{"id": "x", "inner": {"number": 1}}'
threads = [threading.Thread(target=msgspec.json.decode, args=(row,), kwargs={"type": made.Row}) for _ in range(2)]
for thread in threads:
    thread.start()
    time.sleep(0.1)
for thread in threads:
    thread.join()
"""


def decode_in_threads(*words: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], timeout=60, check=False
    ).returncode


def test_structs_are_known_before_threads_use_them() -> None:
    assert decode_in_threads("compiled") == 0
