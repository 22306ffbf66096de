"""HTTP connections that a client cannot hold for nothing: uvicorn alone waits for ever, for a head of any size."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATIENCE_SECONDS = 60.0
"""How long a client may take for the head of a request, and be silent while its body is awaited."""

LARGEST_HEAD = 64 * 1024
"""Bytes of request line and headers."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes connections on which what is awaited does not come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        self.loop.call_later(PATIENCE_SECONDS / 4, self._look)

    def _await_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._heard = self.loop.time()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if not self._in_head:
            self._heard = self.loop.time()
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def _look(self) -> None:
        """Close the connection where it is the client's turn, and has been for too long."""
        if self.transport.is_closing():
            return
        if self._awaits_client() and self.loop.time() - self._heard > PATIENCE_SECONDS:
            self.transport.close()
        else:
            self.loop.call_later(PATIENCE_SECONDS / 4, self._look)

    def _awaits_client(self) -> bool:
        if self._in_head or self.cycle.response_complete:
            return True
        # A body that is not taken fast enough here is not the client's fault.
        return self.cycle.more_body and not self.flow.read_paused
