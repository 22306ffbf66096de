"""A tenant wants its words to reach other instances through dnsmasq's files. The real dnsmasq is the judge.

Each run starts one dnsmasq on the files that the renderers write, and asks it as every instance of the network.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from netloom.model.dhcp_options import CODES, DhcpValue, Refused, addresses_option, user_option
from netloom.model.hoststate import DhcpLease, DhcpRange, Dnsmasq
from netloom.render.dnsmasq import dnsmasq_conf, dnsmasq_hosts, dnsmasq_opts
from netloom.render.values import Unwritable
from tests.support import dhcp_judge

pytestmark = pytest.mark.root

EVERY_CODE = [code for code in range(1, 255) if code not in (53, 55)]
SUBNET = (
    addresses_option(3, ("10.0.0.1",)),
    addresses_option(6, ("9.9.9.9",)),
    DhcpValue(code=121, data=bytes.fromhex("20a9fea9fe0a000002000a000001")),
)


def mac(number: int) -> str:
    return f"fa:16:3e:00:00:{number:02x}"


def server(leases: list[DhcpLease]) -> Dnsmasq:
    return Dnsmasq(
        namespace="qdhcp-net-a",
        network_id="net-a",
        device="s",
        ranges=(DhcpRange(subnet_id="sub-a", cidr="10.0.0.0/24", options=SUBNET),),
        leases=tuple(leases),
    )


def lease(number: int, *options: DhcpValue, hostname: str = "") -> DhcpLease:
    return DhcpLease(
        mac=mac(number),
        ip=f"10.0.0.{10 + number}",
        hostname=hostname or f"host-{number}",
        port_id=f"{number:08d}-0000-4000-8000-000000000000",
        options=options,
    )


def files(directory: Path, item: Dnsmasq) -> None:
    directory.mkdir(parents=True)
    (directory / "conf").write_text(dnsmasq_conf(item, str(directory)))
    (directory / "hosts").write_text(dnsmasq_hosts(item))
    (directory / "opts").write_text(dnsmasq_opts(item))


def told(directory: Path, item: Dnsmasq, wants: list[list[int]], raw: str = "") -> list:
    """What dnsmasq says to each lease's client that asks for `wants`; it must understand every line of ours."""
    files(directory, item)
    with (directory / "opts").open("a") as opts:
        opts.write(raw)
    messages = [
        {"mac": item.leases[number].mac, "wants": codes} for number, codes in enumerate(wants)
    ]
    found = dhcp_judge.ask(directory, ["10.0.0.2/24"], messages)
    if not raw:
        assert " at line " not in found["log"], found["log"]
    answers = found["answers"]
    for client, answer in zip(item.leases, answers, strict=True):
        assert answer is not None, f"no answer to {client}: {found['log'][-2000:]}"
        assert answer["yiaddr"] == client.ip
    return answers


def said(answer: dict, code: int) -> str | None:
    """An option in hex, in whichever field it came; None where it did not come."""
    if code == 255:
        return (
            None
            if answer["siaddr"] == "10.0.0.2"
            else bytes(map(int, answer["siaddr"].split("."))).hex()
        )
    return answer["options"].get(str(code))


def wire(value: DhcpValue) -> str:
    """What the option is on the wire, in hex."""
    if value.addresses:
        data = bytes(int(part) for address in value.addresses for part in address.split("."))
        # RFC 3361: the first byte says that addresses follow.
        return ((b"\x01" if value.code == 120 else b"") + data).hex()
    return (value.text.encode() or value.data).hex()


NAMES = st.sampled_from(sorted(CODES)) | st.integers(0, 260).map(str)
WORDS = st.sampled_from(
    ["option:", "tag:", "set:", ",", ",3,", '"', "\\", "\n", "\r", "\0", "#", " #", " ", "\t", "ü", "\U0001f4a9",
     "encap:", "vendor:", "10.0.0.1", "0.0.0.0", "/", "::", "a:b", "5", "infinite", "[", "{"]
)  # fmt: skip
HOSTILE = st.lists(WORDS | st.text(max_size=8), max_size=60).map(lambda parts: "".join(parts)[:255])
LONG = st.sampled_from(["ü", "\U0001f4a9", "\\", '\\"', "a", "1,", "10.0.0.1,", "a:", '"'])
VALUES = HOSTILE | LONG.map(lambda part: (part * 255)[:255])
OPTIONS = st.lists(st.tuples(NAMES, VALUES), min_size=20, max_size=20)


