"""Metrics: the catalogue of families, their labels, and the collector that reads plain counters."""
