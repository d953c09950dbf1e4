"""The room's real ports: Kafka on one side, Stripe on the other."""
