"""The pure core: what to send, when, and what became of each record."""
