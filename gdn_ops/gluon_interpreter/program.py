"""Program: one program of a grid, its partitions as threads of which one runs at a time."""

from __future__ import annotations

import inspect
import threading
import traceback
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch

from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter.clock import Clock, Event

EAGER = 0.1
"""How likely a copy is done before it must be, at each switch between partitions."""


class Stopped(BaseException):
    """Ends the thread of a partition because another partition failed."""


class Partition:
    """Warps that run one function.

    Args:
        name: the function's name.
        actor: its number among the actors of the program.
        clock: what must have happened before it starts.
    """

    def __init__(self, name: str, actor: int, clock: Clock) -> None:
        self.name, self.actor, self.clock = name, actor, clock
        self.clock.tick(actor)
        self.done = False
        self.products: list[Callable[[], None]] = []
        """Products in flight, the oldest first."""
        self.tensor_products: list[Callable[[], None]] = []
        """Products into tensor memory that are still to do, the oldest first."""
        self.multiplied = Clock()
        """What the end of all products into tensor memory that it started makes known."""
        self.stores: list[Callable[[], None]] = []
        """Copies out of shared memory in flight, the oldest first."""
        self.unfenced: list[Any] = []
        """Its writes to shared memory since its last fence."""
        self.steps = self.joined = 0
        """What it has done so far, counted, and when its warps last waited for one another."""
        self.waits_for: Callable[[], str] = str
        self.ready: Callable[[], bool] = _always

    def step(self) -> int:
        """Count something that it does."""
        self.steps += 1
        return self.steps

    def finish(self, queue: list[Callable[[], None]], left: int) -> None:
        """Do the oldest of a queue until only so many are left."""
        while len(queue) > left:
            queue.pop(0)()


class Program:
    """One program of a grid.

    Args:
        index: its number in each dimension of the grid.
        seed: decides the order of its partitions and the time of its copies.
    """

    def __init__(self, index: tuple[int, ...], seed: int) -> None:
        self.index = index
        self.random = Random(f"{seed} {index}")
        self.copies: list[Callable[[], None]] = []
        """Copies into shared memory and ends of products in tensor memory that are to come."""
        self.tensor_products: list[tuple[Event, str]] = []
        """The end of each product into tensor memory, and what the product does."""
        self.barriers: list[Any] = []
        self._actors = 0
        self._partitions: list[Partition] = []
        self._turn: Partition | None = None
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def new_actor(self) -> int:
        self._actors += 1
        return self._actors

    def new_event(self) -> Event:
        """The only event of a new actor, such as a copy."""
        return Event(self.new_actor(), 1)

    def run(self, kernel: Callable[[], None]) -> None:
        """Run a kernel from its first line to its last, and check that it leaves nothing undone."""
        _LOCAL.program = self
        self._enter(Partition("the kernel", self.new_actor(), Clock()))
        try:
            with torch.no_grad():
                kernel()
            for barrier in self.barriers:
                barrier.check_end()
            self._leave(current())
            for event, what in self.tensor_products:
                if not current().clock.covers(event):
                    raise KernelFault(f"the kernel ends while {what}")
            while self.copies:
                self._complete()
        finally:
            _LOCAL.program = _LOCAL.partition = None

    def specialize(self, functions: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> Any:
        """Run functions side by side; returns what the first one, the default partition, does."""
        whole = current()
        self._partitions = [
            Partition(_name(f), self.new_actor(), whole.clock.copy()) for f, _ in functions
        ]
        results: dict[int, Any] = {}
        threads = [
            threading.Thread(target=self._partition, args=(i, results, *functions[i]), daemon=True)
            for i in range(len(functions))
        ]
        for thread in threads:
            thread.start()
        with self._changed:
            self._choose()
            self._changed.notify_all()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error
        for partition in self._partitions:
            whole.clock.join(partition.clock)
        self._partitions = []
        return results.get(0)

    def switch(
        self, ready: Callable[[], bool] | None = None, waits_for: Callable[[], str] = str
    ) -> None:
        """Let another partition run, until this one may go on.

        Args:
            ready: whether it may.
            waits_for: what for, in words.
        """
        me, ready = current(), ready or _always
        if not self._partitions:
            while not ready() and self.copies:
                self._complete()
            if not ready():
                raise KernelFault(f"{me.name} waits forever {waits_for()}")
            return
        me.ready, me.waits_for = ready, waits_for
        with self._changed:
            self._choose()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._turn is me or self._error is not None)
        if self._error is not None:
            raise Stopped
        me.ready = _always

    def _partition(
        self, i: int, results: dict[int, Any], function: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        me = self._partitions[i]
        _LOCAL.program = self
        self._enter(me)
        # of this thread, so that also copies that land here record no gradients
        with torch.no_grad():
            with self._changed:
                self._changed.wait_for(lambda: self._turn is me or self._error is not None)
            try:
                if self._error is None:
                    results[i] = function(*args)
                    self._leave(me)
            except Stopped:
                pass
            except BaseException as error:
                self._error = self._error or _located(error, function)
            with self._changed:
                me.done = True
                self._choose()
                self._changed.notify_all()

    def _enter(self, partition: Partition) -> None:
        _LOCAL.partition = partition

    @staticmethod
    def _leave(partition: Partition) -> None:
        for queue, what in ((partition.products, "product"), (partition.stores, "copy out")):
            if queue:
                raise KernelFault(f"{partition.name} ends before it waited for its last {what}")

    def _complete(self) -> None:
        self.copies.pop(self.random.randrange(len(self.copies)))()

    def _choose(self) -> None:
        """Give the turn to a partition that can go on; copies land when none can, or sometimes."""
        self._turn = None
        try:
            while self._error is None:
                going = [p for p in self._partitions if not p.done]
                able = [p for p in going if p.ready()]
                if self.copies and (not able or self.random.random() < EAGER):
                    self._complete()
                elif able:
                    self._turn = self.random.choice(able)
                    return
                elif going:
                    waits = "; ".join(f"{p.name} waits {p.waits_for()}" for p in going)
                    raise KernelFault(f"no partition can go on: {waits}")
                else:
                    return
        except BaseException as error:  # whatever it is, the other partitions must not wait on
            self._error = error


def current() -> Partition:
    """The partition that runs."""
    partition: Partition = _LOCAL.partition
    return partition


def program() -> Program:
    """The program that runs."""
    running: Program | None = getattr(_LOCAL, "program", None)
    if running is None:
        raise KernelFault("a Gluon function is called outside of a kernel")
    return running


def _located(error: BaseException, function: Callable[..., Any]) -> BaseException:
    """A fault with the line of the kernel that made it; other errors as they are."""
    if not isinstance(error, KernelFault):
        return error
    file = inspect.unwrap(function).__code__.co_filename
    lines = [f.line for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return KernelFault(f"{error}, at `{lines[-1]}`") if lines else error


def _always() -> bool:
    return True


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "a partition")


_LOCAL = threading.local()
