"""Formulas as MathML, which browsers draw themselves: no script, no font and no network."""

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, page: object, **_: object) -> str:
    """Replaces what pymdownx.arithmatex has marked; fails on what the converter or MathML Core does not know."""

    def formula(found: re.Match[str]) -> str:
        element, latex = found[1], html.unescape(found[2]).strip()
        drawn = convert(latex, display="block" if element == "div" else "inline")
        if "\\" in drawn or re.search('mathvariant="(?!normal|italic)', drawn):
            raise PluginError(f"{page}: browsers would not draw {latex}; write it without bold and without rare commands")
        return f'<{element} class="formula">{drawn}</{element}>'

    return FORMULA.sub(formula, content)
