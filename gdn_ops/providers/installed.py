"""Which releases of which providers are installed here, and whether they can be imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import invalidate_caches
from importlib.util import find_spec

from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.codegen.providers.provider import Provider
from gdn_ops.codegen.variant import Provided
from gdn_ops.providers.adapter import adapter_of
from gdn_ops.toolchain import installed_version


def version_of(provider: Provider) -> str | None:
    """The installed version of a provider's library, which is not imported; None if it is not."""
    if not _is_importable(provider.package):
        return None
    versions = map(installed_version, provider.distributions)
    return next((version for version in versions if version), None)


def _is_importable(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # a module that was made and not found, such as a stand-in
        return sys.modules.get(package) is not None


def why_not_usable(variant: Provided) -> list[str]:
    """Why the provider of a variant cannot be called here; empty if it can.

    It must have the version that was checked and timed. The first time it is imported.
    """
    provider = PROVIDERS[variant.provider]
    here = version_of(provider)
    if here is None:
        return [
            f"{provider.title} {variant.version} is not installed here; "
            f"`pip install {provider.install}` installs it"
        ]
    if here != variant.version:
        return [
            f"it was checked and timed with {provider.title} {variant.version}, and {here} is "
            f"installed; `gdn tune --providers {provider.name} --allow-providers` times that one"
        ]
    return list(_why_not_importable(provider.name, here))


@cache
def _why_not_importable(name: str, version: str) -> Sequence[str]:
    try:
        adapter_of(name).load()
    except Exception as error:  # a library may fail at import in any way
        text = f"{type(error).__name__}: {error}".strip()
        title = PROVIDERS[name].title
        return (f"{title} {version} is installed and cannot be imported: {text:.300}",)
    return ()


def forget() -> None:
    """Try again to import what could not be imported, after it was installed."""
    invalidate_caches()
    _why_not_importable.cache_clear()
