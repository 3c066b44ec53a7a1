"""How reliable the verdicts of ``gdn check`` are."""
