"""The life of an embedding change: re-embed, validate, cut over, monitor, clean up, roll back."""
