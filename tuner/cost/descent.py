"""Coordinate descent: finds a stage's config with the least predicted time, axis by axis."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.strategies.search_space import Point

Descent = Generator[list[Config], list[float], Config]
"""Yields configs, is sent their seconds, and returns the fastest config."""


def descend(space: Space, budget: int, axes: Sequence[Axis] | None = None) -> Descent:
    """Change one axis at a time, from the initial config, until no axis has a faster value.

    While an axis is changed, the others keep their best values so far. Among equally fast configs
    the earlier one stays, so a default is only left for something faster. The configs of one axis
    are yielded together, to be compiled side by side.

    Args:
        space: of the stage; it must have a valid config.
        budget: most configs that are yielded.
        axes: those that are changed, with the values that are tried; default: all of the space.

    Yields:
        Valid configs of the stage's own axes, each at most once. Send their seconds, infinite for a
        config that does not compile.

    Returns:
        The fastest config.
    """
    best = space.initial_config
    (least,) = yield [best]
    seen: set[Point] = {space.point(best)}
    left_at: Config | None = None
    while left_at != best:
        left_at = best
        for axis in space.axes if axes is None else axes:
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
    """The valid configs that differ from a config in one axis.

    If a value is invalid with the rest of the config, it comes with one other axis set back to its
    default. For instance, a wider tile may leave a loop too few passes for its pipeline depth.
    """
    for value in axis.values:
        if value == config[axis.name]:
            continue
        moved = {**config, axis.name: value}
        others = (a.name for a in space.axes if a.name != axis.name)
        back = ({**moved, name: space.default[name]} for name in others)
        valid = (each for each in (moved, *back) if not space.reasons(each))
        found = next(valid, None)
        if found is not None:
            yield found
