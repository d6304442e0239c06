"""The reference, made from docstrings: a page a module, an index a package, and one page of all commands.

Modules are found where they are imported from, so that nothing has to be listed by hand.
"""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGES = ("models", "probes", "workbench")
LEFT_OUT = {"commands", "__pycache__", "zoo"}
"""Folders without a page: commands are on a page of their own."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Expands folders in the navigation, such as `how-to/`, to their pages, and `reference/` to those made here."""
    packages = [_section(_home(package)) for package in PACKAGES]
    reference = ["reference/index.md", {"Commands": "reference/commands.md"}, *packages]
    docs = Path(config.docs_dir)
    for entry in config.nav or []:
        for title, place in entry.items():
            if place == "reference/":
                entry[title] = reference
            elif str(place).endswith("/"):
                pages = sorted((docs / place).rglob("*.md"), key=lambda page: (len(page.parts), page))
                entry[title] = [page.relative_to(docs).as_posix() for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Writes the pages, in memory alone."""
    pages = {"reference/index.md": _front(), "reference/commands.md": _commands()}
    for package in map(_home, PACKAGES):
        pages |= dict(_pages(package))
    for address, text in pages.items():
        files.append(File.generated(config, address, content=text))
    return files


def _home(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec and spec.submodule_search_locations, f"{package} is installed"
    return Path(spec.submodule_search_locations[0])


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))


def _parts(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/__init__.py") if path.parent.name not in LEFT_OUT)


def _name(path: Path) -> str:
    """Dotted name of a module or package."""
    home = next(home for home in map(_home, PACKAGES) if path.is_relative_to(home))
    return ".".join(path.relative_to(home.parent).with_suffix("").parts)


def _address(path: Path) -> str:
    """Of a page below `reference/`."""
    return _name(path).replace(".", "/") + (".md" if path.suffix else "/index.md")


def _section(folder: Path) -> dict[str, list]:
    modules = [{path.stem: f"reference/{_address(path)}"} for path in _modules(folder)]
    return {folder.name: [f"reference/{_address(folder)}", *map(_section, _parts(folder)), *modules]}


def _pages(folder: Path) -> Iterator[tuple[str, str]]:
    """Address and Markdown of a package's index, its modules and its parts."""
    inside = _address(folder).removesuffix("index.md")
    listed = (*_parts(folder), *_modules(folder))
    rows = [f"| [`{_name(path)}`]({_address(path).removeprefix(inside)}) | {_summary(path)} |" for path in listed]
    table = "\n".join(["| module | what it is |", "|---|---|", *rows])
    yield f"reference/{_address(folder)}", f"# {_name(folder)}\n\n{table}\n\n::: {_name(folder)}\n"
    for path in _modules(folder):
        yield f"reference/{_address(path)}", f"# {_name(path)}\n\n::: {_name(path)}\n"
    for part in _parts(folder):
        yield from _pages(part)


def _summary(path: Path) -> str:
    """The first paragraph of the docstring of a module or package."""
    source = path if path.suffix else path / "__init__.py"
    words = " ".join((ast.get_docstring(ast.parse(source.read_text())) or "").split("\n\n")[0].split())
    return words.replace("|", "\\|")


def _front() -> str:
    rows = [f"- [`{package}`]({package}/index.md): {_summary(_home(package))}" for package in PACKAGES]
    return "# Reference\n\nMade from the docstrings.\n\n- [Commands](commands.md): `workbench ...`\n" + "\n".join(rows)


def _commands() -> str:
    """Every subcommand's help, as `workbench COMMAND --help` prints it."""
    import typer

    from workbench.cli import app

    root = typer.main.get_command(app)
    sections = ["# Commands\n\nWhat `workbench COMMAND --help` prints."]
    for name, command in _subcommands(root, "workbench"):
        text = command.get_help(typer.Context(command, info_name=name, terminal_width=88, max_content_width=88))
        sections.append(f"## {name}\n\n```text\n{text}\n```")
    return "\n\n".join(sections)


def _subcommands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _subcommands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command
