"""The Grafana dashboards: what each panel asks, and what to make of it."""
