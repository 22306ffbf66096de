"""Start a lab, build each architecture in it, and put the picture of a packet's way into docs/architectures.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from netloom.cli.explain import verdict
from netloom.cli.picture import picture
from tests.pictures.clouds import ANY, PICTURES, Cloud, drawn
from tests.support.running_lab import own_lab
from tests.support.tenant import Tenant

PAGE = Path(__file__).parents[2] / "docs/architectures.md"
PLACE = "<!-- picture: {} -->\n```\n{}\n```\n<!-- end -->"


def put(page: str, name: str, text: str) -> str:
    """Return the page with this picture in its place."""
    begin, end = map(re.escape, PLACE.format(name, "\0").split("\0"))
    found, count = re.subn(f"{begin}.*?{end}", lambda _: PLACE.format(name, text), page, flags=re.S)
    if not count:
        raise SystemExit(f"{PAGE} has no place for the picture {name}: {PLACE.format(name, '')}")
    return found


def main(names: list[str]) -> None:
    """Draw the pictures of these names, all where none is named."""
    with (
        own_lab("pictures", 3, networks=2, backends={"compute3": "linuxbridge"}) as lab,
        Tenant(lab) as tenant,
    ):
        tenant.raise_quota(instances=50, cores=50)
        cloud = Cloud(lab, tenant, tenant.group(ANY))
        for name, answer in drawn(cloud, iter(names or PICTURES)):
            text = f"{picture(answer['there'])}\n\n{verdict(answer)}"
            PAGE.write_text(put(PAGE.read_text(), name, text))
            print(f"{name}: drawn")


if __name__ == "__main__":
    main(sys.argv[1:])
