"""A hook of mkdocs: links out of docs/ lead to the repository, where the files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:  # noqa: ANN401 (mkdocs' own objects)
    """The page with every relative link to a file outside docs/ made an address in the repository."""
    docs = Path(config["docs_dir"]).resolve()
    folder = (docs / page.file.src_uri).parent
    repository = str(config["repo_url"]).rstrip("/")

    def outside(match: re.Match[str]) -> str:
        path = (folder / match[1]).resolve()
        if path.is_relative_to(docs) or not path.is_relative_to(docs.parent):
            return match[0]
        kind = "tree" if path.is_dir() else "blob"
        return f"]({repository}/{kind}/main/{path.relative_to(docs.parent).as_posix()}{match[2] or ''})"

    return _LINK.sub(outside, markdown)
