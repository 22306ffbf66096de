"""What all tests share: golden files, a private host, chance that is the same each time, no root no test."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.host import Host

# The same examples each time, however slow the machine: what is new is searched for with --hypothesis-profile=default.
settings.register_profile(
    "netloom",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("netloom")
# A shell that starts the tests in the background has them ignore SIGINT, and programs inherit that: those that a test ends by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A proxy of the machine is not for its loopback.
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1,localhost")))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden`: write the golden files anew instead of comparing; read the diff before committing.

    `--backend`: what carries networks on the hosts of labs whose tests do not choose that themselves.
    """
    parser.addoption(
        "--backend", choices=("ovs", "linuxbridge"), default="ovs", help="of labs' hosts"
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Labs are made in places that know nothing of the options of a run."""
    os.environ["NETLOOM_TEST_BACKEND"] = str(config.getoption("--backend"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need root are skipped without it, those of Open vSwitch on other backends."""
    backend = config.getoption("--backend")
    for item in items:
        if item.get_closest_marker("ovs") and backend != "ovs":
            item.add_marker(pytest.mark.skip(reason="looks into Open vSwitch"))
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(autouse=True)
def same_chance(request: pytest.FixtureRequest) -> None:
    """Addresses and MACs that a test draws in its own process are the same each time."""
    random.seed(request.node.nodeid)


@pytest.fixture
def host() -> Iterator[Host]:
    """A private host with an Open vSwitch of its own, for tests that need root."""
    made = Host("a")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with a file under tests/golden, or write it with --update-golden."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{name} is missing: run pytest --update-golden"
        assert text == path.read_text()

    return check