def accepted(pairs: list[tuple[str, str]]) -> list[DhcpValue]:
    found = []
    for name, value in pairs:
        try:
            made = user_option(name, value)
        except Refused:
            continue
        if made is not None:
            found.append(made)
    return found


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])  # each one starts a dnsmasq
@given(pairs=OPTIONS)
def test_extra_options_say_what_they_are_to_their_port_alone(tmp_path_factory, pairs):
    values = accepted(pairs)
    # The victim is the last one: everything stands before it in the files.
    leases = [lease(number, value) for number, value in enumerate(values, 1)]
    item = server([*leases, lease(len(values) + 1)])
    wants = [[3, 6, 121, value.code] for value in values] + [[3, 6, 121, 12, 67, 66, 26]]
    *answers, victim = told(tmp_path_factory.mktemp("judge") / "d", item, wants)
    assert victim["options"]["3"] == "0a000001"
    assert victim["options"]["6"] == "09090909"
    assert victim["options"]["121"] == "20a9fea9fe0a000002000a000001"
    assert victim["options"]["26"] == "05dc"
    assert (victim["file"], victim["sname"], victim["siaddr"]) == ("", "", "10.0.0.2")
    assert not {"66", "67"} & victim["options"].keys()
    for value, answer in zip(values, answers, strict=True):
        if value.names or "0.0.0.0" in value.addresses or value.code == 255:
            continue  # names are compressed; 0.0.0.0 stands for the server itself
        got = answer["options"].get(str(value.code)) or ""
        assert got in (wire(value), wire(value) + "00"), value
        for code in {3, 6, 121} - {value.code}:
            assert answer["options"][str(code)] == victim["options"][str(code)]


# What Neutron's agent writes for an option, beside ours: dnsmasq must say the same to both clients.
ORDINARY = [
    ("bootfile-name", "pxelinux.0"), ("bootfile-name", '"a,b"'), ("67", "/tftp/x.efi"), ("66", "192.0.2.1"),
    ("tftp-server", "boot.example.org"), ("server-ip-address", "192.0.2.10"), ("255", "192.0.2.10"),
    ("150", "192.0.2.5,192.0.2.6"), ("210", "/tftpboot/"), ("175", "06:01:01:08:01:01"), ("router", ""),
    ("router", "10.0.0.9"), ("dns-server", "8.8.8.8,8.8.4.4"), ("ntp-server", "192.0.2.7"), ("42", "192.0.2.7"),
    ("mtu", "1400"), ("26", "05:78"), ("domain-name", "example.org"), ("domain-search", "a.example,b.example"),
    ("classless-static-route", "10.9.0.0/16,10.0.0.1"), ("121", "10.9.0.0/16,10.0.0.1,0.0.0.0/0,10.0.0.1"),
    ("classless-static-route", ""), ("249", "10.9.0.0/16,10.0.0.1"), ("static-route", "10.9.0.1,10.0.0.1"),
    ("netbios-ns", "192.0.2.8"), ("netbios-nodetype", "8"), ("time-offset", "3600"), ("252", "http://wpad/wpad.dat"),
    ("vendor-class", "PXEClient"), ("43", "06:01:03"), ("43", "a string"), ("77", "iPXE"), ("93", "9"),
    ("sip-server", "192.0.2.9"), ("sip-server", "sip.example.org"), ("200", "5"), ("200", "300"), ("200", "70000"),
    ("200", "5i"), ("200", "10s"), ("200", "a:b:c"), ("200", "aa"), ("200", "192.0.2.1"), ("200", "x=1;y=2"),
    ("58", "100"), ("T1", "1h"), ("root-path", "iscsi:192.0.2.1::::iqn.2026-01.org:x"), ("17", "a b"),
    ("tzdb-timezone", "Europe/Berlin"), ("BOOTFILE-NAME", "upper"), ("netmask", "255.255.255.0"), ("12", "named"),
    ("ip-forward-enable", "1"), ("default-ttl", "64"), ("tcp-keepalive", "7200"), ("swap-server", "192.0.2.3"),
    ("log-server", "192.0.2.4"), ("smtp-server", "192.0.2.4"), ("nis-domain", "nis.example"), ("6", "0.0.0.0"),
]  # fmt: skip


def test_an_option_is_told_as_neutron_tells_it(tmp_path):
    leases, raw, wants = [], [], []
    for number, (name, value) in enumerate(ORDINARY):
        made = user_option(name, value)
        assert made is not None
        ours, neutrons = lease(2 * number, made), lease(2 * number + 1)
        leases += [ours, neutrons]
        option = name if name.isdigit() else f"option:{name}"
        raw.append(f"tag:port-{neutrons.port_id},{option}{',' + value if value else ''}\n")
        wants += [[made.code] if made.code != 255 else [3]] * 2
    item = server(leases)
    # The port of Neutron's line has no option of ours: only its tag is set.
    files(tmp_path / "d", item)
    hosts = dnsmasq_hosts(item).splitlines()
    for number in range(1, len(hosts), 2):
        hosts[number] = hosts[number].replace(",", f",set:port-{leases[number].port_id},", 1)
    (tmp_path / "d" / "hosts").write_text("\n".join(hosts) + "\n")
    with (tmp_path / "d" / "opts").open("a") as opts:
        opts.writelines(raw)
    # Neutron's own option stands behind the subnet's, and replaces it.
    messages = [
        {"mac": each.mac, "wants": codes} for each, codes in zip(leases, wants, strict=True)
    ]
    found = dhcp_judge.ask(tmp_path / "d", ["10.0.0.2/24"], messages)
    answers = found["answers"]
    for number, (name, value) in enumerate(ORDINARY):
        mine, theirs = answers[2 * number], answers[2 * number + 1]
        code = user_option(name, value).code
        assert said(mine, code) == said(theirs, code), (name, value)
        assert mine["siaddr"] == theirs["siaddr"]
        assert mine["file"] == theirs["file"]
        assert mine["sname"] == theirs["sname"]


