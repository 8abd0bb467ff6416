"""What kvreplay import is made of."""
