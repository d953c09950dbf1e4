"""One small module per migration, each naming its SQL file and the one before it."""
