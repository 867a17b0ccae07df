"""The embedded Kinesis: a pure model and a thin service around it."""
