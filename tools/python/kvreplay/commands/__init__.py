"""The programs: kvreplay-import."""
