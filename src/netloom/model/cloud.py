"""The nouns of the embedded identity, image and compute services."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct, field

from netloom.model.base import Resource


class Domain(Resource, frozen=True, kw_only=True):
    """A Keystone domain."""

    KIND: ClassVar[str] = "domain"

    enabled: bool = True


class Project(Resource, frozen=True, kw_only=True):
    """A Keystone project; `domain_id` is also its parent."""

    KIND: ClassVar[str] = "project"

    domain_id: str = "default"
    enabled: bool = True


class User(Resource, frozen=True, kw_only=True):
    """A Keystone user. `epoch` goes up when its tokens must end (password or role change)."""

    KIND: ClassVar[str] = "user"
    SECRET: ClassVar[frozenset[str]] = frozenset({"password_hash"})
    INTERNAL: ClassVar[frozenset[str]] = frozenset({"password_hash", "epoch"})

    domain_id: str = "default"
    enabled: bool = True
    email: str | None = None
    default_project_id: str | None = None
    password_hash: str = ""
    epoch: int = 0


class Role(Resource, frozen=True, kw_only=True):
    """A Keystone role: admin, member, reader, service or one of the operator's own."""

    KIND: ClassVar[str] = "role"


class RoleAssignment(Resource, frozen=True, kw_only=True):
    """`user_id` has `role_id` on `scope_id`, a project or a domain (`scope_kind`) or the system."""

    KIND: ClassVar[str] = "role_assignment"

    user_id: str
    role_id: str
    scope_kind: str
    scope_id: str


class Image(Resource, frozen=True, kw_only=True):
    """A Glance image. `status`: queued, active, deactivated. `size` in bytes."""

    KIND: ClassVar[str] = "image"

    status: str = "queued"
    visibility: str = "shared"
    protected: bool = False
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    os_hidden: bool = False
    properties: dict[str, str] = field(default_factory=dict)


class Flavor(Resource, frozen=True, kw_only=True):
    """A Nova flavor: `ram` and `swap` in MiB, `disk` and `ephemeral` in GiB."""

    KIND: ClassVar[str] = "flavor"

    vcpus: int = 1
    ram: int = 64
    disk: int = 1
    ephemeral: int = 0
    swap: int = 0
    is_public: bool = True
    extra_specs: dict[str, str] = field(default_factory=dict)


class Keypair(Resource, frozen=True, kw_only=True):
    """A user's public key. `id` is `<user id>:<name>`."""

    KIND: ClassVar[str] = "keypair"

    user_id: str
    public_key: str
    fingerprint: str
    type: str = "ssh"


ROOT_DEVICE = "/dev/vda"
"""What Nova calls the disk of every server; a container sees no device, only the file system on it."""


class Server(Resource, frozen=True, kw_only=True):
    """A Nova server (instance). Everything its host needs to run it and to answer its metadata.

    `flavor` is the flavor as it was at boot. `user_data` is base64 as given. Its ports are those of `port_ids`, in
    the order of its cards; of these `own_port_ids` were its user's before. `power`: on or off, as its user wants it
    since change `power_seq`. `restarts`: how often its user had it restarted; the last one asked the instance to
    end by itself first where `gently`. `launch_index`: its number among those of one request, whose first
    server is `reserved_with` (empty: the server itself).
    """

    KIND: ClassVar[str] = "server"
    SECRET: ClassVar[frozenset[str]] = frozenset({"user_data", "admin_pass"})
    INTERNAL: ClassVar[frozenset[str]] = frozenset({"admin_pass"})

    user_id: str
    image_id: str
    flavor: Flavor
    host: str = ""
    instance_type: str = "container"
    key_name: str | None = None
    public_key: str | None = None
    user_data: str | None = None
    admin_pass: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    port_ids: tuple[str, ...] = ()
    own_port_ids: tuple[str, ...] = ()
    hostname: str = ""
    availability_zone: str = "nova"
    config_drive: bool = False
    power: str = "on"
    power_seq: int = 0
    restarts: int = 0
    gently: bool = False
    launch_index: int = 0
    reserved_with: str = ""
    fault: dict[str, Any] | None = None

    @property
    def reservation(self) -> str:
        """The number of the request that made it."""
        return "r-" + (self.reserved_with or self.id)[:8]


class ComputeQuota(Resource, frozen=True, kw_only=True):
    """Limits of the compute service that differ from the defaults for one project; `id` is the project's."""

    KIND: ClassVar[str] = "compute_quota"

    limits: dict[str, int] = field(default_factory=dict)


class Host(Struct, frozen=True):
    """A registered host's credential: `secret_hash` is the hash of the agent's bearer secret."""

    name: str
    secret_hash: str
