"""Making structs known to msgspec before threads use them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


def compile_structs() -> None:
    """Have msgspec look into every struct of ours that is imported by now; call it before threads are started.

    It does so at a struct's first decoding, and notes what it found before it is complete: a thread that decodes the
    same struct at that moment crashes the whole process (msgspec 0.22).
    """
    for struct in _below(msgspec.Struct):
        if struct.__module__.startswith("netloom."):
            msgspec.json.Decoder(struct)


def _below(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in struct.__subclasses__():
        yield each
        yield from _below(each)
