"""Which requests may come in; the same for HTTP and gRPC."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from mlserver.errors import MLServerError

IN_FLIGHT = 256  # requests at a time; more are refused before they are read
BEAT, LATE = 0.05, 0.5  # seconds between two turns of the event loop: as it should be, at most


class Admission:
    """Who may come in. What waits in the batcher is not all: a server that spends its time on HTTP
    itself has its queue in sockets, and only sees that its event loop comes round too rarely.
    """

    def __init__(self) -> None:
        self._in_flight = 0
        self._beat: float | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Count a request for as long as it is being answered.

        Raises:
            MLServerError: with status 503, if there are too many, or they are too late.
        """
        loop = asyncio.get_running_loop()
        if self._beat is None:
            self._note_beat(loop)
        if self._in_flight >= IN_FLIGHT:
            raise MLServerError(f"{IN_FLIGHT} requests are being answered; try again later", 503)
        if loop.time() - self._beat > LATE:
            raise MLServerError(f"requests are {LATE:g} s late; try again later", 503)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def _note_beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = loop.time()
        loop.call_later(BEAT, self._note_beat, loop)


admission = Admission()
