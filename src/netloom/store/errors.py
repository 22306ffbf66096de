"""What the store refuses. The rules check first; meeting one of these is the backstop at work."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all that the store refuses. Nothing of the refused call was written: the writer goes on."""


class Claimed(StoreError):
    """`key` of `scope` has an owner already."""

    def __init__(self, scope: str, key: str, owner: str):
        super().__init__(f"{scope} {key} is taken by {owner}")
        self.scope, self.key, self.owner = scope, key, owner


class InUse(StoreError):
    """The object cannot go while `users`, as (kind, id), name it in the role `role`."""

    def __init__(self, kind: str, id: str, role: str, users: list[tuple[str, str]]):
        super().__init__(
            f"{kind} {id} is in use ({role}) by {', '.join(f'{k} {i}' for k, i in users[:5])}"
        )
        self.kind, self.id, self.role, self.users = kind, id, role, users


class Exists(StoreError):
    """There is an object of this kind and id already."""

    def __init__(self, kind: str, id: str):
        super().__init__(f"{kind} {id} exists already")
        self.kind, self.id = kind, id


class NotFound(StoreError):
    """There is no such object to change or delete."""

    def __init__(self, kind: str, id: str):
        super().__init__(f"there is no {kind} {id}")
        self.kind, self.id = kind, id


class MissingTarget(StoreError):
    """The object names another (in the role `role`) that is not there."""

    def __init__(self, role: str, source: str, target_kind: str, target: str):
        super().__init__(f"{role} of {source} names {target_kind} {target}, which is not there")
        self.role, self.source, self.target_kind, self.target = role, source, target_kind, target
