"""The accuracy gate: whether a variant follows the rule."""
