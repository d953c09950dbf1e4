"""The room's shell: one web for the doors, one for probes."""
