"""Search, verify, measure, store and report; the ``gdn`` command."""
