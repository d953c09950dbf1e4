"""The dedupe room: usage.events → on_time | late | rejected, each event once for 48 hours of arrivals."""
