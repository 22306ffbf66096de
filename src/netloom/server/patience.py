"""HTTP connections that a client cannot hold for nothing: uvicorn alone waits for ever, for a head of any size."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATIENCE_SECONDS = 60.0
"""How long a client may take for the head of a request, and be silent while its body is awaited or its answer sent."""

LEAST_RATE = 1024
"""Bytes of a body a second, on average: a client that sends less is cut off, however regularly it sends."""

LARGEST_HEAD = 64 * 1024
"""Bytes of request line and headers."""

MOST_HEADERS = 100
"""Headers of a request."""

LINGER_BYTES, LINGER_SECONDS = 64 * 1024**2, 5.0
"""How much is still read and dropped, and how long, of a body whose request is answered already.

Many clients read an answer only when they have sent all: cut off at once they would not learn why.
"""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes connections on which what is awaited does not come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._unsent, self._stuck = 0, 0.0
        self._await_head()
        self.loop.call_later(PATIENCE_SECONDS / 4, self._look)

    def _await_head(self) -> None:
        self._in_head, self._body_open = True, False
        self._raw_bytes = self._head_bytes = self._unwanted = 0
        self._until = self.loop.time() + PATIENCE_SECONDS

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)
        if len(self.headers) > MOST_HEADERS:
            raise ValueError("too many headers")

    def _count(self, size: int) -> None:
        """Count what a head has in it, also where all of it came at once. The parser refuses what raises."""
        self._head_bytes += size
        if self._head_bytes > LARGEST_HEAD:
            raise ValueError("the head is too large")

    def on_headers_complete(self) -> None:
        self._in_head, self._body_open = False, True
        self._until = self.loop.time() + PATIENCE_SECONDS
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # Time that was used up comes back with each byte, but never more than there was at first.
        earned = self._until + len(body) / LEAST_RATE
        self._until = min(earned, self.loop.time() + PATIENCE_SECONDS)
        if self.cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > LINGER_BYTES and not self.transport.is_closing():
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_open = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._body_open and self.cycle.response_complete:
            self.loop.call_later(LINGER_SECONDS, self._cut, self.cycle)

    def _cut(self, cycle: object) -> None:
        """End a connection whose client goes on sending the body of a request that was answered."""
        if self.cycle is cycle and self._body_open and not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            # A header that does not end is no header yet.
            self._raw_bytes += len(data)
            if self._raw_bytes > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def _look(self) -> None:
        """Close the connection where it is the client's turn, and has been for too long."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent >= self._unsent > 0:
            # Since the last look the client has taken nothing of its answer.
            self._stuck += PATIENCE_SECONDS / 4
        else:
            self._stuck = 0.0
        self._unsent = unsent
        if self._stuck > PATIENCE_SECONDS:
            self.transport.abort()
        elif not self._awaits_client():
            self._until = now + PATIENCE_SECONDS
            self.loop.call_later(PATIENCE_SECONDS / 4, self._look)
        elif now > self._until:
            self.transport.close()
        else:
            self.loop.call_later(PATIENCE_SECONDS / 4, self._look)

    def _awaits_client(self) -> bool:
        if self._in_head or self.cycle.response_complete:
            return True
        # A body that is not taken fast enough here is not the client's fault.
        return self.cycle.more_body and not self.flow.read_paused
