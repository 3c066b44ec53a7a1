"""The size of machine code in a binary."""

from __future__ import annotations

import pytest

from gdn_ops.codegen.compiled.elf import EXECUTABLE, code_bytes
from gdn_ops.codegen.errors import UnreadableCode
from tests.codegen.compiled.elf_file import elf


def test_the_sections_of_instructions_are_counted() -> None:
    assert code_bytes(elf((EXECUTABLE | 2, 640), (0, 5000), (EXECUTABLE, 8))) == 648


@pytest.mark.parametrize(
    "binary", [b"", b"anything at all", elf((EXECUTABLE, 16))[:-40], b"x" * 1000, elf()]
)
def test_only_an_elf_file_with_sections_is_read(binary: bytes) -> None:
    with pytest.raises(UnreadableCode, match="not a 64-bit ELF file"):
        code_bytes(binary)
