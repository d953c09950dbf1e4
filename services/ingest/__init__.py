"""Every door from HTTP into Kafka: usage events and Stripe's webhooks."""
