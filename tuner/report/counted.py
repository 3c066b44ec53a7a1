"""A number with its noun, in the singular or the plural."""


def counted(number: int, noun: str) -> str:
    """``1 winner``, ``2 winners``; for nouns whose plural ends in -s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
