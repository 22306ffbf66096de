"""`netloom bench scale` with tiny clouds: each row is measured, and what is counted is right. Times are not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from netloom.bench import program, scale
from netloom.bench.scale import Figure, Sizes
from netloom.bench.scale_cloud import CloudSize
from netloom.cli.main import main
from netloom.model.errors import UserError

TINY = Sizes(
    unconcerned=3,
    requests=3,
    idle=3,
    seconds=0.5,
    local=(2,),
    network=(3,),
    members=3,
    member_hosts=2,
    clouds=(CloudSize(20, 2), CloudSize(20, 3)),
    samples=1,
)


@pytest.mark.slow
def test_every_row_is_measured_and_an_unconcerned_host_does_nothing() -> None:
    figures = scale.measure([], TINY, lambda _: None)
    found = {figure.work: figure.found for figure in figures}
    assert found["a change that concerns no host, 3 hosts: plans, reports with rows"] == "0, 0"
    (restart,) = [value for work, value in found.items() if work.startswith("agent restart")]
    assert restart.endswith("; 0")
    for words in ("one port bound", "the same, for another host", "a group with 3 members"):
        (value,) = [value for work, value in found.items() if work.startswith(words)]
        assert float(value.rpartition(" ")[2]) > 0, value  # flows
    assert len(found) == len(figures) >= 12


def test_a_row_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match="there is no row idel; there are unconcerned, idle"):
        scale.measure(["idel"], TINY, lambda _: None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scale", "--only", "lab"], "say one of them"),
        (["lab", "--rows", "idle"], "--rows and --quick are of scale"),
        (["scale", "--neutron", "http://x"], "--neutron compares the API"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err


def test_its_table_goes_between_marks_of_its_own(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"a\n{program.BEGIN}\nx\n{program.END}\nb\n{scale.BEGIN}\ny\n{scale.END}\n")
    text = scale.table([Figure("work", "3 ms", "≤ 5 ms")])
    program.write(page, text, scale.BEGIN, scale.END)
    written = page.read_text()
    assert f"{program.BEGIN}\nx\n{program.END}" in written
    assert f"{scale.BEGIN}\n{text}\n{scale.END}" in written
    assert "| work | 3 ms | ≤ 5 ms |" in written
