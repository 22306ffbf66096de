"""The soak: rounds of random requests and damages, after each of them every host is as planned; at the end it is empty."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from netloom.lab import settings, status
from netloom.lab.client import Client
from tests.soak import compare, remains
from tests.soak.damage import Damages
from tests.soak.standing import Standing
from tests.soak.tenants import C, N, Tenant
from tests.support import tenant as lab_tenant
from tests.support.running_lab import RunningLab

ROUND = 40.0
"""Seconds of changes and damages before everything pauses and is compared."""
BETWEEN = (3.0, 9.0)
"""Seconds from one damage to the next."""
SETTLE = 120.0
"""Seconds that hosts have to be as planned: an audit looks at everything once a minute."""
GAP = 90.0
"""Seconds without contact of the standing pair that a damage may cost at most."""
SHOWN = 25
"""Lines of one difference that are shown."""

Say = Callable[[str], None]


class Soak:
    """One run; `faults` is what is wrong in the end."""

    def __init__(self, lab: RunningLab, seed: str, say: Say = print, tenants: int = 3) -> None:
        self.lab, self.seed, self._say = lab, seed, say
        self.draw = random.Random(f"{seed} damage")
        self.faults: list[str] = []
        self.damages: Counter[str] = Counter()
        self.began = time.monotonic()
        self._first_use()
        self.before = self._still()
        self.tenants = [self._tenant(f"soak{number}") for number in range(1, tenants + 1)]
        self.standing = Standing(lab)
        self.breaker = Damages(lab, self.draw, self._api_gone, self._api_back)

    def say(self, text: str) -> None:
        self._say(f"{time.monotonic() - self.began:6.0f} s  {text}")

    def fault(self, text: str) -> None:
        self.faults.append(text)
        self.say(f"FAULT {text}")

    # --- who asks -------------------------------------------------------------------------------

    def _admin(self) -> Client:
        return Client(self.lab.state.port, "admin", settings.passwords(self.lab.lab)["admin"])

    def _tenant(self, name: str) -> Tenant:
        """A project with a user of its own. The role admin: only administrators choose an instance's host."""
        with self._admin() as admin:
            body = {"project": {"name": name, "domain_id": "default"}}
            project = admin.post("/identity/v3/projects", body)["project"]["id"]
            user = {"name": name, "password": "soak-soak", "domain_id": "default"}
            user_id = admin.post("/identity/v3/users", {"user": user})["user"]["id"]
            roles = {role["name"]: role["id"] for role in admin.get("/identity/v3/roles")["roles"]}
            path = f"/identity/v3/projects/{project}/users/{user_id}/roles/{roles['admin']}"
            admin.put(path, {})
            public = admin.get(f"{N}/networks", name="public")["networks"][0]["id"]
            image = admin.get("/image/v2/images", name="small")["images"][0]["id"]
            flavors = admin.get(f"{C}/flavors")["flavors"]
        with Client(self.lab.state.port, name, "soak-soak", name) as session:
            token = session.token
        root = f"http://127.0.0.1:{self.lab.state.port}"
        tenant = Tenant(root, name, token, project, self.seed)
        tenant.public, tenant.image = public, image
        tenant.flavor = next(each["id"] for each in flavors if each["name"] == "m1.tiny")
        return tenant

    def _api_gone(self) -> None:
        for tenant in self.tenants:
            tenant.away.set()

    def _api_back(self) -> None:
        # What was under way then ends with the connection, not later.
        time.sleep(1)
        for tenant in self.tenants:
            tenant.away.clear()

    # --- rounds ---------------------------------------------------------------------------------

    def run(self, seconds: float) -> list[str]:
        """All of it; returns the faults."""
        for tenant in self.tenants:
            tenant.start()
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            number += 1
            self._round(min(ROUND, end - time.monotonic()))
            self._settled(f"round {number}")
        self._empty()
        self._sum_up()
        return self.faults

    def _round(self, seconds: float) -> None:
        for tenant in self.tenants:
            tenant.go.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.draw.uniform(*BETWEEN))
            what = self.breaker.any()
            if what:
                self.damages[what.split()[0]] += 1
                self.standing.damaged(what)
                self.say(what)
        for tenant in self.tenants:
            tenant.go.clear()
        for tenant in self.tenants:
            if not tenant.idle.wait(90):
                self.fault(f"{tenant.name}: a request is not answered for 90 s")
            for fault in tenant.faults:
                self.fault(fault)
            tenant.faults.clear()

    def _wrong(self) -> list[str]:
        """What is not as it shall be, on hosts and in what the API says of them."""
        lines = compare.difference(self.lab)
        told = status.collect(self.lab.lab)
        lines += [f"lab status: {error}" for error in told["errors"]]
        lines += [f"lab status: {h['host']} is behind" for h in told["hosts"] if h["behind"]]
        with self._admin() as admin:
            ports = admin.get(f"{N}/ports")["ports"]
            servers = admin.get(f"{C}/servers/detail", all_tenants="1")["servers"]
        state = {server["id"]: server["status"] for server in servers}
        for server in servers:
            if server["status"] not in ("ACTIVE", "SHUTOFF"):
                why = server.get("fault", {}).get("message", "")
                lines.append(f"server {server['id']} is {server['status']} {why}")
        for port in ports:
            if not port["device_owner"].startswith("compute:"):
                continue
            # As in Neutron, a network that is down does not change its ports' status.
            wanted = "ACTIVE" if port["admin_state_up"] else "DOWN"
            if state.get(port["device_id"]) == "ACTIVE" and port["status"] != wanted:
                lines.append(f"port {port['id']} is {port['status']}, not {wanted}")
        for name, is_ in self.standing.servers().items():
            if is_ != "ACTIVE":
                lines.append(f"{name} is {is_}")
        return lines

    def _settled(self, when: str) -> None:
        """Wait until everything is as it shall be."""
        began = time.monotonic()
        wrong = ["not looked yet"]
        while wrong and time.monotonic() < began + SETTLE:
            wrong = self._wrong()
            if wrong:
                time.sleep(2)
        took = time.monotonic() - began
        self.say(f"{when}: settled after {took:.0f} s" if not wrong else f"{when}: NOT settled")
        if wrong:
            more = [f"… {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
            self.fault("\n    ".join([f"after {when}, {took:.0f} s later:", *wrong[:SHOWN], *more]))
        self._gaps()

    def _gaps(self) -> None:
        for gap in self.standing.gaps:
            if gap.seconds > GAP and not gap.told:
                self.fault(f"the pair had no contact for {gap.seconds:.0f} s after {gap.damages}")
                gap.told = True

    # --- the end --------------------------------------------------------------------------------

    def _first_use(self) -> None:
        """Have each host carry something once: folders and groups that it then keeps are no remains."""
        with lab_tenant.Tenant(self.lab) as tenant:
            network = tenant.network("first", "10.8.0.0/24")
            tenant.router(network)
            group = tenant.group({})
            servers = [tenant.boot(h, h, network, group) for h in ("compute1", "compute2")]
            for server in servers:
                tenant.instance(server)

    def _still(self) -> dict[str, Counter[str]]:
        """What there is on hosts when it does not change any more."""
        seen = remains.remains(self.lab)
        for _ in range(80):
            time.sleep(1)
            now = remains.remains(self.lab)
            # A card's chain outlives it: it goes when the agent next looks at such chains.
            if now == seen and not any(
                "from-tap" in line for host in now.values() for line in host
            ):
                return now
            seen = now
        return seen

    def _empty(self) -> None:
        """Delete everything; nothing is left on any host."""
        for tenant in self.tenants:
            tenant.ended = True
            tenant.go.set()
        for tenant in self.tenants:
            tenant.join(90)
        self.standing.stop()
        began = time.monotonic()
        left = ["not asked yet"]
        while left and time.monotonic() < began + SETTLE:
            left = [line for tenant in self.tenants for line in tenant.clear()]
            if left:
                time.sleep(1)
        if left:
            self.fault("\n    ".join(["cannot be deleted:", *left[:SHOWN]]))
        wrong = ["not looked yet"]
        began = time.monotonic()
        while wrong and time.monotonic() < began + SETTLE:
            time.sleep(2)
            wrong = remains.difference(self.before, remains.remains(self.lab))
        if wrong:
            self.fault("\n    ".join(["left after all was deleted:", *wrong[:SHOWN]]))
        self.say(f"deleted: hosts are {'NOT ' if wrong else ''}as before")
        for tenant in self.tenants:
            for fault in tenant.faults:
                self.fault(fault)

    def _sum_up(self) -> None:
        answers: Counter[str] = Counter()
        for tenant in self.tenants:
            for what, count in tenant.answers.items():
                answers[what.rpartition(" ")[2]] += count
        self.say(f"seed {self.seed}: answers {dict(sorted(answers.items()))}")
        self.say(f"damages {dict(self.damages.most_common())}")
        longest = sorted(self.standing.gaps, key=lambda gap: -gap.seconds)[:5]
        for gap in longest:
            self.say(f"no contact for {gap.seconds:.0f} s after {gap.damages}")
        self.say(f"{len(self.faults)} faults")
