"""42 faults, injected through the real API: explain names the guilty object, and its fix mends what is broken.

The table of docs/rooms/explain.md is what this test finds; `--update-golden` writes it anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import FAULTS, Fault, plain
from tests.support.shop import Shop, shop

PAGE = Path(__file__).parents[2] / "docs" / "rooms" / "explain.md"
BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"
GUILTY, MENDED = 0.95, 0.90


@dataclass(frozen=True)
class Found:
    """What came of one fault."""

    fault: Fault
    guilty: str
    verdict: str
    fix: str
    after: str
    refused: list[str]
    sentence: str

    @property
    def right(self) -> bool:
        return self.guilty == self.fault.guilty

    @property
    def mended(self) -> bool:
        return self.after == "reachable" and not self.refused


def carry_out(s: Shop, fault: Fault) -> Found:
    """One row: a cloud that works, the fault, the question, the fix, the question again."""
    plain(s)
    s.settle()
    assert s.explain("client", "db")["verdict"] == "reachable"
    assert s.explain("client", "outside")["verdict"] == "reachable"
    fault.inject(s)
    s.settle()
    source, destination, more = fault.question
    answer = s.explain(source, destination, **more)
    kind, _, ident = answer["decided_by"].partition("/")
    known = {ident: thing for thing, ident in s.ids.items() if thing.partition("/")[0] == kind}
    before = objects(s)
    refused = s.follow(answer["fix"]) if answer["fix"] else ["no fix"]
    s.settle()
    after = s.explain(source, destination, **more)
    # Nothing that was there is taken away from anybody: the floating IP of the client least of all.
    busy = s.get("floatingip/busy")
    assert busy["port_id"] == s.id("port/client"), (fault.text, answer["fix"])
    narrow(answer, fault, objects(s) - before)
    return Found(
        fault=fault,
        guilty=f"{kind}/{known[ident].partition('/')[2]}"
        if ident in known
        else answer["decided_by"],
        verdict=answer["verdict"],
        fix=s.named(answer["fix"]),
        after=after["verdict"],
        refused=refused,
        sentence=f"{answer['sentence']} | after: {after['sentence']}",
    )


def objects(s: Shop) -> set[tuple[Any, ...]]:
    """The security group rules that are there, as tuples of what they open."""
    rules = s.request("GET", "/networking/v2.0/security-group-rules")["security_group_rules"]
    names = (
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
    )
    return {(rule["id"], *(rule[name] for name in names)) for rule in rules}


def narrow(answer: dict[str, Any], fault: Fault, opened: set[tuple[Any, ...]]) -> None:
    """A fix opens the protocol, the port and the address that were asked about, and nothing else."""
    source, destination, more = fault.question
    for _, _, ethertype, protocol, low, high, remote in opened:
        assert ethertype == "IPv4" and protocol == more["protocol"], answer["fix"]
        if protocol == "icmp":
            assert (low, high) in ((8, None), (0, None)), answer["fix"]
        elif low is not None:
            assert (low, high) == (more["port"], more["port"]), answer["fix"]
        else:
            assert "answer does not come back" in answer["sentence"]
        anywhere = "outside" in (source, destination)
        assert (remote in (None, "0.0.0.0/0")) if anywhere else remote.endswith("/32"), answer[
            "fix"
        ]


def table(found: list[Found]) -> str:
    """The rows as docs/rooms/explain.md has them."""
    lines = [
        "| # | fault | question | guilty | fix printed | says, before → after |",
        "|---|---|---|---|---|---|",
    ]
    for number, each in enumerate(found, start=1):
        source, destination, more = each.fault.question
        service = f"{more['protocol']}/{more['port']}" if "port" in more else more["protocol"]
        service += f", {more['size']} bytes" if "size" in more else ""
        fix = re.sub(r"fa:16:3e(:[0-9a-f]{2}){3}", "MAC", each.fix)
        fix = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", fix).removeprefix("openstack ")
        fix = fix.replace("&& openstack ", "&& ")
        kind, _, name = each.guilty.partition("/")
        lines.append(
            f"| {number} | {each.fault.text} | {source} → {destination}, {service} "
            f"| {kind.replace('_', ' ')} {name} | `{fix}` | {each.verdict} → {each.after} |"
        )
    return "\n".join(lines)


@pytest.mark.slow
def test_faults_are_named_and_mended(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found: list[Found] = []
    with shop(tmp_path / "shop") as s:
        for fault in FAULTS:
            found.append(carry_out(s, fault))
            s.clean()
    right = sum(each.right for each in found) / len(found)
    mended = sum(each.mended for each in found) / len(found)
    print(f"{len(found)} faults: guilty object right {right:.1%}, fix mends {mended:.1%}")
    otherwise = [
        each
        for each in found
        if not each.right
        or (each.verdict, each.after) != (each.fault.verdict, each.fault.after)
        or (each.refused and each.fault.after == "reachable")
    ]
    assert not otherwise, "\n".join(map(str, otherwise))
    assert len(found) == 42
    assert right >= GUILTY and mended >= MENDED
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    old, _, tail = rest.partition(END)
    wanted = f"\n\n{table(found)}\n\n"
    if request.config.getoption("--update-golden"):
        PAGE.write_text(f"{head}{BEGIN}{wanted}{END}{tail}")
    else:
        assert old == wanted, "the table of docs/rooms/explain.md is not what was found"
