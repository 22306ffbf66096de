"""The status rows of a whole state at once."""

from __future__ import annotations

from collections.abc import Mapping

from netloom.agent.reconcile.diff import News
from netloom.agent.reconcile.retry import Trouble
from netloom.agent.status import Row, Rows, Said
from netloom.model.hoststate import HostState, Key


def collect(state: HostState, trouble: Mapping[Key, Trouble]) -> dict[Row, Said]:
    """What a host says of each object of the API, as of a state that is new to it."""
    rows = Rows()
    rows.follow(News.of({}, state.objects))
    return rows.said(trouble)
