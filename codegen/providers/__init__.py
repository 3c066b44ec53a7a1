"""Every provider by name: installed libraries that may be timed, and may win."""

from gdn_ops.codegen.errors import UnknownName
from gdn_ops.codegen.providers import fla, flashinfer, flashqla, transformers
from gdn_ops.codegen.providers.provider import Provider

PROVIDERS: dict[str, Provider] = {
    module.PROVIDER.name: module.PROVIDER for module in (fla, flashqla, flashinfer, transformers)
}


def provider_named(name: str) -> Provider:
    """The provider of this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in PROVIDERS:
        raise UnknownName.of("provider", name, PROVIDERS)
    return PROVIDERS[name]
