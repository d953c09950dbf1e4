"""The room's shells: they take, ask the core, act, and commit."""
