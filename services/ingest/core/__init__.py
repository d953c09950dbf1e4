"""What the doors decide, without network, clock or state."""