def test_an_option_for_ipxe_alone(tmp_path):
    """Ironic's way: the boot loader is loaded first, and then asks once more by itself."""
    first = user_option("tag:!ipxe,67", "undionly.kpxe")
    then = user_option("tag:ipxe,67", "http://192.0.2.9/boot.ipxe")
    router = user_option("tag:ipxe,router", "10.0.0.77")
    assert first and then and router
    item = server([lease(1, first, then, router)])
    files(tmp_path / "d", item)
    ask = {"mac": mac(1), "wants": [67, 3]}
    plain, ipxe = dhcp_judge.ask(
        tmp_path / "d", ["10.0.0.2/24"], [ask, {**ask, "options": {"175": "010101"}}]
    )["answers"]
    assert bytes.fromhex(plain["options"]["67"]).rstrip(b"\0") == b"undionly.kpxe"
    assert plain["options"]["3"] == "0a000001"
    assert bytes.fromhex(ipxe["options"]["67"]).rstrip(b"\0") == b"http://192.0.2.9/boot.ipxe"
    assert ipxe["options"]["3"] == "0a00004d"


KEYWORDS = [
    "ignore", "infinite", "2m", "1w", "60", "1h", "5s", "7d", "0", "10-0-0-12", "host-2", "fa163e000002", "aa-bb-cc-dd-ee-ff",
    "fa-16-3e-00-00-02", "id", "set", "tag", "net", "localhost", "openstacklocal", "x" * 63, "a", "deny", "1e3", "0x10",
]  # fmt: skip


def test_a_host_name_is_a_host_name_whatever_it_says(tmp_path):
    leases = [lease(number, hostname=name) for number, name in enumerate(KEYWORDS, 1)]
    answers = told(tmp_path / "d", server(leases), [[12, 51]] * len(leases))
    names = [bytes.fromhex(answer["options"]["12"]).decode() for answer in answers]
    assert names == KEYWORDS
    assert {answer["options"]["51"] for answer in answers} == {"00015180"}


@settings(max_examples=200)
@given(text=st.text(max_size=70) | HOSTILE | st.from_regex(r"[a-z0-9:.*,=-]{1,20}", fullmatch=True))
def test_what_is_no_host_name_is_never_written(text):
    try:
        hosts = dnsmasq_hosts(server([lease(1, hostname=text or "-")]))
    except Unwritable:
        return
    assert re.fullmatch(
        r"fa:16:3e:00:00:01,tag:!declined,10\.0\.0\.11,[A-Za-z0-9-]{1,63}\.openstacklocal\n", hosts
    )


@pytest.mark.parametrize("field", ["mac", "ip", "hostname", "port_id"])
@given(text=st.text(max_size=40) | HOSTILE)
@settings(max_examples=60)
def test_no_field_of_a_lease_makes_a_line_of_its_own(field, text):
    from msgspec.structs import replace

    option = DhcpValue(code=67, text="x")
    item = server([replace(lease(1, option), **{field: text})])
    try:
        written = dnsmasq_hosts(item), dnsmasq_opts(item)
    except Unwritable:
        return
    assert [text.count("\n") for text in written] == [1, 5 - 1]
    assert all(len(line) < 1000 for text in written for line in text.split("\n"))


def test_the_buffer_of_dnsmasq_is_what_we_take_it_for(tmp_path):
    """A line longer than 1024 bytes goes on as a line of its own: why ours have at most 1000."""
    filler = "tag:nobody,67," + "x" * (1024 - len("tag:nobody,67,"))
    item = server([lease(1)])
    (answer,) = told(tmp_path / "long", item, [[3]], raw=filler + "tag:subnet-sub-a,3,10.0.0.66\n")
    assert answer["options"]["3"] == "0a000042"
    for length in (1000, 1023):
        short = filler[:length]
        (answer,) = told(tmp_path / f"{length}", item, [[3]], raw=short + "\n")
        assert answer["options"]["3"] == "0a000001"
    with pytest.raises(Unwritable):
        dnsmasq_opts(server([lease(1, DhcpValue(code=67, text="ü" * 128))]))
