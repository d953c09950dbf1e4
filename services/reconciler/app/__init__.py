"""The room's shells: they ask the core what to read, read it, keep it, and show what the proof says of it."""
