"""The one error that every program shows as a plain line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; its text is one plain line that says what to do."""
