"""The report of what was tuned: one HTML page, and the trials as studies of Optuna."""
