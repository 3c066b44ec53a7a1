"""Reading a file of a recorded space; its content says which format it has."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.replay import kernel_tuner_cache, t4_results
from gdn_ops.tuner.replay.recorded_space import RecordedSpace

READERS = (
    (kernel_tuner_cache.recognizes, kernel_tuner_cache.space),
    (t4_results.recognizes, t4_results.space),
)
MAX_BYTES = 1 << 29
"""Limit of a file after decompression."""
GZIP = b"\x1f\x8b"


def recorded_space(path: Path) -> RecordedSpace:
    """Read a recorded space from a Kernel Tuner cache or T4 results, plain or compressed with gzip.

    Raises:
        InvalidInput: the file cannot be read, is truncated or too large, has another format, or
            its content cannot be used.
    """
    content = _content(path)
    for recognizes, space in READERS:
        if isinstance(content, dict) and recognizes(content):
            try:
                return space(_name(path), content)
            except InvalidInput as error:
                raise InvalidInput(f"{path} cannot be replayed: {error}.") from error
    raise InvalidInput(
        f"{path} is neither a Kernel Tuner cache (an object with `cache` and `tune_params_keys`) "
        "nor T4 results (an object with `results` and `schema_version`)."
    )


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == GZIP
        with gzip.open(path) if zipped else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no file {path}; give recorded search spaces.") from error
    except IsADirectoryError as error:
        raise InvalidInput(f"{path} is a folder; give its files, {path}/*.json.gz.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} cannot be read ({error}); is it truncated?") from error
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{path} has more than {MAX_BYTES} bytes; give a smaller file.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{path} is not valid JSON ({shown(str(error))}); is it truncated?"
        ) from error
