"""Guessing passwords: slowed down for who guesses, never for the user or for anybody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from netloom.api.fair import FairPool, client_of
from netloom.identity import brake as brake_module
from netloom.identity.brake import FREE, LONGEST_SECONDS, Brake
from netloom.model.errors import Busy, TooManyRequests
from tests.support.cloud import DEMO, Cloud, running


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with running(tmp_path, server={"trusted_proxies": ["127.0.0.1"]}) as there:
        # Time stands still: a pause does not end because the machine is slow.
        there.services.brake = Brake(Clock())
        yield there


def log_in(cloud: Cloud, user: str, password: str, address: str) -> httpx.Response:
    domain = {"id": "default"}
    named = {"name": user, "domain": domain, "password": password}
    identity = {"methods": ["password"], "password": {"user": named}}
    return cloud.http.post(
        "/identity/v3/auth/tokens",
        json={"auth": {"identity": identity}},
        headers={"X-Forwarded-For": address},
    )


@pytest.mark.parametrize("user", ["demo", "nobody"])
def test_guesses_from_one_address_are_braked_and_nobody_is_locked_out(
    cloud: Cloud, user: str
) -> None:
    codes = [log_in(cloud, user, f"wrong{n}", "192.0.2.1").status_code for n in range(FREE)]
    assert codes == [401] * FREE
    braked = log_in(cloud, user, "wrong", "192.0.2.1")
    assert braked.status_code == 429 and int(braked.headers["Retry-After"]) >= 1
    assert braked.json()["error"]["code"] == 429
    # The user from another address, another user from this one, and the one who guesses by the user's id.
    assert log_in(cloud, "demo", DEMO, "192.0.2.2").status_code == 201
    assert log_in(cloud, "admin", "wrong", "192.0.2.1").status_code == 401


def test_naming_the_user_otherwise_is_no_way_round(cloud: Cloud) -> None:
    for n in range(FREE):
        log_in(cloud, "demo", f"wrong{n}", "192.0.2.1")
    with cloud.client("demo") as client:
        shown = client.get(
            "/identity/v3/auth/tokens", headers={"x-subject-token": client.headers["x-auth-token"]}
        )
        ident = shown.json()["token"]["user"]["id"]
    tried = {"methods": ["password"], "password": {"user": {"id": ident, "password": DEMO}}}
    headers = {"X-Forwarded-For": "192.0.2.1"}
    by_id = cloud.http.post(
        "/identity/v3/auth/tokens", json={"auth": {"identity": tried}}, headers=headers
    )
    assert by_id.status_code == 429
    change = {"user": {"original_password": DEMO, "password": "new"}}
    changed = cloud.http.post(f"/identity/v3/users/{ident}/password", json=change, headers=headers)
    assert changed.status_code == 429
    assert DEMO not in changed.text


def test_many_guesses_at_once_are_no_way_round(cloud: Cloud) -> None:
    with ThreadPoolExecutor(12) as pool:
        codes = list(
            pool.map(lambda n: log_in(cloud, "demo", f"w{n}", "192.0.2.7").status_code, range(14))
        )
    # Two passwords are checked at a time: so many may be wrong beyond the free ones.
    assert codes.count(401) <= FREE + 2 and set(codes) == {401, 429}
    assert log_in(cloud, "demo", DEMO, "192.0.2.8").status_code == 201


def test_many_right_passwords_at_once_all_pass(cloud: Cloud) -> None:
    with ThreadPoolExecutor(FREE + 3) as pool:
        asked = range(FREE + 3)
        codes = list(
            pool.map(lambda _: log_in(cloud, "demo", DEMO, "192.0.2.9").status_code, asked)
        )
    assert codes == [201] * (FREE + 3)


def test_what_a_client_says_of_its_address_counts_for_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as cloud:
        cloud.services.brake = Brake(Clock())
        codes = [
            log_in(cloud, "demo", f"wrong{n}", f"192.0.2.{n}").status_code for n in range(FREE + 1)
        ]
    assert codes == [401] * FREE + [429]


def pause(brake: Brake) -> int:
    with pytest.raises(TooManyRequests) as caught:
        brake.check("u", "a")
    return caught.value.retry_after or 0


def test_the_pauses_grow_up_to_a_minute_and_end() -> None:
    clock = Clock()
    brake = Brake(clock)
    for _ in range(FREE - 1):
        brake.heard("u", "a", False)
        brake.check("u", "a")
    pauses: list[int] = []
    for _ in range(9):
        brake.heard("u", "a", False)
        pauses.append(pause(brake))
        brake.check("u", "b")
        brake.check("v", "a")
        clock.now += pauses[-1]
        brake.check("u", "a")
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60] and pauses[-1] == LONGEST_SECONDS
    brake.heard("u", "a", True)
    brake.heard("u", "a", False)
    brake.check("u", "a")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake_module, "MOST", 50)
    brake = Brake(Clock())
    for _ in range(FREE):
        brake.heard("victim", "a", False)
    for n in range(200):
        brake.heard("x" * 100_000 + str(n), "a", False)
    assert len(brake._wrong) == 50


def test_addresses_take_turns_and_none_fills_the_pool() -> None:
    pool = FairPool(threads=1, most_of_one=5, most=8)
    go, order = threading.Event(), []
    first = pool.submit("first", go.wait)
    while not first.running():
        pass
    flood = [pool.submit("flood", lambda n=n: order.append(f"flood{n}")) for n in range(5)]
    with pytest.raises(TooManyRequests) as caught:
        pool.submit("flood", lambda: None)
    assert caught.value.retry_after
    others = [pool.submit(f"o{n}", lambda n=n: order.append(f"o{n}")) for n in range(3)]
    # Full: who has less waiting takes the place of the newest of who has most.
    late = pool.submit("late", lambda: order.append("late"))
    with pytest.raises(Busy):
        flood[4].result(5)
    go.set()
    for future in (*flood[:4], *others, late):
        future.result(10)
    pool.stop()
    assert order == ["flood0", "o0", "o1", "o2", "late", "flood1", "flood2", "flood3"]


def test_a_pool_full_of_others_is_a_503() -> None:
    pool = FairPool(threads=1, most_of_one=5, most=3)
    go = threading.Event()
    first = pool.submit("first", go.wait)
    while not first.running():
        pass
    for n in range(3):
        pool.submit(f"o{n}", lambda: None)
    with pytest.raises(Busy) as caught:
        pool.submit("late", lambda: None)
    assert caught.value.code == 503 and caught.value.retry_after
    go.set()
    pool.stop()


def test_an_error_of_costly_work_is_that_of_who_asked() -> None:
    pool = FairPool(threads=1, most_of_one=5, most=3)
    with pytest.raises(ZeroDivisionError):
        pool.submit("a", lambda: 1 // 0).result(5)
    assert pool.submit("a", lambda: 1).result(5) == 1
    pool.stop()


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_what_counts_as_one_client(address: str, client: str) -> None:
    assert client_of(address) == client
