"""The words of Python code are Python's own tokens, however quickly they are found."""

from __future__ import annotations

import io
import re
import tokenize

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.python_words import LAYOUT, PROSE, words
from gdn_ops.codegen.render import render
from gdn_ops.codegen.variant import Variant
from tests.problems import FORWARD

BACKWARD = FORWARD.backward(final_state=True)
VARIANTS = [
    (problem, Variant.default(plan, problem))
    for problem, plans in ((FORWARD, ("split", "fused_sm90")), (BACKWARD, ("split", "torch")))
    for plan in plans
]
SOURCES = {
    name: re.sub(r'^( *)""".*?"""\n', "", render(KERNELS[name], problem, variant.config(name)),
                 flags=re.DOTALL | re.MULTILINE)
    for problem, variant in VARIANTS
    for name, _ in variant.stages
}  # fmt: skip
WRITTEN = {
    "comments": "# it's (\n\nif a:  # one [\n    # {\n    b = ')'  # '\n\n# end\nc\n",
    "brackets": "f(\n        a,  # (\n\n  b[1 :\n2])\nif x:\n    if y: z = {'#': '('}\nw\n",
    "no end of line": "for i in x:\n    while i:\n        y",
    "several lines": 'def f():\n    """Not\n  here (."""\n    return 1\n',
    "goes on": "a = b + \\\n    c\nif d:\n\te = 'it\\'s ('\n",
}


@pytest.mark.parametrize("name", [*SOURCES, *WRITTEN])
def test_words_are_tokens_without_prose(name: str) -> None:
    source = {**SOURCES, **WRITTEN}[name]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    expected = [LAYOUT.get(t.type, t.string) for t in tokens if t.type not in PROSE]
    assert list(words(source)) == expected
