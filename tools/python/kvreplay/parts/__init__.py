"""Parts of policies that are written in Python: scorers, modifiers, allocators. `kvreplay` itself names the decorators."""
