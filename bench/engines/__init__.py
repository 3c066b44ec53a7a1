"""Models of transformers on gdn_ops and its exports: ``python -m bench.engines --help``."""
