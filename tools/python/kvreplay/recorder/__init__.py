"""What kvreplay record is made of."""
