"""A serving engine in this process: what a plug-in replaced in it, and what it left in place."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from gdn_ops.dispatch.winners import load_winners
from gdn_ops.errors import GdnError, InvalidInput, UnsupportedProblem
from gdn_ops.integrations.engine_signatures import difference
from gdn_ops.integrations.swap import Swap
from gdn_ops.results_path import switch


@dataclass
class Engine:
    """An engine, and the replacements in it.

    Args:
        name: the engine's name, for messages.
        package: its package.
        variable: the environment variable that switches the plug-in on (1) or off (0).
        logger: where messages go.
        replaced: the names that run on gdn_ops.
        left: the names that run on the engine's own functions, with the reasons.
        originals: what to restore: owner, attribute and value.
    """

    name: str
    package: str
    variable: str
    logger: logging.Logger
    replaced: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    originals: list[tuple[Any, str, Any]] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    @property
    def version(self) -> str:
        """The engine's version as it reports it."""
        return str(getattr(importlib.import_module(self.package), "__version__", "unknown"))

    def inactive(self) -> str:
        """Return why the plug-in stays inactive; empty if it is to be active.

        Raises:
            InvalidInput: the environment variable is neither 0 nor 1.
        """
        switched = switch(self.variable)
        if switched is not None:
            return "" if switched else f"{self.variable} is 0"
        gpus = gpu_names()
        if not gpus:
            return f"no NVIDIA GPU was found; set {self.variable}=1 to switch it on"
        winners = load_winners().winners
        if any(w.provenance == "measured" and w.device in gpus for w in winners):
            return ""
        return (
            f"there are no measured winners for {', '.join(sorted(gpus))}; run `gdn tune serving` "
            f"there, or set {self.variable}=1"
        )

    def find(self, name: str) -> Any:
        """Return what a dotted name of the engine refers to; None if there is no such name."""
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            module = ".".join(parts[:count])
            try:
                found: Any = importlib.import_module(module)
            except ModuleNotFoundError as error:
                if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                    raise  # the module exists, but what it imports does not
                continue
            for part in parts[count:]:
                if found is not None:
                    found = getattr(found, part, None)
            return found
        return None

    def known(self, *names: str) -> bool:
        """Return whether each name exists with a known signature; else note what differs."""
        for name in names:
            try:
                function = self.find(name)
            except Exception as error:  # whatever the engine raises when it is imported
                self.leave(name, f"it cannot be imported ({type(error).__name__}: {error})")
                return False
            differs = "it does not exist" if function is None else difference(function, name)
            if differs:
                self.leave(name, differs)
                return False
        return True

    def leave(self, name: str, reason: str) -> None:
        """Note that a name keeps the engine's own function, and why."""
        self.left.append(f"{_short(name)} ({reason})")

    def rebind(self, name: str, ours: Callable[..., Any]) -> None:
        """Replace the function of a dotted name by ours, if its signature is known."""
        if not self.known(name):
            return
        owner, _, attribute = name.rpartition(".")
        module, theirs = self.find(owner), self.find(name)
        self.originals.append((module, attribute, theirs))
        setattr(module, attribute, self.serving(name, ours, theirs))
        self.replaced.append(_short(name))

    def serving(
        self, name: str, ours: Callable[..., Any], theirs: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return ours, which leaves a call that it cannot serve to the engine's own function.

        gdn_ops refuses a call before it launches or writes anything, so theirs starts afresh.
        """

        @wraps(theirs)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return ours(*args, **kwargs)
            except (InvalidInput, UnsupportedProblem) as reason:
                self._say(name, str(reason))
            return theirs(*args, **kwargs)

        return call

    def report(self) -> None:
        """Log in one line what was replaced and what was left in place."""
        done = f"runs {', '.join(self.replaced)}" if self.replaced else "replaced nothing"
        kept = f"; left in place: {'; '.join(self.left)}" if self.left else ""
        level = logging.WARNING if self.left else logging.INFO
        self.logger.log(level, "gdn_ops in %s %s: %s%s", self.name, self.version, done, kept)

    def restore(self) -> None:
        """Put the engine's own functions back."""
        Swap(self.originals).restore()
        self.replaced.clear()
        self.left.clear()

    def _say(self, name: str, reason: str) -> None:
        # Each reason once, whatever its sizes: an engine makes the same call in every step.
        said = f"{name}: {re.sub(r'[0-9]+', '', reason)}"
        if said not in self._said:
            self._said.add(said)
            text = "gdn_ops in %s: a call of %s runs on the engine's own function: %s"
            self.logger.warning(text, self.name, _short(name), reason)


def switch_on(engine: Engine, replace: Callable[[Engine], None]) -> bool:
    """Replace functions of an engine if its plug-in is to be active, and log one line.

    An engine runs its plug-ins while it starts, so nothing is raised.

    Returns:
        Whether anything was replaced.
    """
    try:
        reason = engine.inactive()
    except GdnError as error:
        reason = str(error)
    if reason:
        engine.logger.info("gdn_ops in %s is inactive: %s", engine.name, reason)
        return False
    if importlib.util.find_spec(engine.package) is None:
        engine.logger.warning("gdn_ops in %s is inactive: it is not installed", engine.name)
        return False
    engine.left.clear()
    replace(engine)
    engine.report()
    return bool(engine.replaced)


def gpu_names() -> frozenset[str]:
    """Return the names of the NVIDIA GPUs, without creating a context on one of them.

    An engine forks its workers after it has run its plug-ins, and a context would not survive it.
    The result is empty without the package pynvml (nvidia-ml-py).
    """
    if importlib.util.find_spec("pynvml") is None:
        return frozenset()
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no NVIDIA driver
        return frozenset()
    try:
        return frozenset(_nvml_names(pynvml))
    finally:
        pynvml.nvmlShutdown()


def _nvml_names(pynvml: Any) -> Iterator[str]:
    for index in range(pynvml.nvmlDeviceGetCount()):
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index))
        yield name.decode() if isinstance(name, bytes) else name


def _short(name: str) -> str:
    return ".".join(name.split(".")[-2:])
