"""The header and the loader in C: fixed files, with the tables of the exported sets in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from gdn_ops.codegen.compiled.compile import SCALARS
from gdn_ops.codegen.problem import FLAGS, Problem
from gdn_ops.codegen.tensor import TENSORS

HEADER, LOADER = "gdn_kernels.h", "gdn_kernels.c"
KINDS = {"i32": "INT32", "i64": "INT64", "fp32": "FLOAT32", "scratch": "SCRATCH"}
SIZES = ("B", "T", "N", "S", "NT", "NS", *(name for name in SCALARS if name.startswith("stride_")))
"""The symbols of formulas, and the members of ``sizes_of_call``."""
ENUMS, SETS = "/*@ENUMS@*/", "/*@SETS@*/"
_WORD = re.compile(r"[A-Za-z_]\w*")


def c_files(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The header and the loader for the kernels and sets of a manifest, by file name."""
    header = _file(HEADER).replace(ENUMS, _enums())
    loader = _file(LOADER).replace(SETS, "\n".join(_tables(manifest)))
    return {HEADER: header.encode(), LOADER: loader.encode()}


def _file(name: str) -> str:
    path = files("gdn_ops.tuner.export.cubins") / "loader" / name
    return path.read_text(encoding="utf-8")


def _enums() -> str:
    flags = (f"    GDN_FLAG_{flag.upper()} = 1 << {bit},\n" for bit, flag in enumerate(FLAGS))
    tensors = (
        f"    GDN_{name}, /* [{', '.join(t.shape)}] {t.dtype}: {t.doc} */\n"
        for name, t in TENSORS.items()
    )
    lines = [
        "/* The flags of a problem. */",
        f"enum {{\n{''.join(flags)}    GDN_NO_FLAG = 0\n}};\n",
        "/* The tensors of calls. io: the problem's dtype; G: the K channels of a vector gate. */",
        f"enum {{\n{''.join(tensors)}    GDN_TENSORS\n}};",
    ]
    return "\n".join(lines)


def _tables(manifest: Mapping[str, Any]) -> Iterator[str]:
    kernels, sets = manifest["kernels"], manifest["sets"]
    numbers = {name: number for number, name in enumerate(kernels)}
    yield from _constants(manifest["runs_on"])
    yield f"#define SET_COUNT {len(sets)}"
    yield f"#define KERNEL_COUNT {len(kernels)}"
    yield f"#define MOST_BUFFERS {max(len(own['buffers']) for own in sets)}"
    most = max(len(kernel["parameters"]) for kernel in kernels.values())
    yield f"#define MOST_PARAMETERS {most}\n"
    names = "\n".join(f"    {_text(name)}," for name in TENSORS)
    yield f"static const char *const tensor_names[GDN_TENSORS] = {{\n{names}\n}};\n"
    for name, kernel in kernels.items():
        yield from _parameters(numbers[name], kernel)
    yield "static const kernel_of_file kernels[KERNEL_COUNT] = {"
    for name, kernel in kernels.items():
        yield (
            f"    {{{_text(kernel['file'])}, {_text(kernel['symbol'])}, {kernel['bytes']}, "
            f"{kernel['block'][0]}, {kernel['shared']}, parameters_{numbers[name]}, "
            f"{len(kernel['parameters'])}}},"
        )
    yield "};\n"
    for number, own in enumerate(sets):
        yield from _set(number, own, kernels, numbers)
    yield "static const kernel_set sets[SET_COUNT] = {"
    for number, own in enumerate(sets):
        yield _row(number, own)
    yield "};"


def _constants(runs_on: Mapping[str, Any]) -> Iterator[str]:
    major, minor = runs_on["capability"]
    yield f"#define TARGET {_text(runs_on['target'])}"
    yield f"#define ARCH {_text(runs_on['arch'])}"
    yield f"#define ARCH_MAJOR {major}"
    yield f"#define ARCH_MINOR {minor}"
    yield f"#define ARCH_EXACT {int(runs_on['exact'])}"
    yield f"#define PTXAS {_text(runs_on['ptxas'])}"
    yield f"#define LEAST_DRIVER {runs_on['least_driver']}"


