"""Whether `models` and `probes` are this project's packages, or a folder of the user's own that shadows them."""

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).resolve().parents[1]
SIBLINGS = ("models", "probes")


def refuse_shadowed_packages() -> None:
    """Raises ImportError naming what shadows what, where `import models` or `import probes` would not give ours."""
    for name in SIBLINGS:
        found = _location(name)
        if found != OURS / name:
            raise ImportError(
                f"{found or 'nothing'} is what Python finds as '{name}', in place of the workbench's own {OURS / name}; "
                f"rename it, or start Python in another folder"
            )


def _location(name: str) -> Path | None:
    """Where a package lies, imported already or not; a folder without __init__.py counts too."""
    if name in sys.modules:
        places = list(getattr(sys.modules[name], "__path__", [])) or [getattr(sys.modules[name], "__file__", None)]
    else:
        spec = PathFinder.find_spec(name) or find_spec(name)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or []) or [spec.origin]
    return Path(places[0]).resolve() if places[0] else None
