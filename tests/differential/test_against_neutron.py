"""Hundreds of requests by six identities: Netloom answers as Neutron does, save for what is listed.

NETLOOM_ORACLE_RANDOM=SEED (any text, "" for one of chance) explores: other requests, more of them, and each sort of
difference is shortened to the requests that bring it about. NETLOOM_ORACLE_PAST=FILE keeps what was asked, for the
next seed to ask something else.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.differential.comparing import Comparison, Found, clear, shortened
from tests.differential.known_differences import KNOWN
from tests.differential.novelty import Novelty
from tests.differential.sides import Side, netloom, neutron

pytestmark = pytest.mark.slow

WANTED = 500
"""Requests that must have been compared in the end."""

SEED = os.environ.get("NETLOOM_ORACLE_RANDOM")
"""Explore. Without it the same requests each time, so that a run can be trusted."""
WORLDS = int(os.environ.get("NETLOOM_ORACLE_EXAMPLES", "22"))
STEPS = 120 if SEED is not None else 30
PAST = os.environ.get("NETLOOM_ORACLE_PAST")
SHORTEN = int(os.environ.get("NETLOOM_ORACLE_SHORTEN", "5"))
"""Sorts of differences that an explorer has shortened, the first ones: each takes half a minute."""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    try:
        with (
            neutron(tmp_path_factory.mktemp("neutron")) as theirs,
            netloom(tmp_path_factory.mktemp("netloom")) as ours,
        ):
            yield theirs, ours
    except LookupError as missing:
        pytest.skip(str(missing))


def _sort(found: Found) -> str:
    """Return what differences that are alike have in common."""
    where = re.sub(r"/.*|\?.*", "", str(found.request).split(" ")[2])
    line = re.sub(r"[0-9a-f-]{6,}|\d+|'[^']*'", "·", re.sub(r"\{.*? \|", "|", found.lines[0])[:160])
    return f"{found.request.method} {where} {line}"


def _tell(sorts: dict[str, list[Found]], found: list[Found]) -> None:
    """Add differences to their sorts. An explorer reads along: a long run says what it met at once."""
    for each in found:
        sort = _sort(each)
        if SEED is not None and sort not in sorts:
            print(f"\n{each}", flush=True)
        sorts.setdefault(sort, []).append(each)


def test_the_same_requests_get_the_same_answers(sides: tuple[Side, Side]) -> None:
    seed = SEED or str(time.time()) if SEED is not None else "always the same"
    novelty = Novelty(Path(PAST) if PAST else None)
    sorts: dict[str, list[Found]] = {}
    known: Counter[str] = Counter()
    asked = 0
    for number in range(WORLDS):
        comparison = Comparison(sides)
        comparison.furnish()
        comparison.explore(f"{seed} {number}", STEPS, novelty)
        for side in sides:
            clear(side, comparison.world.identities[0])
        asked += len(comparison.asked)
        novelty.keep()
        _tell(sorts, comparison.found)
        known.update(each.reason for each in comparison.known)
        if SEED is not None:
            print(
                f"{number}: {asked} requests so far, {len(novelty.different)} different", flush=True
            )
    print(
        f"seed {seed}: {asked} requests, {len(novelty.different)} different, {len(sorts)} sorts of differences"
    )
    if SEED is not None:
        print(
            "Listed and not met:",
            *(each.reason for each in KNOWN if not known[each.reason]),
            sep="\n  ",
        )
    for found in list(sorts.values())[: SHORTEN if SEED is not None else 0]:
        print("\nSHORTENED", found[0], *shortened(sides, found[0]), sep="\n  ", flush=True)
    texts = [f"{len(found)} times: {min(map(str, found), key=len)}" for found in sorts.values()]
    assert not sorts, f"{len(sorts)} sorts of differences:\n" + "\n\n".join(texts[:60])
    assert asked >= WANTED
