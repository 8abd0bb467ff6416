"""What kvreplay validate is made of."""
