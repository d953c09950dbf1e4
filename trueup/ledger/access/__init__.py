"""Who may come in by a key: the keys in the ledger, the counting of those inside, and work on the ledger beside an event loop."""
