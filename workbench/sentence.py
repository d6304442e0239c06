"""An error as the one sentence that a user is shown: by the command line on standard error, by a widget in its status line."""

EXPECTED_ERRORS = (ValueError, RuntimeError, OSError, FloatingPointError, ImportError)
"""What our functions raise for what a user can mend; their messages are sentences with the remedy."""


def sentence(error: Exception) -> str:
    """The message of an expected error; of pydantic's, which are paragraphs, the first complaint; else what kind it is."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        return f"{first['loc'][-1]} {first['input']}: {message}" if first["loc"] else message
    return str(error) if isinstance(error, EXPECTED_ERRORS) else f"unexpected {type(error).__name__}: {error}"
