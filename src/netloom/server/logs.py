"""The server's log: one record one line, with the request's id, and without secrets or strangers' line breaks."""

from __future__ import annotations

import logging
import re
import sys

from netloom.api.http import request_id

LONGEST = 2000
"""Characters of a record's own text; a path may have 16,000."""

_TOKENS = re.compile(
    # A signed token of ours (a JWT), whole or cut off; a Fernet token of a real Keystone.
    r"eyJ[\w-]{8,}(?:\.[\w-]*){0,2}|gAAAA[\w-]{20,}={0,2}"
)


class OneLine(logging.Filter):
    """Put the id of the request being served into every record; keep one record one line.

    Paths and what hosts report are strangers' words: a line break in them would be a line of the log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        text = record.getMessage()
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}… ({len(text)} characters)"
            record.msg, record.args = text, None
        if not text.isprintable():
            record.msg, record.args = text.encode("unicode_escape").decode(), None
        return True


class WithoutTokens(logging.Formatter):
    """Write a record with its traceback; whatever looks like a token is left out of both."""

    def format(self, record: logging.LogRecord) -> str:
        return _TOKENS.sub("(token)", super().format(record))


def to_stderr(level: str) -> None:
    """Log to stderr from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OneLine())
    handler.setFormatter(
        WithoutTokens("%(asctime)s %(levelname)s %(request_id)s %(name)s %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # What these say of a normal start, ours say better.
    for name in ("uvicorn.error", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
