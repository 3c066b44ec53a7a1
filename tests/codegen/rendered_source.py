"""What a rendered file must look like."""

from __future__ import annotations

import ast


def unused(tree: ast.Module, name: str) -> set[str]:
    """Names that a file makes and does not read, but for the kernel itself."""
    made, read = set(), {name, "_"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (made if isinstance(node.ctx, ast.Store) else read).add(node.id)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            made.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return made - read


def assert_looks_written_by_hand(source: str) -> None:
    """Line lengths, blank lines and the ends of a file."""
    assert source.startswith('"""'), source
    assert source.endswith("\n") and not source.endswith("\n\n"), source
    assert "\n\n\n\n" not in source and "\n\n\n    " not in source, source
    assert max(map(len, source.splitlines())) <= 100, source


def assert_torch_file(source: str, name: str, arguments: tuple[str, ...]) -> None:
    """A file of PyTorch code with a function of some arguments, and nothing unused."""
    tree = ast.parse(source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert tuple(argument.arg for argument in functions[name].args.args) == arguments
    assert not unused(tree, name), (unused(tree, name), source)
    assert_looks_written_by_hand(source)
    code = source.split('"""', 2)[2]
    assert "\n\n    " not in code, source
    assert all(part.endswith("\n\n") for part in code.split("\ndef ")[:-1]), source
