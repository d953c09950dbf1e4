"""The ledger beside the event loop: a few threads, each with a connection of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from trueup.contracts.errors import Transient
from trueup.ledger.store.connection import STATEMENT_TIMEOUT_SECONDS
from trueup.ledger.store.session import Connection, Session

THREADS = 4
MOST_WAITING = 32
PATIENCE_SECONDS = 5.0  # beyond the statement itself: for a connection to be made, and a place in the queue
LONGEST_ANSWER_SECONDS = 20.0

T = TypeVar("T")


class LedgerThreads:
    """Runs work where waiting for Postgres holds up nobody else."""

    def __init__(
        self,
        dsn: str,
        name: str,
        statement_timeout_seconds: int = STATEMENT_TIMEOUT_SECONDS,
        *,
        longest_answer_seconds: float = LONGEST_ANSWER_SECONDS,
    ) -> None:
        self._dsn = dsn
        self._name = name
        self._statement_timeout_seconds = statement_timeout_seconds
        self._answer_seconds = min(statement_timeout_seconds + PATIENCE_SECONDS, longest_answer_seconds)
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="ledger")
        self._own = threading.local()
        self._sessions: list[Session] = []
        self._waiting = 0

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Give what the work gives; Transient when the ledger does not answer or too many wait for it."""
        if self._waiting >= MOST_WAITING:
            raise Transient(f"{self._waiting} requests wait for the ledger")
        self._waiting += 1
        asked = asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._session().run(work))
        # Counted until it ends, not until nobody waits for it any more: a thread that hangs is one less.
        asked.add_done_callback(self._ended)
        try:
            return await asyncio.wait_for(asyncio.shield(asked), self._answer_seconds)
        except TimeoutError as silence:
            # A server that stands still keeps its lines open, and no time-out of its own ends a statement.
            raise Transient(f"the ledger did not answer within {self._answer_seconds:.0f} s") from silence

    def _ended(self, asked: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not asked.cancelled():
            asked.exception()  # looked at here, since whoever asked may have gone

    def stop(self) -> None:
        """Let work in hand end, and close the connections."""
        self._pool.shutdown(wait=True)
        for session in self._sessions:
            session.close()

    def _session(self) -> Session:
        session: Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = Session(self._dsn, self._name, statement_timeout_seconds=self._statement_timeout_seconds)
            self._sessions.append(session)
        return session
