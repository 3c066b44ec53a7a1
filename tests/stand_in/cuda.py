"""``torch.cuda`` of the stand-in GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import torch

from tests.stand_in.gpu import GPU
from tests.stand_in.graph import CUDAGraph, graph

COUNT = int(os.environ.get("GDN_STAND_IN_GPUS", "1"))
MEMORY = 150_754_820_096
PROPERTIES = SimpleNamespace(
    name="NVIDIA H200", major=9, minor=0, multi_processor_count=132, total_memory=MEMORY,
    # an H200's is 60 MB, and a timer would fill it with as many sets of small inputs as it allows
    L2_cache_size=1 << 13,
    shared_memory_per_block=49152, shared_memory_per_block_optin=232448,
    shared_memory_per_multiprocessor=233472, regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048, warp_size=32, is_integrated=0,
    uuid="00000000-0000-0000-0000-000000000000",
)  # fmt: skip


class Event:
    """A place in the GPU's work, which is done as it is asked for: a time."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self._timed, self._at = enable_timing, 0.0

    def record(self, stream: Any = None) -> None:
        self._at = perf_counter()

    def wait(self, stream: Any = None) -> None: ...

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        GPU.wait("Event.synchronize")

    def elapsed_time(self, end: Event) -> float:
        if not (self._timed and end._timed and self._at and end._at):
            raise ValueError("Both events must be created with enable_timing and be recorded.")
        return 1e3 * (end._at - self._at)


class Stream:
    cuda_stream = 0

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        self.device = torch.device("cuda", _index(device))

    def synchronize(self) -> None:
        synchronize()

    def wait_stream(self, other: Any) -> None: ...

    def wait_event(self, event: Event) -> None: ...

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record()
        return event


class device:
    """``torch.cuda.device``: another current device for a while."""

    def __init__(self, device: Any) -> None:
        self.idx, self._before = _index(device), GPU.current

    def __enter__(self) -> None:
        self._before, GPU.current = GPU.current, self.idx

    def __exit__(self, *_: object) -> None:
        GPU.current = self._before


@contextmanager
def stream(stream: Stream | None) -> Iterator[None]:
    yield


class autocast(torch.amp.autocast_mode.autocast):
    """Autocast of the GPU, by way of the CPU's, where its tensors are."""

    def __enter__(self) -> Any:
        self._before = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        if self.device == "cuda":
            torch.set_autocast_enabled("cpu", self._enabled)
            torch.set_autocast_dtype("cpu", self.fast_dtype)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> Any:
        enabled, dtype = self._before
        torch.set_autocast_enabled("cpu", enabled)
        torch.set_autocast_dtype("cpu", dtype)
        return super().__exit__(*error)


def synchronize(device: Any = None) -> None:
    GPU.wait("torch.cuda.synchronize")


def install() -> None:
    own = (Event, Stream, device, stream, synchronize, CUDAGraph, graph)
    answers: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_initialized": lambda: True,
        "is_available": lambda: True,
        "device_count": lambda: COUNT,
        "current_device": lambda: GPU.current,
        "set_device": lambda device: setattr(GPU, "current", _index(device)),
        "get_device_properties": lambda device=None: PROPERTIES,
        "get_device_name": lambda device=None: PROPERTIES.name,
        "get_device_capability": lambda device=None: (PROPERTIES.major, PROPERTIES.minor),
        "mem_get_info": lambda device=None: (MEMORY - (1 << 30), MEMORY),
        "empty_cache": lambda: None,
        "current_stream": Stream,
        "default_stream": Stream,
        "graph_pool_handle": lambda: (0, 1),
        "is_current_stream_capturing": lambda: GPU.capturing,
        "set_sync_debug_mode": lambda mode: setattr(GPU, "on_wait", mode),
        "is_bf16_supported": lambda including_emulation=True: True,
        "manual_seed": torch.default_generator.manual_seed,
        "manual_seed_all": torch.default_generator.manual_seed,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
        **dict.fromkeys(("memory_allocated", "max_memory_allocated"), lambda device=None: 0),
        **dict.fromkeys(("memory_reserved", "max_memory_reserved"), lambda device=None: 0),
        "reset_peak_memory_stats": lambda device=None: None,
        **{part.__name__: part for part in own},
    }
    torch.autocast = torch.amp.autocast = autocast  # type: ignore[misc]
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)


def _index(device: Any) -> int:
    if device is None:
        return GPU.current
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return GPU.current if index is None else index
