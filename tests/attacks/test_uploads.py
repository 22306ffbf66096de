"""Uploaded data wants the server's time, before any host sees it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from netloom.image import inspection
from netloom.image.inspection import virtual_size
from netloom.model.errors import UnsupportedMedia

METADATA_REGION = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")


def vhdx(path: Path, size: int) -> Path:
    """A VHDX disk whose metadata lies far behind its end: a reader goes through all of the data to find it."""
    path.write_bytes(b"vhdxfile")
    with path.open("r+b") as file:
        file.seek(192 * 1024)
        file.write(struct.pack("<4sIII", b"regi", 0, 1, 0))
        file.write(METADATA_REGION + struct.pack("<QII", 1 << 60, 1 << 31, 1))
    os.truncate(path, size)
    return path


def test_data_that_takes_for_ever_to_look_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "LEAST_SECONDS", 1)
    monkeypatch.setattr(inspection, "BYTES_PER_SECOND", 1 << 50)
    data = vhdx(tmp_path / "data", 1 << 40)
    assert data.stat().st_blocks < 100
    with pytest.raises(UnsupportedMedia, match="cannot be looked into: it took more than 1 s"):
        virtual_size(data, "vhdx", 1 << 41)
