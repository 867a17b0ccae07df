"""HTTP servers: bytes to Request, Reply to bytes. Of Kinesis they know its words for a body that is too large."""
