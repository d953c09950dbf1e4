"""What the sink room measures, each with the sentence an operator needs."""
