"""Winners that are providers: whether they can be called here, and what has changed.

A provider is an installed library, and no dependency: ``gdn_ops.providers`` is imported when a
winner is one, and not before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Provided, Variant
from gdn_ops.results_path import rendered_folder
from gdn_ops.toolchain import installed_version


def missing_provider(problem: Problem, variant: Variant) -> list[str]:
    """Why the provider of a variant cannot be called here; empty if it can."""
    assert isinstance(variant, Provided)
    if rendered_folder() is not None:
        return ["an exported library calls no providers"]
    from gdn_ops.providers.installed import why_not_usable

    return why_not_usable(variant)


def provider_changes(data: Mapping[str, Any]) -> tuple[str, str]:
    """What has changed since a stored variant was timed, and the package that runs its kernels.

    Args:
        data: as ``Variant.to_json()`` returns it; not checked.

    Returns:
        A sentence, empty if the same version is installed; and ``triton``, ``torch`` or nothing.
    """
    plan = data.get("plan")
    if plan == "torch":
        return "", "torch"
    if plan == "cpp":
        return "", ""
    if plan in PLANS or rendered_folder() is not None:
        return "", "triton"
    from gdn_ops.codegen.providers import PROVIDERS
    from gdn_ops.providers.installed import version_of

    if plan not in PROVIDERS:
        return "", "triton"
    provider = PROVIDERS[str(plan)]
    here = version_of(provider)
    if str(_version(data)) == here:
        return "", provider.language
    now = f"{here} is installed" if here else "it is not installed"
    text = f"it was measured with {provider.title} {_version(data)}, and {now}"
    return text, provider.language


def provider_versions(variants: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """The installed version of each provider that stored variants name."""
    plans = {str(data.get("plan")) for data in variants} - {*PLANS}
    if not plans or rendered_folder() is not None:
        return {}
    from gdn_ops.codegen.providers import PROVIDERS
    from gdn_ops.providers.installed import version_of

    return {name: version_of(PROVIDERS[name]) for name in sorted(plans & {*PROVIDERS})}


def forget_providers() -> None:
    """Look again at the next choice which providers are installed."""
    installed_version.cache_clear()
    installed = sys.modules.get("gdn_ops.providers.installed")
    if installed is not None:
        installed.forget()


def _version(data: Mapping[str, Any]) -> Any:
    stages = data.get("stages")
    config = stages.get(data["plan"]) if isinstance(stages, Mapping) else None
    return config.get("version") if isinstance(config, Mapping) else None
