"""The settings of a strategy, as ``--strategy NAME:SETTING=VALUE`` gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdn_ops.codegen.errors import InvalidInput, shown


@dataclass(frozen=True)
class Setting:
    """A whole number that a strategy takes from its user.

    Args:
        what: what it sets, in a few words.
    """

    name: str
    default: int
    low: int
    high: int
    what: str

    def __str__(self) -> str:
        return f"{self.name}={self.default} ({self.low} to {self.high}: {self.what})"


def parsed(strategy: str, texts: Sequence[str], known: Sequence[Setting]) -> dict[str, int]:
    """The value of each known setting: what the texts ``SETTING=VALUE`` say, else its default.

    Raises:
        InvalidInput: a text is no setting of the strategy, is given twice, or has a value that is
            not a whole number in its range.
    """
    by_name = {setting.name: setting for setting in known}
    found: dict[str, int] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if name not in by_name:
            raise InvalidInput(f"strategy {strategy} has no setting {shown(name)}; {_list(known)}.")
        if name in found:
            raise InvalidInput(f"strategy {strategy} has {name} twice; give it once.")
        found[name] = _number(strategy, by_name[name], value)
    return {setting.name: found.get(setting.name, setting.default) for setting in known}


def _number(strategy: str, setting: Setting, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = setting.low - 1
    if not setting.low <= number <= setting.high:
        raise InvalidInput(
            f"{setting.name} of strategy {strategy} is {shown(value)}; it must be a whole number "
            f">= {setting.low} and <= {setting.high}, e.g. "
            f"{strategy}:{setting.name}={setting.default}."
        )
    return number


def _list(known: Sequence[Setting]) -> str:
    if not known:
        return "it has none, so give its name alone"
    return f"with their defaults and ranges it has {', '.join(map(str, known))}"
