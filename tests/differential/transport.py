"""Bodies that no JSON library would write, and other methods, paths and headers than a client's."""

from __future__ import annotations

from typing import Any

from tests.differential import pick
from tests.differential.anything import ordinary
from tests.differential.operations import COLLECTIONS, Request, Text, Twin, Twins
from tests.differential.pick import Draw


def _name(text: str) -> bytes:
    return b'{"%s": {"name": ' + text.encode() + b"}}"


RAW: list[bytes] = [
    b'{"%s": {"name": "a", "name": "b"}}',
    b'{"%s": {"name": "a"}, "%s": {"name": "b"}}',
    b'{"%s": {"name": "a"}, "foo": 1}',
    b'{"%s": {"name": "a"}} x',
    b'{"%s": {"name": "a"},}',
    b'{"%s": {"name": "a",}}',
    b'{"%s": {name: "a"}}',
    b"{'%s': {'name': 'a'}}",
    b'\xef\xbb\xbf{"%s": {"name": "a"}}',
    b'  {"%s" :\t{"name":\r\n"a"}}  ',
    b'/* */ {"%s": {"name": "a"}}',
    b"\0",
    b'{"%s": {"name": "a\0b"}}',
    b'{"%s": {"name": "a\nb"}}',
    b'{"%s": {"name": "\xff"}}',
    b'{"%s": {"na\\u006de": "a"}}',
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 2000 + b"1" + b"}" * 2000,
    b"9" * 5000,
    b"{" * 100,
    b"NaN",
    b"-",
    b"1 2",
    b'{"%s"}',
    b'{"%s": {"name": "' + b"x" * 300000 + b'"}}',
    *(
        _name(each)
        for each in (
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "1e5",
            "-0",
            "1" * 4400,
            "0x10",
            "01",
            '"\\u0000"',
            '"\\ud800"',
            '"\\ud83d\\udd78"',
            '"\\x41"',
            "tru",
            "",
            "[" * 500 + "]" * 500,
        )
    ),
]


def raw(world: Twins, draw: Draw) -> Request:
    """A body that no JSON library would write."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    body = draw(pick.sampled_from(RAW)).replace(b"%s", kind.encode())
    if draw(pick.booleans()):
        return Request(world.who(draw), "POST", (COLLECTIONS[kind],), body, makes=kind)
    return Request(world.who(draw), "PUT", (COLLECTIONS[kind], "/", world.some(draw, kind)), body)


def transport(world: Twins, draw: Draw) -> Request:
    """Other methods, paths and headers than a client's."""
    kind = draw(pick.sampled_from(sorted(COLLECTIONS)))
    path: Text = (COLLECTIONS[kind],)
    if draw(pick.booleans()):
        path = (*path, "/", world.some(draw, kind))
    path = (
        *path,
        draw(
            pick.sampled_from(
                ["", "", "", "/", ".json", ".xml", "//", "%20", "/x", "/x/y", ".json/", "?", "/."]
            )
        ),
    )
    method = draw(
        pick.sampled_from(
            ["GET", "GET", "HEAD", "OPTIONS", "PATCH", "TRACE", "DELETE", "PUT", "POST"]
        )
    )
    headers: dict[str, str | Text] = {}
    for name, values in HEADERS.items():
        if draw(pick.integers(0, 3)) == 0:
            headers[name] = draw(pick.sampled_from(values))
    body: Any = None
    if method in ("PUT", "POST", "PATCH") or draw(pick.integers(0, 9)) == 0:
        body = draw(
            pick.sampled_from(
                [{kind: {"name": "t"}}, {kind: ordinary(world, draw, kind)}, {kind: {}}, {}, None]
            )
        )
    made = kind if method == "POST" and len(path) == 2 else ""
    removed = (
        path[2] if method == "DELETE" and len(path) == 4 and isinstance(path[2], Twin) else None
    )
    return Request(world.who(draw), method, path, body, headers, makes=made, removes=removed)


HEADERS: dict[str, list[str]] = {
    "If-Match": [
        "revision_number=0",
        "revision_number=99",
        "x",
        "*",
        "revision_number=",
        'W/"revision_number=0"',
    ],
    "Accept": [
        "application/json",
        "*/*",
        "text/plain",
        "application/*",
        "application/json;q=0",
        "application/xml",
        "",
    ],
    "Content-Type": [
        "application/json",
        "text/plain",
        "application/json;charset=latin-1",
        "",
        "x",
        "application/JSON",
    ],
    "Accept-Encoding": ["gzip", "identity", "br"],
    "Accept-Language": ["de", "x"],
    "Expect": ["x"],
    "X-HTTP-Method-Override": ["DELETE"],
    "X-Forwarded-Proto": ["https"],
}


def extensions(world: Twins, draw: Draw) -> Request:
    """One extension as both describe it, or none."""
    alias = draw(pick.sampled_from(ALIASES))
    tail = draw(pick.sampled_from(["", "", "", ".json", "/", "?fields=alias", "?foo=1"]))
    return Request(world.who(draw), "GET", (f"extensions/{alias}{tail}",))


ALIASES = [
    "router",
    "quotas",
    "binding",
    "security-group",
    "standard-attr-tag",
    "net-mtu",
    "moon",
    "",
    "%20",
    "Router",
]
