"""What tools/validate.py is made of."""
