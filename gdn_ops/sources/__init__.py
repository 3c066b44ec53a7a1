"""The source of each stage: rendered from a template, or a file of an exported library."""

from __future__ import annotations

from functools import cache

from gdn_ops.results_path import rendered_folder
from gdn_ops.sources.origin import Origin


@cache
def origin() -> Origin:
    """Where this package gets its sources: a library from its files, gdn-ops from templates."""
    folder = rendered_folder()
    if folder is not None:
        from gdn_ops.sources.files import Files

        return Files(folder)
    # loads jinja2, which a library does without
    from gdn_ops.sources.templates import Templates

    return Templates()
