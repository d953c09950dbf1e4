"""What may cross a wall: records, their bytes, keys, topics, the catalogue, periods and quantities. Pure; imports nothing of ours."""
