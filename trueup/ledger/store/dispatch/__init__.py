"""Dispatch in the ledger: cuts and intents, lanes and outcomes, settlements, arming."""
