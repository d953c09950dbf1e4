"""Whose key a process was given: asked of Stripe once, before anything is sent, settled or read for these books."""

from __future__ import annotations

import threading
from collections.abc import Callable

from trueup.contracts.errors import Broken, Transient
from trueup.ledger.store import deployment
from trueup.ledger.store.deployment import Deployment
from trueup.ledger.store.session import Session


class OwnAccount:
    """The ledger's account, once Stripe said that this process's key is its. Safe to share between threads.

    Stripe answers 200 to usage of customers whom an account does not know, and counts none of it: with another account's key
    everything would look sent, and with its empty summaries everything unknown would look lost.
    """

    def __init__(self, ask: Callable[[], Deployment]) -> None:
        """`ask` says whose key this is; Transient while Stripe does not."""
        self._ask = ask
        self._lock = threading.Lock()
        self._confirmed: Deployment | None = None
        self.why_unconfirmed: str | None = None
        """Why nothing may be sent yet, for those who ask whether the room is ready."""

    def confirmed(self, session: Session) -> Deployment | None:
        """The ledger's account, None while it has none yet. Broken when the key is another's, Transient while nobody says."""
        with self._lock:
            if self._confirmed is not None:
                return self._confirmed
            held = session.run(deployment.held)
            if held is None:
                return None
            try:
                found = self._ask()
            except Transient as away:
                self.why_unconfirmed = str(away)
                raise
            if found != held:
                self.why_unconfirmed = f"this ledger serves {held}, the key is of {found}"
                raise Broken(self.why_unconfirmed)
            self._confirmed, self.why_unconfirmed = held, None
            return held

    def why_not_yet(self, session: Session) -> str | None:
        """As `confirmed`, for work that goes on while Stripe is away: why nothing may be asked of it, None when it may be."""
        try:
            self.confirmed(session)
        except Transient:
            if self.why_unconfirmed is None:
                raise  # it is the ledger that does not answer
        return self.why_unconfirmed

    def refuse_unconfirmed(self) -> None:
        """Transient while it was asked whose key this is, and nobody said. For readers, before each reading."""
        if self.why_unconfirmed is not None:
            raise Transient(self.why_unconfirmed)
