"""The newest catalogue that the ledger knows, parsed once for as long as it is the newest."""

from __future__ import annotations

from trueup.contracts.catalogue import Catalogue, parse
from trueup.ledger.store import reconciliation
from trueup.ledger.store.session import Session


class NewestCatalogue:
    """Asks the ledger each time, and parses what is new."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._parsed: tuple[str, Catalogue] | None = None

    def get(self) -> Catalogue | None:
        """Give it; None before the first version."""
        text = self._session.run(reconciliation.newest_catalogue_text)
        if text is None:
            return None
        if self._parsed is None or self._parsed[0] != text:
            self._parsed = (text, parse(text))
        return self._parsed[1]
