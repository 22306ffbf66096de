"""The difference between what is wanted and what is there: pure functions over marks and objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from netloom.model.hoststate import HostObject, HostState, Key, StateDelta

Mark = str


class Diff(Struct, frozen=True):
    """Keys of objects that are not as wanted, sorted.

    `add`: wanted and not there. `alter`: there, but not as wanted. `remove`: there and not wanted.
    """

    add: tuple[Key, ...] = ()
    alter: tuple[Key, ...] = ()
    remove: tuple[Key, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.alter or self.remove)

    def __len__(self) -> int:
        return len(self.add) + len(self.alter) + len(self.remove)


class Change(Struct, frozen=True):
    """What one kind is asked to do: the part of a Diff that is due, with the wanted objects."""

    add: tuple[HostObject, ...] = ()
    alter: tuple[HostObject, ...] = ()
    remove: tuple[Key, ...] = ()

    @property
    def make(self) -> tuple[HostObject, ...]:
        """All objects that are to be as wanted afterwards."""
        return (*self.add, *self.alter)

    def __bool__(self) -> bool:
        return bool(self.add or self.alter or self.remove)


def diff(
    wanted: Mapping[Key, Mark], there: Mapping[Key, Mark], keys: Iterable[Key] | None = None
) -> Diff:
    """Compare both sides; `keys`: only these, where it is known that the others do not differ."""
    if keys is None:
        keys = wanted.keys() | there.keys()
    add: list[Key] = []
    alter: list[Key] = []
    remove: list[Key] = []
    for key in sorted(keys):
        if key not in wanted:
            if key in there:
                remove.append(key)
        elif key not in there:
            add.append(key)
        elif wanted[key] != there[key]:
            alter.append(key)
    return Diff(tuple(add), tuple(alter), tuple(remove))


class News(Struct, frozen=True):
    """What a state is that it was not before. `fresh`: keys of objects that are new or another version; `gone`: of those that went."""

    before: Mapping[Key, HostObject]
    after: Mapping[Key, HostObject]
    fresh: list[Key]
    gone: list[Key]

    def __bool__(self) -> bool:
        return bool(self.fresh or self.gone)

    @classmethod
    def of(cls, before: Mapping[Key, HostObject], after: Mapping[Key, HostObject]) -> News:
        """Compare two states."""
        return cls(before, after, *changed(before, after))

    @classmethod
    def step(cls, before: HostState, after: HostState, delta: StateDelta | None) -> News:
        """What leads from one state to the next; `delta`: the same as the plan says it, None where that is not known."""
        if delta is None:
            return cls.of(before.objects, after.objects)
        return cls(before.objects, after.objects, list(delta.put), list(delta.gone))


def changed(
    before: Mapping[Key, HostObject], after: Mapping[Key, HostObject]
) -> tuple[list[Key], list[Key]]:
    """(keys of objects that are new or another version, keys of objects that are gone) between two states.

    An object that is the very same one costs no comparison of its content.
    """
    if before is after:
        return [], []
    fresh: list[Key] = []
    known = 0
    for key, item in after.items():
        old = before.get(key)
        if old is None:
            fresh.append(key)
            continue
        known += 1
        if old is not item and old != item:
            fresh.append(key)
    gone = [] if known == len(before) else [key for key in before if key not in after]
    return fresh, gone
