"""Small language models: stacks of token mixers with a language-model head."""

from gdn_ops.models.config import HYBRIDS, MIXERS, PATTERNS, HybridConfig
from gdn_ops.models.language_model import HybridLanguageModel

__all__ = ["HYBRIDS", "MIXERS", "PATTERNS", "HybridConfig", "HybridLanguageModel"]
