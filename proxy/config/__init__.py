"""Every setting of the program: its name, unit, default and bounds, where its value came from, and how it is shown."""

from proxy.config.settings import EmulateSettings, ServeSettings, Settings
from proxy.config.sources import Configuration, ConfigurationError, load
from proxy.config.values import Address, StreamSpec

__all__ = [
    "Address",
    "Configuration",
    "ConfigurationError",
    "EmulateSettings",
    "ServeSettings",
    "Settings",
    "StreamSpec",
    "load",
]
