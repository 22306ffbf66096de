"""What is said of a table of nftables that is not as wanted."""

from __future__ import annotations

import json
from typing import Any

from netloom.dataplane.linux.nat import Translations, translations, without_mark
from netloom.dataplane.linux.nft import Difference, Table, differences, in_short, parsed

DNAT = [
    {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "203.0.113.5"}},
    {"dnat": {"addr": "10.0.0.5"}},
]  # fmt: skip
OUT = {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "qg-1"}}
SNAT = [OUT, {"snat": {"addr": "203.0.113.9"}}]
COUNTED = [{"counter": {"packets": 7, "bytes": 9}}, {"drop": None}]


def listing(
    *rules: tuple[str, list[Any], str], chains: tuple[str, ...] = (), elements: Any = ()
) -> str:
    where = {"family": "ip", "table": "netloom"}
    names = [*dict.fromkeys([*(chain for chain, _, _ in rules), *chains])]
    entries: list[Any] = [
        {"metainfo": {}},
        {"table": {"family": "ip", "name": "netloom", "handle": 1}},
    ]
    entries += [
        {
            "set": {
                **where,
                "name": "known",
                "type": "ipv4_addr",
                "handle": 2,
                "elem": list(elements),
            }
        }
    ]
    entries += [
        {"set": {**where, "name": "senders", "type": "x", "handle": 2, "elem": [len(rules)]}}
    ]
    entries += [
        {
            "chain": {
                **where,
                "name": name,
                "type": "nat",
                "hook": name,
                "prio": 0,
                "policy": "accept",
            }
        }
        for name in names
    ]
    entries += [
        {
            "rule": {
                **where,
                "chain": chain,
                "handle": n,
                "expr": expr,
                **({"comment": why} if why else {}),
            }
        }
        for n, (chain, expr, why) in enumerate(rules)
    ]
    return json.dumps({"nftables": entries})


def table(*rules: tuple[str, list[Any], str], **more: Any):
    return parsed(listing(*rules, **more))["ip", "netloom"]


WHOLE = (
    ("prerouting", DNAT, "floatingip/f"),
    ("postrouting", SNAT, "router/r"),
    ("forward", COUNTED, ""),
)


def test_counters_and_what_packets_put_into_sets_do_not_count() -> None:
    other = [{"counter": {"packets": 0, "bytes": 0}}, {"drop": None}]
    changed = (*WHOLE[:2], ("forward", other, ""))
    assert differences(table(*WHOLE), table(*changed)) == []


def said(wanted: Table, there: Table) -> list[str]:
    return [difference.words for difference in differences(wanted, there)]


def test_each_difference_is_said_in_words() -> None:
    wanted = table(*WHOLE, elements=("10.0.0.1",))
    assert said(wanted, table(*WHOLE[1:], chains=("prerouting",), elements=("10.0.0.1",))) == [
        "a rule of chain prerouting was gone: floatingip/f"
    ]
    more = table(*WHOLE, ("postrouting", [OUT, {"accept": None}], ""), elements=("10.0.0.1",))
    assert said(wanted, more) == ["a rule was added to chain postrouting: oifname == qg-1, accept"]
    assert said(wanted, table(*WHOLE[1:], elements=("10.0.0.1",))) == ["chain prerouting was gone"]
    assert said(wanted, table(*WHOLE)) == ["set known had other elements"]
    two = (("forward", COUNTED, "a"), ("forward", COUNTED, "b"))
    assert said(table(*two), table(*reversed(two))) == [
        "the rules of chain forward were in another order"
    ]
    several = [Difference(words, frozenset()) for words in "abcde"]
    assert in_short(several) == "a; b; c and 2 more"


def test_a_difference_names_what_its_rule_names() -> None:
    (gone,) = differences(table(*WHOLE), table(*WHOLE[1:], chains=("prerouting",)))
    assert {"prerouting", "floatingip/f", "203.0.113.5"} <= gone.names


def test_what_a_table_translates_is_read_from_its_rules() -> None:
    said = translations(table(*WHOLE, chains=("unfinished",)))
    assert said == Translations(
        {"203.0.113.5": ("10.0.0.5", "floatingip/f")},
        source={"qg-1": ("203.0.113.9", "router/r")},
        unfinished=True,
    )
    assert not translations(without_mark(table(*WHOLE, chains=("unfinished",)))).unfinished
