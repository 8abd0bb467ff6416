"""The programs kvreplay-record, kvreplay-train and kvreplay-validate."""
