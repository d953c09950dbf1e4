"""The shell: it takes batches, asks the core, commits what it decided, and shows how it stands."""
