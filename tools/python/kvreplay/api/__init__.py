"""Functions that run the program kvreplay, and what they return. `kvreplay` itself names them."""
