"""Descent: a stage's fastest config by predicted seconds, one axis after another."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.tuner.spaces.space import Point, Space

Descent = Generator[list[Config], list[float], Config]
"""Asks for configs' seconds, is sent them, and ends with the fastest of them."""


def descend(space: Space, budget: int) -> Descent:
    """Coordinate descent from a space's first config, until no axis has a faster value.

    An axis is moved with the others as they are best so far; of equals the earlier config stays, so
    that a default is left only for something faster. The configs of one axis are asked for
    together, to be compiled side by side.

    Args:
        space: of the stage; it must have a valid config.
        budget: configs that are asked for at the most.

    Yields:
        Valid configs of the stage's own axes, none of them twice; it must be sent the seconds of
        each, infinite for one that does not compile.

    Returns:
        The fastest config.
    """
    best = space.initial_config
    (least,) = yield [best]
    seen: set[Point] = {space.point(best)}
    left_at: Config | None = None
    while left_at != best:
        left_at = best
        for axis in space.axes:
            fresh = {space.point(c): c for c in neighbours(space, best, axis)}
            asked = [c for point, c in fresh.items() if point not in seen][: budget - len(seen)]
            if not asked:
                continue
            seen.update(map(space.point, asked))
            seconds = yield asked
            fastest = min(range(len(asked)), key=seconds.__getitem__)
            if seconds[fastest] < least:
                best, least = asked[fastest], seconds[fastest]
    return best


def neighbours(space: Space, config: Config, axis: Axis) -> Iterator[Config]:
    """The valid configs with another value of an axis.

    A value that the rest of the config forbids comes with one other axis put back on its default,
    such as the pipeline of a loop that a wider tile leaves no passes.
    """
    for value in axis.values:
        if value == config[axis.name]:
            continue
        moved = {**config, axis.name: value}
        others = (a.name for a in space.axes if a is not axis)
        back = ({**moved, name: space.default[name]} for name in others)
        valid = (each for each in (moved, *back) if not space.reasons(each))
        found = next(valid, None)
        if found is not None:
            yield found
