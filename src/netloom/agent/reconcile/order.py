"""The sequence of kinds, from what each declares to need before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Ordered(Protocol):
    """Something with a name and the names of what must stand before it."""

    @property
    def name(self) -> str: ...

    @property
    def after(self) -> tuple[str, ...]: ...


K = TypeVar("K", bound=Ordered)


def in_order(kinds: Iterable[K]) -> Sequence[K]:
    """The kinds, each behind all that it is `after`; otherwise in the sequence in which they were given.

    A name that no kind has is left out: a host without instances has no such kind. Raises ValueError where two
    kinds have one name, or where kinds wait for each other.
    """
    waiting: dict[str, K] = {}
    for kind in kinds:
        if kind.name in waiting:
            raise ValueError(f"two kinds are named {kind.name}")
        waiting[kind.name] = kind
    done: list[K] = []
    while waiting:
        ready = next((k for k in waiting.values() if not waiting.keys() & set(k.after)), None)
        if ready is None:
            raise ValueError(f"kinds wait for each other: {', '.join(waiting)}")
        done.append(waiting.pop(ready.name))
    return done
