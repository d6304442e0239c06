"""The `workbench` command, also as `python -m workbench`: Ctrl-C ends it without a traceback from the first import on."""

import sys


def main() -> None:
    """Runs the command line of this process and exits."""
    try:
        from workbench.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # as of a command that is under way


if __name__ == "__main__":
    main()
