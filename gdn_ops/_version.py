"""The version; releases are listed in CHANGELOG.md."""

__version__ = "0.1.0"
