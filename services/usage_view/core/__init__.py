"""From what the ledger holds to what a customer sees, without network, clock or state."""
