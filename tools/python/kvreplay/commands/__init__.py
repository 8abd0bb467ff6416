"""The programs kvreplay record, kvreplay import, kvreplay train and kvreplay validate."""
