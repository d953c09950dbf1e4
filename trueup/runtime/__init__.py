"""Plumbing without business nouns: clock, settings, log, metrics, Kafka options, web, loop."""
