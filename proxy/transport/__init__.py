"""HTTP servers: bytes to Request, Reply to bytes. They know nothing of Kinesis."""
