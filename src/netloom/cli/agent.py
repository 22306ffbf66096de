"""`netloom agent`: the agent of one host."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from netloom.agent import simulated, view
from netloom.agent.doctor import Request, lines
from netloom.agent.link import Link
from netloom.agent.loop import Agent
from netloom.agent.settings import Settings, load
from netloom.dataplane import probe
from netloom.instances import limits
from netloom.model.bounds import one_line
from netloom.model.errors import UserError
from netloom.model.hosts import HostFacts, HostView, TunnelType
from netloom.plan import VERSION

log = logging.getLogger(__name__)

EXAMPLE = """\
settings file (TOML):
  [agent]
  host = "compute1"                              # as `netloom host add` registered it
  server = "https://netloom.example.org:9696"    # or unix:///run/netloom/server.sock
  secret_file = "/etc/netloom/host.secret"
  backend = "ovs"                                # or "linuxbridge": no Open vSwitch on this host
  ca_file = "/etc/netloom/ca.pem"                # where the system does not trust the server's CA
  roles = ["compute"]                            # "network" carries routers
  state_dir = "/var/lib/netloom/agent"
  tunnel_ip = "192.0.2.11"
  network_namespace = "own"                      # this network namespace is Netloom's to change
  instance_types = ["container"]                 # none by default: tenants' images are hostile

  [physical_networks]
  extnet = "eth1"                                # the agent makes br-extnet and puts eth1 in
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLE
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="FILE", type=Path, help="settings (TOML)")
    which.add_argument(
        "--simulated",
        metavar="FILE",
        type=Path,
        help="be many hosts that remember what they would apply (`netloom lab up --simulated N` writes FILE)",
    )
    parser.add_argument(
        "--root-namespace",
        action="store_true",
        help="act in this network namespace even if the settings do not say that it is Netloom's own",
    )
    parser.add_argument(
        "--view",
        metavar="FILE",
        type=Path,
        help="bring the host to a HostView in a JSON file, once, and end; no server is asked",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what an agent started now would change (by the saved view, or --view), and change nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Run the agent until it is told to end; what it made stays."""
    if args.simulated:
        _log()
        simulated.serve(args.simulated, _on_signals)
        return 0
    settings = load(args.config)
    if settings.agent.network_namespace is None and not args.root_namespace:
        raise UserError(
            'the agent would change this network namespace: say network_namespace = "own" in [agent]'
            " if it is Netloom's, or start with --root-namespace"
        )
    _log()
    probe.check_root()
    probe.check_tools("container" in settings.agent.instance_types, settings.agent.backend)
    if settings.agent.backend == "linuxbridge":
        probe.check_bridges()
    facts = _facts(settings)
    userspace = facts.capabilities.get("datapath_type") == "netdev"
    if userspace:
        probe.check_tun()
    if args.dry_run:
        return _dry_run(settings, facts, args.view)
    try:
        # dnsmasq and the users of instances must get through to their folders, and see nothing on the way.
        for directory in (settings.agent.state, Path(settings.agent.run_dir)):
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    except OSError as error:
        raise UserError(f"cannot make {error.filename}: {error.strerror}") from error
    alone = _hold(settings.agent.state)
    facts = _without_limits(settings, facts)
    agent = Agent(settings, facts)
    if args.view:
        return _once(agent, args.view, facts)
    if settings.agent.tunnel_ip:
        probe.check_tunnel_end(settings.agent.tunnel_ip, userspace)
    link = Link(settings.agent, facts)
    _on_signals(agent.stop)
    agent.run(link)
    link.stop()
    os.close(alone)
    return 0


def _log() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_one_line)


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop())


def _one_line(record: logging.LogRecord) -> bool:
    """Keep one record one line: names and what programs say are strangers' words."""
    text = record.getMessage()
    if not text.isprintable():
        record.msg, record.args = text.encode("unicode_escape").decode(), None
    return True


def _hold(state: Path) -> int:
    """Hold the state folder against a second agent until this process ends; returns the open folder.

    The folder itself, not a file in it: that could not be made on a full disk.
    """
    held = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise UserError(f"another agent works with {state}: stop that first") from error
    return held


def _without_limits(settings: Settings, facts: HostFacts) -> HostFacts:
    """Offer no instances where this host cannot limit them, and say why."""
    if not facts.instance_types:
        return facts
    reason = limits.missing(settings.agent.state, Path(settings.agent.run_dir))
    if not reason:
        return facts
    log.error("this host offers no instances: %s", reason)
    # One line of no more than the server takes: part of it may be a tool's own words.
    capabilities = {**facts.capabilities, "instances": one_line(reason, 200)}
    return msgspec.structs.replace(facts, instance_types=(), capabilities=capabilities)


def _facts(settings: Settings) -> HostFacts:
    agent = settings.agent
    bridges = settings.bridge_mappings()
    capabilities = probe.versions()
    tunnel_types: tuple[TunnelType, ...] = agent.tunnel_types
    if agent.backend == "ovs":
        capabilities["datapath_type"] = probe.datapath_type()
    else:
        capabilities |= probe.bridge_capabilities()
        able = capabilities["vxlan_devices"] == "yes"
        tunnel_types = ("vxlan",) if able and "vxlan" in tunnel_types else ()
    return HostFacts(
        host=agent.host,
        backend=agent.backend,
        tunnel_ip=agent.tunnel_ip,
        tunnel_types=tunnel_types,
        bridge_mappings=bridges,
        physical_interfaces=settings.physical_interfaces(),
        bonds=settings.bonds(),
        capabilities=capabilities,
        roles=agent.roles,
        instance_types=agent.instance_types,
        availability_zone=agent.availability_zone,
        plan_version=VERSION,
        started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _dry_run(settings: Settings, facts: HostFacts, path: Path | None) -> int:
    if path:
        wanted = _view(path)
    else:
        cached = view.load(settings.agent.state / view.FILE, facts)
        if cached is None:
            raise UserError("there is no saved view yet of what shall be on this host")
        wanted = cached.view
    agent = Agent(settings, facts)
    agent.take_view(msgspec.structs.replace(wanted, facts=facts))
    report = agent.examine(Request())
    if report.wrong:
        raise UserError(report.wrong)
    for line in lines(report):
        print(line)
    return 1 if report.findings else 0


def _view(path: Path) -> HostView:
    try:
        return msgspec.json.decode(path.read_bytes(), type=HostView)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"cannot read the view {path}: {error}") from error


def _once(agent: Agent, path: Path, facts: HostFacts) -> int:
    agent.take_view(msgspec.structs.replace(_view(path), facts=facts))
    agent.settle()
    for key, trouble in agent.tracker.trouble.items():
        print(f"{trouble.state}: {' '.join(key)}: {trouble.detail}")
    print(f"{agent.tracker.changes} changes")
    return 1 if any(t.state == "error" for t in agent.tracker.trouble.values()) else 0
