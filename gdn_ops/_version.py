"""The version of the package; CHANGELOG.md lists the releases."""

__version__ = "0.1.0"
