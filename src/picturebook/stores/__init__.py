"""Arrays on disk: packed, fingerprinted, atomic."""
