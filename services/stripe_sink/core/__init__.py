"""What the room decides, without reading or writing anything."""
