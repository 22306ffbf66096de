"""The tools themselves read what the renderers write: ovs-ofctl, nft, dnsmasq."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from netloom.model.hoststate import AttachedNetwork, Dnsmasq, FloatingNat, Flow, SourceNat
from netloom.model.networking import DhcpOption
from netloom.plan import plan
from netloom.render.dnsmasq import dnsmasq_conf, dnsmasq_hosts, dnsmasq_opts
from netloom.render.nft import nft_ruleset
from netloom.render.openflow import flow_text
from tests.support import worlds


def numbers():
    """A Resolve that gives each symbol the next number of its kind."""
    given: dict[str, dict[str, str]] = {}

    def resolve(kind: str, name: str) -> str:
        known = given.setdefault(kind, {})
        return known.setdefault(name, str(len(known) + 1))

    return resolve


@pytest.mark.skipif(shutil.which("ovs-ofctl") is None, reason="needs ovs-ofctl")
@pytest.mark.parametrize("scenario", worlds.PLAIN, ids=lambda scenario: scenario.__name__)
def test_ovs_ofctl_reads_every_flow(scenario, tmp_path):
    for host, view in scenario().views().items():
        resolve = numbers()
        flows = [flow_text(flow, resolve) for flow in plan(view).each(Flow)]
        path = tmp_path / host
        path.write_text("\n".join(flows) + "\n")
        done = subprocess.run(
            ["ovs-ofctl", "-O", "OpenFlow15", "parse-flows", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("ADD ") == len(flows)


def test_no_two_flows_of_a_table_match_the_same():
    for scenario in worlds.PLAIN:
        for view in scenario().views().values():
            keys = [
                (f.bridge, f.table, f.priority, flow_text(f).partition(" actions=")[0])
                for f in plan(view).each(Flow)
            ]
            assert len(keys) == len(set(keys))


@pytest.mark.root
def test_nft_reads_the_ruleset():
    state = plan(worlds.walkthrough_b().view("network1"))
    networks = list(state.each(AttachedNetwork))
    ruleset = nft_ruleset(state.each(FloatingNat), state.each(SourceNat), networks)
    assert networks
    for text in (ruleset, nft_ruleset([], []), nft_ruleset([], [], networks)):
        done = subprocess.run(
            ["unshare", "-n", "nft", "-c", "-f", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="needs dnsmasq")
def test_dnsmasq_reads_its_files(tmp_path):
    world = worlds.walkthrough_a()
    options = (
        DhcpOption("mtu", "1400"),
        DhcpOption("tftp-server", "192.0.2.5"),
        DhcpOption("66", "x"),
        DhcpOption("67", "evil\ndhcp-script=/bin/sh"),
        DhcpOption("nonsense", "y"),
    )
    world.change("ports", "my1", extra_dhcp_opts=options)
    (server,) = plan(world.view("compute1")).each(Dnsmasq)
    opts = dnsmasq_opts(server)
    assert "evil" not in opts
    assert "nonsense" not in opts
    assert "tag:port-my1,26,05:78" in opts
    assert "dhcp-option-force=tag:!own-26,26,1500" in dnsmasq_conf(server, "/d")
    (tmp_path / "hosts").write_text(dnsmasq_hosts(server))
    (tmp_path / "opts").write_text(opts)
    conf = tmp_path / "conf"
    conf.write_text(dnsmasq_conf(server, str(tmp_path)))
    done = subprocess.run(
        ["dnsmasq", "--test", f"--conf-file={conf}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
