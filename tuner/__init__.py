"""The tuner: searches, verifies, measures, stores and reports; the ``gdn`` command."""
