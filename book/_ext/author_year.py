"""Labels of the bibliography as the text cites its works: authors and year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as Unsorted
from pybtex.style.labels import BaseLabelStyle

STYLE = "author_year"


class AuthorYear(BaseLabelStyle):
    """`Kingma and Welling, 2014`; a letter tells works of the same authors and year apart."""

    def format_labels(self, entries: Sequence[Any]) -> Iterator[str]:
        """One label for each entry, in their order."""
        labels = [f"{authors(entry)}, {entry.fields['year']}" for entry in entries]
        count, seen = Counter(labels), Counter[str]()
        for label in labels:
            yield label + (chr(ord("a") + seen[label]) if count[label] > 1 else "")
            seen[label] += 1


def authors(entry: Any) -> str:
    """Last names: one, two, or the first and "et al."."""
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    names = [name.strip("{}") for name in names]
    return f"{names[0]} et al." if len(names) > 2 else " and ".join(names)


class Style(Unsorted):
    """Sorted by author, with these labels."""

    default_sorting_style = "author_year_title"
    default_label_style = AuthorYear


def setup(app: Any) -> dict[str, bool]:
    """Offer the style to `bibtex_default_style`."""
    register_plugin("pybtex.style.formatting", STYLE, Style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
