"""The real ports: confluent-kafka clients, one file for each port."""
