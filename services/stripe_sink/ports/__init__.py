"""What the room needs from outside, in its own words."""
