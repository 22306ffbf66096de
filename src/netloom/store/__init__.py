"""Every object one row; one writer; claims, links, access and the change feed."""

from netloom.store.committer import Committer
from netloom.store.errors import Claimed, Exists, InUse, MissingTarget, NotFound, StoreError
from netloom.store.reader import Reader
from netloom.store.rows import Access, Change, HostRow, StatusRow
from netloom.store.store import Store
from netloom.store.writer import Writer

__all__ = [
    "Access",
    "Change",
    "Claimed",
    "Committer",
    "Exists",
    "HostRow",
    "InUse",
    "MissingTarget",
    "NotFound",
    "Reader",
    "StatusRow",
    "Store",
    "StoreError",
    "Writer",
]
