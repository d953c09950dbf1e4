"""The ledger's doors: one module per subject, each a set of functions that take an open connection."""
