"""docs/article.md: every command of the page typed anew in a lab, and its output compared with the page's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netloom.lab import settings
from netloom.lab.image import small_image
from tests.support.console_page import Shell, retyped
from tests.support.running_lab import own_lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs/article.md"


def test_the_page_says_what_is_printed(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    image = small_image()
    with own_lab("netloom", 2, networks=2, bare=True) as lab, lab.openstack() as client:
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith("OS_")
        }
        variables |= settings.environment(lab.lab, lab.state.port, "admin")
        variables |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "IMAGE": str(image),
            "KEY": str(tmp_path / "admin.pem"),
        }

        def openstack(*words: str) -> str:
            # The session does not take apart words with blanks as a shell does.
            if not any(" " in word for word in words):
                return client.run(*words)
            line = ["openstack", *words]
            return subprocess.run(
                line, env=variables, capture_output=True, text=True, check=True
            ).stdout

        with Shell(variables, {"openstack": openstack}) as shell:
            text, wrong = retyped(PAGE, shell, print)
    if request.config.getoption("--update-golden"):
        PAGE.write_text(text)
    else:
        assert not wrong, "\n\n".join(wrong)
