"""The embedded Keystone subset."""

from __future__ import annotations

from netloom.model.errors import Unauthorized

__all__ = ["Unauthorized"]
