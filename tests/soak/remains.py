"""What there is on a host: the same before the first request and after the last object is deleted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.support.running_lab import RunningLab

HOSTS = ("network1", "compute1", "compute2")
# Flows name ports and have no cookie here: a port that was made anew has another number.
SCRIPT = """
echo "== namespaces"; ip netns list | cut -d' ' -f1
echo "== links"; ls /sys/class/net
echo "== bridges"; for b in $(ovs-vsctl list-br); do echo $b; ovs-vsctl list-ports $b | sed "s/^/$b /"; done
echo "== flows"; for b in $(ovs-vsctl list-br); do ovs-ofctl -O OpenFlow14 --names dump-flows $b --no-stats \
 | sed "s/cookie=[^,]*, //; s/^/$b /"; done
echo "== groups"; for b in $(ovs-vsctl list-br); do ovs-ofctl -O OpenFlow15 dump-groups $b | grep group_id \
 | sed "s/^/$b /"; done
echo "== numbers"; ovs-vsctl get Open_vSwitch . external_ids | tr ',' '\\n' | grep -o 'netloom-[^=]*'
echo "== limits"; ovs-appctl dpctl/ct-get-limits | grep zone
echo "== mounts"; cut -d' ' -f2,3 /proc/1/mounts
echo "== run"; cd /run/netloom/agent 2>/dev/null && find . -mindepth 1
echo "== crun"; ls /run/crun 2>/dev/null
echo "== tables"; nft list tables; nft list chains netdev 2>/dev/null | grep chain
"""


def inventory(lab: RunningLab, host: str) -> Counter[str]:
    """Lines about a host, each as often as there is the thing."""
    found: Counter[str] = Counter()
    section = ""
    for line in lab.exec(host, "sh", "-c", SCRIPT, check=False).splitlines():
        if line.startswith("== "):
            section = line[3:]
        elif line.strip():
            found[f"{section}: {line.strip()}"] += 1
    for line in lab.exec(host, "ps", "-eo", "comm=,args=").splitlines():
        name = re.sub(r"\s+", " ", line.strip())[:60]
        # Workers come and go; what looks is no part of what is seen.
        if name and not name.startswith(("ps ", "sh ")):
            found[f"process: {name.split()[0]}"] += 1
    state: Path = lab.lab.host(host) / "state"
    for folder in ("instances", "roots", "disks"):
        found.update(f"state: {folder}/{path.name}" for path in (state / folder).glob("*"))
    return found


def groups(lab: RunningLab) -> Counter[str]:
    """Control groups of the lab."""
    tops = [path for path in Path("/sys/fs/cgroup").rglob(lab.lab.group) if path.is_dir()]
    return Counter(str(path) for top in tops for path in top.rglob("*") if path.is_dir())


def remains(lab: RunningLab) -> dict[str, Counter[str]]:
    """All hosts, and what they share."""
    return {host: inventory(lab, host) for host in HOSTS} | {"machine": groups(lab)}


def difference(before: dict[str, Counter[str]], after: dict[str, Counter[str]]) -> list[str]:
    """What is left over, and what is missing."""
    lines: list[str] = []
    for host, old in before.items():
        new = after[host]
        lines += [f"{host}: left over: {line}" for line in sorted((new - old).elements())]
        lines += [f"{host}: gone: {line}" for line in sorted((old - new).elements())]
    return lines
