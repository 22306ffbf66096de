"""Every object one row; one writer; claims, links, access and the change feed."""

from netloom.store.committer import Committer
from netloom.store.errors import Claimed, Exists, InUse, MissingTarget, NotFound, StoreError
from netloom.store.fields import SEEN_BY
from netloom.store.links import is_seen_by_owners
from netloom.store.reader import Found, Reader
from netloom.store.rows import Access, Change, HostRow, StatusRow
from netloom.store.search import Filter, Op, Page, filters
from netloom.store.store import Store
from netloom.store.writer import Writer

__all__ = [
    "SEEN_BY",
    "Access",
    "Change",
    "Claimed",
    "Committer",
    "Exists",
    "Filter",
    "Found",
    "HostRow",
    "InUse",
    "MissingTarget",
    "NotFound",
    "Op",
    "Page",
    "Reader",
    "StatusRow",
    "Store",
    "StoreError",
    "Writer",
    "filters",
    "is_seen_by_owners",
]