def _parameters(number: int, kernel: Mapping[str, Any]) -> Iterator[str]:
    yield f"static const parameter parameters_{number}[] = {{ /* {kernel['file']} */"
    for own in kernel["parameters"]:
        kind = KINDS.get(own["type"], "POINTER")
        scalar = kind not in ("POINTER", "SCRATCH")
        source = f"offsetof(gdn_call, {own['name']})" if scalar else "0"
        yield f"    {{{_text(own['name'])}, {kind}, {source}, {own['divisible_by']}}},"
    yield "};\n"


def _set(
    number: int,
    own: Mapping[str, Any],
    kernels: Mapping[str, Mapping[str, Any]],
    numbers: Mapping[str, int],
) -> Iterator[str]:
    yield f"/* set {number}: {own['problem']} */"
    for name in ("chunks", "segments"):
        unused = "" if "L" in _WORD.findall(own[name]) else "    (void)L;\n"
        yield (
            f"static int64_t {name}_{number}(int64_t L)\n{{\n{unused}    return {own[name]};\n}}"
        )
    sizes = [buffer["bytes"] for buffer in own["buffers"]]
    yield c_function(f"bytes_{number}", "bytes", sizes)
    yield f"static const buffer_of_set buffers_{number}[] = {{"
    for buffer in own["buffers"]:
        flags = ", ".join(str(int(buffer[name])) for name in ("strided", "by_token", "zeroed"))
        yield (
            f"    {{GDN_{buffer['name']}, {_text(buffer['name'])}, {buffer['role'].upper()}, "
            f"{_slot(buffer)}, {flags}}},"
        )
    yield "};"
    places = {buffer["name"]: at for at, buffer in enumerate(own["buffers"])}
    for at, stage in enumerate(own["stages"]):
        yield c_function(f"grid_{number}_{at}", "grid", stage["grid"])
        parameters = kernels[stage["kernel"]]["parameters"]
        used = ", ".join(str(places.get(parameter["name"], -1)) for parameter in parameters)
        yield f"static const int pointers_{number}_{at}[] = {{{used}}};"
    yield f"static const stage_of_set stages_{number}[] = {{"
    for at, stage in enumerate(own["stages"]):
        kernel = numbers[stage["kernel"]]
        yield (
            f"    {{{_text(stage['stage'])}, {kernel}, pointers_{number}_{at}, "
            f"grid_{number}_{at}}},"
        )
    yield "};\n"


def _slot(buffer: Mapping[str, Any]) -> int:
    return -1 if buffer["slot"] is None else int(buffer["slot"])


def c_function(name: str, result: str, formulas: Sequence[str]) -> str:
    """A function that computes formulas from the sizes of a call."""
    used = {word for formula in formulas for word in _WORD.findall(formula)}
    symbols = [symbol for symbol in SIZES if symbol in used]
    declared = ", ".join(f"{symbol} = z->{symbol}" for symbol in symbols) or "unused = z->B"
    lines = [f"    const int64_t {declared};"]
    if not symbols:
        lines.append("    (void)unused;")
    lines += [f"    {result}[{at}] = {formula};" for at, formula in enumerate(formulas)]
    body = "\n".join(lines)
    return f"static void {name}(const sizes_of_call *z, int64_t *{result})\n{{\n{body}\n}}"


def _row(number: int, own: Mapping[str, Any]) -> str:
    p = Problem.from_facts(own["facts"])
    flags = " | ".join(f"GDN_FLAG_{flag.upper()}" for flag in FLAGS if getattr(p, flag))
    facts = ", ".join(
        [
            *map(_text, (p.op, p.rule.gate, p.dtype, p.state_dtype)),
            *map(str, (int(p.rule.delta), p.H, p.HV, p.K, p.V, p.tokens, p.sequences)),
            flags or "GDN_NO_FLAG",
        ]
    )
    return (
        f"    {{{_text(own['problem'])},\n"
        f"     {{{facts}}},\n"
        f"     {int(own['packed'])}, {int(own['one_token'])}, {own['segment_tokens']}, "
        f"chunks_{number}, segments_{number}, bytes_{number},\n"
        f"     buffers_{number}, {len(own['buffers'])}, stages_{number}, "
        f"{len(own['stages'])}}},"
    )


def _text(text: str) -> str:
    """A string in C; names and ids have no character that C would read as another."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
