"""Facts and codecs of the service: errors, limits, validation, bodies. Pure."""
