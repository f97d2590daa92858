"""Parts of an HTML page that needs nothing else: no network, and no script but its own."""

import base64
import hashlib
import html
from collections.abc import Iterable
from pathlib import Path

_STYLE = Path(__file__).with_name("report.css")
_SCRIPT = Path(__file__).with_name("report.js")


def page(title: str, body: str) -> str:
    """Return a whole page with the style and the script of the report.

    Its policy (Content-Security-Policy) lets a browser load nothing from anywhere and run no other script, so that what
    a record says can do no harm even where it were not escaped.
    """
    style, script = (f"\n{path.read_text(encoding='utf-8')}" for path in (_STYLE, _SCRIPT))
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Return a value as text, for elements and attributes."""
    return html.escape(str(value))


def section(heading: str, *parts: str) -> str:
    """Return a section; nothing where it has no content."""
    content = "".join(parts)
    return f"<section><h2>{text(heading)}</h2>{content}</section>" if content else ""


def details(summary: str, content: str, attributes: str = "") -> str:
    """Return content behind a line to click on; ``content`` and ``attributes`` are HTML, ``summary`` is text."""
    return f"<details{attributes}><summary>{text(summary)}</summary>{content}</details>"


def plot(svg: str, caption: str, share: float = 1.0) -> str:
    """Return a drawn figure with its caption, on a share of the width of figures."""
    said = f'role="img" aria-label="{text(caption)}"'
    return (
        f'<figure class="plot" style="--share: {share:.3g}"><div class="scroll" {said}>{svg}</div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def picture(png: bytes, caption: str) -> str:
    """Return a figure of pixels with its caption."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure class="plot"><div class="scroll"><img src="data:image/png;base64,{data}" alt="{text(caption)}"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def terms(items: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms with what they are; both are text. One without a term goes with the one before."""
    rows = "".join(f"{f'<dt>{text(term)}</dt>' if term else ''}<dd>{text(said)}</dd>" for term, said in items)
    return f"<dl>{rows}</dl>"


def anchor(run: str) -> str:
    """Return the id of the place of the page that holds the record of a run, unescaped."""
    return f"run-{run}"
