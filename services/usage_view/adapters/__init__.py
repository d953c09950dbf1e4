"""The ledger and Kafka, each behind a port."""
