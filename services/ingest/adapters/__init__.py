"""Kafka and the ledger, each behind a port."""
