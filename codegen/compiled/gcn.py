"""Reading AMD machine code, from the assembly text that LLVM writes."""

from __future__ import annotations

import re
from collections import Counter

from gdn_ops.codegen.compiled.machine_code import MachineCode
from gdn_ops.codegen.errors import UnreadableCode

_INSTRUCTION = re.compile(r"^\t([a-z]\w+)(.*)$", re.MULTILINE)
_METADATA = re.compile(r"^\s+(?:- )?\.(\w+): +(\d+)$", re.MULTILINE)
_MATRIX = re.compile(r"v_s?(mfma|wmma)")


def parse(amdgcn: str) -> MachineCode:
    """Read one kernel's assembly.

    Raises:
        UnreadableCode: the text lacks the metadata that Triton's AMD back end writes.
    """
    body, _, metadata = amdgcn.partition(".amdgpu_metadata")
    facts = {name: int(value) for name, value in _METADATA.findall(metadata)}
    if "vgpr_count" not in facts:
        raise UnreadableCode("the AMD assembly has no register count; update Triton.")
    code = body.partition(".Lfunc_end0")[0]
    names: Counter[str] = Counter()
    matrix: Counter[str] = Counter()
    copies = 0
    for name, operands in _INSTRUCTION.findall(code):
        names[name] += 1
        if kind := _MATRIX.match(name):
            matrix[kind[1].upper()] += 1
        if "_load_lds_" in name or ("_load_" in name and operands.endswith(" lds")):
            copies += 1
    del names["s_nop"], names["s_code_end"]
    return MachineCode(
        # from gfx90a on this counts vector and accumulation registers, which share one file
        registers=facts["vgpr_count"],
        stack=facts["private_segment_fixed_size"],
        shared=facts["group_segment_fixed_size"],
        instructions=names.total(),
        matrix=dict(matrix),
        copies={"LDS": copies} if copies else {},
        local=sum(n for name, n in names.items() if name.startswith("scratch_")),
    )
