"""What the programs share: models and their attention, prompts, errors, the manners of a command."""
