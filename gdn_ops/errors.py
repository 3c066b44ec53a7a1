"""The exceptions of gdn-ops; ``gdn_ops.codegen.errors`` defines them and shows the hierarchy."""

from gdn_ops.codegen.errors import (
    CompileError,
    GdnError,
    InvalidConfig,
    InvalidInput,
    KernelFault,
    LaunchError,
    ResultsBusy,
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
    "KernelFault",
    "LaunchError",
    "ResultsBusy",
    "ResultsError",
    "TemplateError",
    "UnknownName",
    "UnreadableCode",
    "UnsupportedProblem",
]
