"""The inbound side: operations in, queued records and true answers out."""
