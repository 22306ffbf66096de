from __future__ import annotations

from pathlib import Path

import pytest

from netloom.dataplane import probe
from netloom.model.errors import UserError


def test_missing_packages_are_named_all_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probe, "TOOLS", {"no-such-tool": "package-b", "nor-this": "package-a"})
    with pytest.raises(UserError) as caught:
        probe.check_tools(containers=False)
    assert str(caught.value) == "missing on this host: apt-get install package-a package-b"
