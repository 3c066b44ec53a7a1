"""The run-time part of gdn-ops, as it is copied into a library under another package name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

LEFT_OUT = {
    "gluon_interpreter": "interprets Gluon kernels where there is no GPU",
    "integrations/engine.py": "serving engines call gdn-ops itself",
    "integrations/engine_signatures.py": "serving engines call gdn-ops itself",
    "integrations/fla.py": "imports flash-linear-attention",
    "integrations/fla_registry.py": "imports flash-linear-attention",
    "integrations/refusal.py": "for flash-linear-attention",
    "integrations/sglang.py": "imports SGLang",
    "integrations/signature.py": "for flash-linear-attention",
    "integrations/vllm.py": "imports vLLM",
    "launch/provider_launcher.py": "calls providers",
    "models": "language models, which a library of ops does without",
    "providers": "calls providers",
    "tuner": "searches, measures and exports",
    "templates": "a library has rendered sources",
    "codegen/compiled": "reads compiled kernels, which only the tuner does",
    "codegen/interpreter": "imports NumPy, for Triton's interpreter",
    "codegen/module_cache.py": "imports rendered sources from a cache folder",
    "codegen/python_words.py": "for the hashes of sources",
    "codegen/render.py": "imports Jinja",
    "codegen/source_hash.py": "renders, to hash the sources",
    "sources/templates.py": "renders",
}
"""What is not copied, with the reason: files and folders of the package."""

_PACKAGE = re.compile(r"(?<![\w-])gdn_ops(?![\w-])")
_FROM = re.compile(r"^(\s*from )gdn_ops(?:\.([\w.]+))?(?= import )", flags=re.MULTILINE)


def runtime_files() -> Iterator[tuple[str, Path]]:
    """Yield the files to copy: path in the package, with slashes, and file on the disk."""
    root = Path(str(files("gdn_ops")))
    # codegen is a link in a checkout, and a folder of its own in an installed package
    for folder in (root, root / "codegen"):
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(root).as_posix()
            inside = folder != root or not name.startswith("codegen/")
            if inside and not any(name == out or name.startswith(f"{out}/") for out in LEFT_OUT):
                yield name, path
    yield "py.typed", root / "py.typed"


def renamed(text: str, package: str) -> str:
    """Rewrite a file of gdn-ops for another package name.

    Every occurrence of the word ``gdn_ops`` becomes the package: in imports, in names of operators
    (``torch.ops.gdn_ops``) and in messages, which tell a user what to call.
    """
    return _PACKAGE.sub(package, text)


def runtime(package: str) -> dict[str, bytes]:
    """The run-time part under a package name: content by path in the package."""
    return {
        name: renamed(path.read_text(encoding="utf-8"), package).encode()
        for name, path in runtime_files()
    }


def relative(text: str, name: str) -> str:
    """Make the imports from gdn_ops in a file relative to the file.

    Args:
        text: the file.
        name: its path in the package, with slashes.
    """
    return _FROM.sub(rf"\1{'.' * (name.count('/') + 1)}\2", text)
