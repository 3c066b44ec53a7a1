"""Staleness: what has changed since a winner was measured, so that its times may not hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.providers import provider_changes
from gdn_ops.sources import origin
from gdn_ops.toolchain import installed_version, ptxas_version


class Measured(Protocol):
    """What must be known of a winner: its fields of these names."""

    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def variant(self) -> Mapping[str, Any]: ...
    @property
    def sources(self) -> Mapping[str, Any] | None: ...
    @property
    def arch(self) -> str: ...
    @property
    def ptxas(self) -> str | None: ...


def changes(winner: Measured) -> Iterator[str]:
    """What has changed since a winner was measured."""
    if winner.sources is None or winner.sources != _sources_today(winner):
        yield "the templates have changed since it was measured"
    changed, package = provider_changes(winner.variant)
    if changed:
        yield changed
    then, now = (getattr(winner, package), installed_version(package)) if package else ("", "")
    if then and now and _release(then) != _release(now):
        name = {"torch": "PyTorch", "triton": "Triton"}[package]
        yield f"it was measured with {name} {then}, and {now} is installed"
    ptxas = ptxas_version(winner.arch) if winner.ptxas else None
    if ptxas is not None and ptxas != winner.ptxas:
        yield f"it was measured with ptxas {winner.ptxas}, and {ptxas} is installed"


def _release(version: str) -> str:
    """A version without the build, such as ``+cpu``."""
    return version.partition("+")[0]


def _sources_today(winner: Measured) -> dict[str, str] | None:
    try:
        problem = Problem.from_facts(winner.facts)
        return origin().hashes(problem, Variant.from_json(winner.variant, problem))
    except (GdnError, KeyError, TypeError):  # facts, axes or templates that no longer exist
        return None
