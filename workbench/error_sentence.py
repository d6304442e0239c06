"""An error as the one sentence that a user is shown: by the command line on standard error, by a widget in its status line."""

import errno

EXPECTED_ERRORS = (ValueError, RuntimeError, OSError, FloatingPointError, ImportError)
"""What our functions raise for what a user can mend; their messages are sentences with the remedy."""

LONGEST = 200
"""Characters that are shown of what was given."""
NO_MEMORY = ("can't allocate memory", "out of memory", "Storage size calculation overflowed")
"""How torch says it, on the CPU, on a GPU, and of more than any machine has."""


def sentence(error: Exception) -> str:
    """The message of an expected error; of pydantic's, which are paragraphs, the first complaint; else what kind it is.

    Where memory ran out the message is ours. It is one line, as `one_line` makes it.
    """
    return one_line(_message(error).strip())


def one_line(text: str) -> str:
    r"""The text with line ends, control characters and all else that does not print written as Python does: \n and \x1b.

    Names may hold any: some of them make several lines of a sentence, and some are orders to the terminal.
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _message(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        return f"{first['loc'][-1]} {str(first['input'])[:LONGEST]}: {message}" if first["loc"] else message
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return "this needs more memory than there is; ask for less at once: a smaller batch, vocabulary, context or model"
    if isinstance(error, OSError) and error.errno is not None and error.filename:  # the system's words: ours have no number
        remedy = "a shorter name" if error.errno == errno.ENAMETOOLONG else "another name or folder"
        return f"cannot use {error.filename}: {error.strerror}; give {remedy}"
    return str(error) if isinstance(error, EXPECTED_ERRORS) else f"unexpected {type(error).__name__}: {error}"
