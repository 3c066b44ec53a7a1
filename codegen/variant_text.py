"""How a variant is spelled for people: its plan, then the axes that differ from their defaults.

E.g. ``split BT=32 chunk_h(BV=64) #3f9a1c20``: interface axes, then those of each stage, then
the first digits of the hash in the variant's id, by which it is found in databases and JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gdn_ops.codegen.axis import Config, defaults, differing
from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS

SHORT = 8
"""Digits of a hash that are shown."""

ID = re.compile(r"(?:[a-z]\w*-|#)?([0-9a-f]{8}|[0-9a-f]{12})")
"""A short id, or the id of a variant in databases and JSON."""
_STAGE = re.compile(r"(\w+)\(([^()]*)\)")


def variant_text(plan: str, interface: Config, stages: Mapping[str, Config]) -> str:
    """The plan, and what differs from the defaults of the axes, stage by stage."""
    if plan not in PLANS:  # a provider, whose only value is its version
        return " ".join([plan, *(str(x) for config in stages.values() for x in config.values())])
    parts = [plan, differing(interface, defaults(PLANS[plan].axes))]
    for name, config in stages.items():
        text = differing(config, defaults(KERNELS[name].axes))
        parts.append(f"{name}({text})" if text else "")
    return " ".join(filter(None, parts))


def with_short_id(text: str, variant_id: str) -> str:
    """A variant's text with its short id behind it."""
    return f"{text} #{variant_id.rpartition('-')[2][:SHORT]}"


def split_text(text: str) -> tuple[str, dict[str, str], dict[str, dict[str, str]]]:
    """The plan, the interface and the stages that a text without a short id names.

    Raises:
        InvalidInput: it has another form.
    """
    stages = {name: _values(config, text) for name, config in _STAGE.findall(text)}
    plan, _, interface = _STAGE.sub("", text).strip().partition(" ")
    return plan, _values(interface, text), stages


def _values(config: str, text: str) -> dict[str, str]:
    values = {}
    for setting in config.split():
        name, equals, value = setting.partition("=")
        if not (name and equals and value):
            raise InvalidInput(
                f"{shown(text)} is not spelled as a variant is: {shown(setting)} is not "
                "AXIS=VALUE. Write e.g. 'split BT=32 chunk_h(BV=64)'."
            )
        values[name] = value
    return values
