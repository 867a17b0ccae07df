"""A batching proxy for Amazon Kinesis Data Streams."""

__version__ = "0.1.0"
