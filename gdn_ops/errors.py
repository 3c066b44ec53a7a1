"""The errors of gdn-ops; the tree stands in ``gdn_ops.codegen.errors``."""

from gdn_ops.codegen.errors import (
    CompileError,
    GdnError,
    InvalidConfig,
    InvalidInput,
    LaunchError,
    ResultsError,
    TemplateError,
    UnknownName,
    UnreadableCode,
    UnsupportedProblem,
)

__all__ = [
    "CompileError",
    "GdnError",
    "InvalidConfig",
    "InvalidInput",
    "LaunchError",
    "ResultsError",
    "TemplateError",
    "UnknownName",
    "UnreadableCode",
    "UnsupportedProblem",
]
