"""Which providers a run of ``gdn tune`` compares with, and whether one may win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.providers import provider_named
from gdn_ops.codegen.variant import Provided, Variant
from gdn_ops.providers.installed import version_of


@dataclass(frozen=True)
class Asked:
    """The providers that the user asked for.

    Args:
        versions: the installed version of each, by its name.
        allowed: whether one of them may become the winner.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    allowed: bool = False

    def may_win(self, variant: Variant) -> bool:
        """Whether a variant may become the winner: our own always, a provider if it is allowed."""
        if not isinstance(variant, Provided):
            return True
        return self.allowed and self.versions.get(variant.provider) == variant.version

    def variants(self) -> list[Provided]:
        return [Provided.by(name, version) for name, version in self.versions.items()]


def asked_for(names: Sequence[str], *, allowed: bool) -> Asked:
    """The providers of these names with their installed versions.

    Raises:
        UnknownName: there is no provider of a name.
        InvalidInput: a provider is not installed, or none is named and one is allowed to win.
    """
    if allowed and not names:
        raise InvalidInput(
            "--allow-providers says that a provider may win, and --providers names none; give e.g. "
            "--providers fla."
        )
    found: dict[str, str] = {}
    for provider in [provider_named(name) for name in names]:
        version = version_of(provider)
        if version is None:
            raise InvalidInput(
                f"provider {provider.name} is {provider.title}, which is not installed; "
                f"`pip install {provider.install}` installs it. Nothing was tuned."
            )
        found[provider.name] = version
    return Asked(found, allowed)
