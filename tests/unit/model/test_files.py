"""Files are written whole or not at all, and for their owner only."""

from __future__ import annotations

from pathlib import Path

import pytest

from netloom.model.files import write_whole


def test_a_file_is_replaced_and_nobody_else_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    write_whole(file, b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    write_whole(file, b"open", 0o644)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"open", 0o644)
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_is_left_of_one_that_failed(tmp_path: Path) -> None:
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"a file cannot take its place")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
