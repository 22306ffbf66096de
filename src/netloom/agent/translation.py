"""NAT of this host's routers: one table a namespace, so its objects succeed or fail together."""

from __future__ import annotations

from collections import defaultdict

from netloom.agent.trouble import Troubles
from netloom.dataplane.linux import nat
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import FloatingNat, HostState, Key, SourceNat
from netloom.render.nft import check_nat
from netloom.render.values import Unwritable

NatTables = dict[str, tuple[list[FloatingNat], list[SourceNat]]]
"""Router's namespace → what it translates."""


def tables_of(state: HostState, trouble: Troubles) -> NatTables:
    """All NAT of a state, by namespace. What nft would take for something else is left out, and is trouble."""
    tables: NatTables = defaultdict(lambda: ([], []))
    for item in state.each(FloatingNat):
        if _writable(item, trouble):
            tables[item.namespace][0].append(item)
    for item in state.each(SourceNat):
        if _writable(item, trouble):
            tables[item.namespace][1].append(item)
    return tables


def _writable(item: FloatingNat | SourceNat, trouble: Troubles) -> bool:
    try:
        check_nat(item)
    except Unwritable as error:
        trouble.fail(item.key, "", str(error))
        return False
    return True


def bring_about(tables: NatTables, found: dict[Key, str], trouble: Troubles, *, early: bool) -> int:
    """Make the tables that differ from what was found; returns how many. `early`: takes no floating IP away yet."""
    changes = 0
    for name, (floating, source) in sorted(tables.items()):
        members = [*floating, *source]
        _, mark = nat.marked_ruleset(floating, source)
        if found.get(("nat", name)) == mark:
            _well(members, trouble)
        elif trouble.is_due(members[0].key, mark):
            try:
                there = nat.apply(name, floating, source, keep=early)
            except ApplyError as error:
                for item in members:
                    trouble.fail(item.key, mark, str(error))
            else:
                found["nat", name] = there
                changes += there == mark
                _well(members, trouble)
    return changes


def _well(members: list[FloatingNat | SourceNat], trouble: Troubles) -> None:
    for item in members:
        trouble.pop(item.key, None)
