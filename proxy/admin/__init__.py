"""The admin port: health, metrics, status."""
