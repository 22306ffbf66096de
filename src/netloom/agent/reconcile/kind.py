"""What a kind of host object must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from netloom.agent.reconcile.diff import Change, Mark
from netloom.dataplane.process import ApplyError
from netloom.model.hosts import State
from netloom.model.hoststate import HostObject, Key
from netloom.model.origin import Origin


class Failure(Struct, frozen=True):
    """Why an object is not as wanted after `apply`. `state`: `pending` where it is only a matter of time.

    Without a `detail` the object is under way, and the kind itself says later what became of it.
    """

    detail: str
    state: State = "error"


UNDER_WAY = Failure("")


class NotReady(Exception):
    """Raised by `Kind.mark`: it cannot be said yet how this object is wanted.

    `state`: `pending` where something else must come first, `error` where the object cannot be made at all. `blame`: the
    origins that it is the fault of, where that is not all of the object's.
    """

    def __init__(
        self, detail: str, state: State = "pending", blame: tuple[Origin, ...] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.state: State = state
        self.blame = blame


class Look(Struct):
    """One look at the host, shared by all kinds that are read for it.

    `wanted`: what shall be there; `marks`: kind → key → mark of that, as far as it can be said. `only`: the namespaces that are looked into; None:
    the whole host. `sorts`: the sorts of objects that are asked for; None: all. `whole`: all kinds are read, so that what costs much may be asked as well. `foreign`: what kinds find in places of ours that is not ours and may break traffic: a key that names it →
    what it is, in words. `together`: what several kinds read at once, by whatever name they agree on.
    """

    wanted: Mapping[Key, HostObject]
    marks: Mapping[str, Mapping[Key, Mark]]
    only: frozenset[str] | None = None
    sorts: frozenset[str] | None = None
    whole: bool = False
    foreign: dict[Key, str] = field(default_factory=dict[Key, str])
    together: dict[str, Any] = field(default_factory=dict[str, Any])

    def of(self, kind: str) -> Iterator[Any]:
        """The wanted objects of a kind whose mark is known."""
        for key in self.marks.get(kind, ()):
            yield self.wanted[key]

    def asks_for(self, key: Key) -> bool:
        """Whether this look asks for objects of this sort."""
        return self.sorts is None or key[0] in self.sorts

    def once(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` returns, read at most once in this look."""
        if name not in self.together:
            self.together[name] = read()
        return self.together[name]


class Kind:
    """Base of all kinds. `sorts`: the first words of the keys that are this kind's.

    `after`: names of kinds that stand before it. `at_once`: it adds, alters and removes in one step, in its turn of
    adding. `inside`: its objects are in namespaces (`place`).
    `ends_by_itself`: an object that is gone was not damaged by anybody.
    """

    name: str
    sorts: tuple[str, ...]
    after: tuple[str, ...] = ()
    at_once: bool = False
    inside: bool = False
    ends_by_itself: bool = False

    def read(self, look: Look) -> dict[Key, Mark]:
        """What is there and ours (in `look.only`, where the kind is `inside`), compared whole.

        Raises ApplyError where it cannot be read.
        """
        raise NotImplementedError

    def mark(self, item: Any) -> Mark:
        """The mark that `read` gives for this object where it is as wanted; raises NotReady."""
        raise NotImplementedError

    def place(self, key: Key) -> str:
        """The namespace of an object, where the kind is `inside`."""
        return key[1]

    def apply(self, change: Change) -> dict[Key, Failure]:
        """Make objects as wanted and remove others; returns those that failed. What fails stops no other object.

        An exception counts as the failure of the whole change.
        """
        raise NotImplementedError

    def stale(self) -> Iterable[Key]:
        """Keys of wanted objects whose mark is another one now though the object is the same. Asked in each pass."""
        return ()

    def needs(self, item: Any) -> Iterable[Key]:
        """Objects that must be as wanted before this one is made, where they are wanted at all.

        For what must not be without them, not even for a moment; that something merely fails without is no need.
        """
        del item
        return ()

    def outlives(self, key: Key) -> Iterable[Key]:
        """Objects that must be as wanted, or gone, before this one is removed: the other side of `needs`."""
        del key
        return ()

    def goes_with(self, key: Key) -> Key | None:
        """The object in which this one is: where that is removed, this one goes with it."""
        del key
        return None

    def forget(self, key: Key) -> None:
        """An object is not wanted any more: `mark` will not be asked for it."""


def each(items: Iterable[Any], make: Callable[[Any], object]) -> dict[Key, Failure]:
    """Do something for each object by itself; returns those that failed."""
    failed: dict[Key, Failure] = {}
    for item in items:
        key = item if isinstance(item, tuple) else item.key
        try:
            make(item)
        except (ApplyError, OSError) as error:
            failed[key] = Failure(str(error))
        except (ValueError, TypeError, KeyError) as error:
            # A mistake of ours, at something that this object holds: the others go on.
            failed[key] = Failure(f"{type(error).__name__}: {error}")
    return failed
