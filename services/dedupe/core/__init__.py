"""Pure decisions of the dedupe room: no Kafka, no clock, no asyncio. The same input prefix always gives the same outputs."""
