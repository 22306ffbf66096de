"""Settings of the embedded services: the `[identity]`, `[image]` and `[compute]` tables of the server's file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

COMPUTE_QUOTAS: dict[str, int] = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,
    "metadata_items": 128,
    "key_pairs": 100,
}
"""Resource → limit per project (`key_pairs`: per user); `ram` in MiB."""


class IdentitySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`token_seconds`: how long a token lives. `region`: the one region of the catalog.

    `min_password_length` in characters, for passwords set through the API and by bootstrap.
    """

    token_seconds: Annotated[int, Meta(ge=1)] = 3600
    region: Annotated[str, Meta(min_length=1)] = "RegionOne"
    min_password_length: Annotated[int, Meta(ge=1)] = 1


class ImageSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`max_bytes`: largest upload, and largest virtual size that an image may claim.

    `max_images`: images a project may own; −1 is no limit.
    """

    max_bytes: Annotated[int, Meta(ge=1)] = 16 * 1024**3
    max_images: Annotated[int, Meta(ge=-1)] = 100


class ComputeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the compute API needs to know of this cloud.

    `build_seconds`: a server not ACTIVE after that is put in ERROR. `change_seconds`: how long the change
    log is kept, at least. `default_instance_type`: of images that do not name one. `quotas`: limits per
    project that differ from the defaults (`instances`, `cores`, `ram`, `key_pairs`, …; −1 is no limit).
    """

    build_seconds: Annotated[float, Meta(gt=0)] = 120.0
    change_seconds: Annotated[float, Meta(ge=0)] = 7 * 86400.0
    default_instance_type: Literal["container"] = "container"
    quotas: dict[str, Annotated[int, Meta(ge=-1)]] = field(default_factory=dict)
