"""Two private hosts that are joined."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.host import Host, join


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    made: list[Host] = []
    try:
        made += [Host("a")]
        made += [Host("b")]
        join(*made)
        yield made[0], made[1]
    finally:
        for host in made:
            host.close()
