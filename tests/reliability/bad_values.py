"""For every option and argument of every command: values that are certainly wrong, and what the message has to say of them."""

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

from models.config import MOST, MOST_LAYERS, WEIGHTS
from models.streams import SEEDS
from models.whole_numbers import MOST_COUNTED
from workbench.commands.bound import MOST_SEEDS
from workbench.commands.search import MOST_TRIALS
from workbench.training_config import MOST_THREADS

from .command_lines import commands


class Bad(NamedTuple):
    """One way to be wrong."""

    values: st.SearchStrategy[str]
    told: tuple[str, ...]
    """what the message has to say beside the value: what is allowed, or what to do"""
    named: Callable[[str], str] = str
    """which part of the value has to be in the message"""


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


JUNK = st.sampled_from(
    ["0x10", "1,2", "1:2:3:4", "../..", "/dev/null", "$(true)", "%s", "{}", "--", "-", "'", '"', ";", "[red]", "None", "five"]
)
WORDS = JUNK | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
NO_NUMBERS = WORDS.filter(lambda word: not is_number(word))
NO_PASSWORDS = NO_NUMBERS.filter(lambda word: "@" not in word)  # what stands before one is not shown


def one_of(*known: str) -> list[Bad]:
    return [Bad(WORDS.filter(lambda word: word not in known), known)]


def any_of(*known: str) -> list[Bad]:
    """Words with commas between them."""
    words = WORDS.filter(lambda word: "," not in word and word not in known)
    return [Bad(words, known), Bad(words.map(lambda word: f"{known[0]},{word}"), known, lambda value: value.partition(",")[2])]


def whole(least: int, most: int | None = None, beyond: str = "less than or equal to {most}") -> list[Bad]:
    bad = [
        Bad(st.integers(max_value=least - 1).map(str), (f"greater than or equal to {least}",)),
        Bad(NO_NUMBERS | st.sampled_from(["1.5", "nan", "inf", "1e400"]), ("valid integer",)),
    ]
    if most is not None:
        bad.append(Bad(st.integers(min_value=most + 1, max_value=10**30).map(str), (beyond.format(most=most),)))
    return bad


def number(above: float, told: str, below: float | None = None) -> list[Bad]:
    """A number from `above` on, itself left out where `told` says greater; below `below`."""
    bad = [
        Bad(st.floats(max_value=above, allow_infinity=False, exclude_max="or equal" in told).map(str), (told,)),
        Bad(NO_NUMBERS, ("valid number",)),
        Bad(st.sampled_from(["nan", "inf", "1e400"]), ("finite number",), lambda value: str(float(value))),
    ]
    if below is not None:
        bad.append(Bad(st.floats(min_value=below, max_value=1e300).map(str), (f"less than {below:g}",)))
    return bad


def lengths(longest: int, least: int = 1, allowed: str = "{least} .. {longest}") -> list[Bad]:
    beyond = st.integers(longest + 1, MOST)
    backwards = st.tuples(st.integers(2, 9), st.integers(0, 1)).map(lambda ends: f"{ends[0]}:{ends[1]}")
    return [
        Bad(NO_NUMBERS.filter(lambda word: word != "1,2"), ("whole numbers such as",)),
        Bad(st.sampled_from(["1:2:3:4", "1:", ":", "1,,2", "2.5", f"1:{10**12}", f"{-(10**12)}"]), ("whole numbers such as",)),
        Bad(backwards | st.integers(1, 5).map(lambda n: f"1:5:-{n}") | st.just("1:5:0"), ("write the least length first",)),
        Bad((beyond | st.integers(-99, least - 1)).map(str), (allowed.format(least=least, longest=longest),)),
    ]


def folder() -> list[Bad]:
    return [Bad(st.sampled_from(["a-file", "a-file/made", "/dev/null"]), ("expected a folder", "give another"))]


def file() -> list[Bad]:
    odd = Bad(st.sampled_from([".", "/dev/null"]), ("expected a file", "give another"))
    return [odd, Bad(st.sampled_from(["a-file/made", "/dev/null/made"]), ("expected a folder", "give another"))]


def nowhere(*told: str) -> list[Bad]:
    """Paths and names of what is not there."""
    names = st.text("abcxyz-0189é", min_size=1, max_size=12)
    return [Bad(names.map(lambda name: f"nowhere/{name}"), told)]


SEED = whole(0, SEEDS - 1)
FORMATS = any_of("html", "pdf", "svg", "png")
DEVICE = [
    Bad(WORDS.filter(lambda word: "cpu" not in word) | st.sampled_from(["cuda:99", "meta", "gpu"]), ("give cpu, or cuda",))
]
SIZE, RATE = whole(1, MOST), number(0, "greater than or equal to 0", 1)
CHECKPOINT = nowhere("no checkpoint at", "workbench zoo")

SHARED = {
    "--out": folder(),
    "--json": file(),
    "--format": FORMATS,
    "--seed": SEED,
    "--sequences": whole(2, MOST_COUNTED),
    "--fit-games": whole(2, MOST_COUNTED),
    "--fit-sequences": whole(2, MOST_COUNTED),
    "--weights": one_of(*WEIGHTS),
    "--lengths": lengths(7),
    "--device": DEVICE,
    "--port": whole(0, 65535),
    "--ip": [Bad(WORDS, ("expected an address such as 127.0.0.1",))],
    "checkpoint": CHECKPOINT,
}
"""What means the same to every command that has it."""

TRAIN = {
    "task": one_of("set-complement", "othello", "brackets"),
    "--vocab": whole(3, MOST),
    "--board": [Bad(st.integers().filter(lambda side: side not in (6, 8)).map(str), ("6", "8")), Bad(NO_NUMBERS, ("6", "8"))],
    "--kinds": whole(2, MOST // 2),
    "--depth": whole(1, MOST),
    "--layers": whole(1, MOST_LAYERS),
    **dict.fromkeys(("--heads", "--width", "--head-width"), SIZE),
    "--mlp-width": whole(0, MOST),
    "--positions": one_of("none", "learned"),
    "--norm": one_of("none", "pre", "branch"),
    **dict.fromkeys(("--dropout-embedding", "--dropout-attention", "--dropout-residual"), RATE),
    "--averaging-schedule": one_of("constant", "power"),
    "--averaging-decay": RATE,
    **dict.fromkeys(("--averaging-kappa", "--averaging-eta", "--weight-decay"), number(0, "greater than or equal to 0")),
    "--averaging-lag": number(1, "greater than 1"),
    "--train-length": whole(1, 7, "the longest input"),
    "--targets": one_of("hard", "soft"),
    "--batch": SIZE,
    **dict.fromkeys(("--steps", "--save-every", "--log-every"), whole(1, MOST_COUNTED)),
    "--optimizer": one_of("adamw", "muon"),
    **dict.fromkeys(("--learning-rate", "--gradient-clip"), number(0, "greater than 0")),
    "--warmup": whole(0, MOST_COUNTED),
    "--schedule": one_of("constant", "cosine"),
    **dict.fromkeys(("--beta1", "--beta2"), RATE),
    "--seed": whole(0, SEEDS - 1, f"less than {SEEDS}"),
    "--save-at": [Bad(NO_NUMBERS.filter(lambda word: word != "1,2"), ("whole numbers such as 100,200,500",))],
    "--precision": one_of("float32", "bfloat16"),
    "--device": one_of("cpu", "cuda"),
    "--threads": whole(1, MOST_THREADS),
}
OWN = {
    "train": TRAIN,
    "compare": {
        "--lengths": lengths(7)[:-1] + [Bad(st.integers(8, MOST).map(str), ("1 .. 7",))],
        "paths": CHECKPOINT,
        "--weights": any_of(*WEIGHTS),
        "--steps": one_of("last", "all"),
    },
    "probe board-state": {
        "--test-games": whole(2, MOST_COUNTED),
        "--probes": any_of("closed-form", "logistic", "nonlinear"),
        "--frames": any_of("to_move", "parity", "colour"),
    },
    "probe interventions": {
        "--layers": lengths(2, 0, "expected {least} (embedding) to {longest}"),
        "--cases": whole(2, MOST_COUNTED),
        "--probe": nowhere("give"),
    },
    "probe exchangeability": {"--lengths": lengths(7, 3)},
    "probe vanishing-variance": {"--sequences": whole(20, MOST_COUNTED)},
    "ablate": {
        "--what": one_of("heads", "attention", "mlp", "layers", "stream"),
        "--method": one_of("zero", "mean", "resample"),
    },
    "search": {
        "task": one_of("set-complement"),
        "--storage": [Bad(NO_PASSWORDS.map(lambda word: f"nowhere-{word}"), ("sqlite:///",))],
        "--trials": whole(1, MOST_TRIALS),
        "--vocab": whole(8, MOST // 2),
        "--steps": whole(1, MOST_COUNTED),
        "--fleet": whole(1, MOST_COUNTED),
        "--device": one_of("cpu", "cuda"),
        "--minutes": [*number(0, "greater than or equal to 0")[:2], Bad(st.just("nan"), ("greater than or equal to 0",))],
    },
    "study": {"storage": nowhere("give sqlite:///FILE")},
    "bound": {"--vocab": whole(5, MOST // 4), "--steps": whole(1, MOST_COUNTED), "--seeds": whole(1, MOST_SEEDS)},
    "figures": {"table": nowhere("give"), "--width": one_of("column", "page")},
    "games": {
        "file": nowhere("give a .wtb archive"),
        "--out": file(),
        "--board": [Bad(st.integers().filter(lambda side: side not in (4, 6, 8)).map(str), ("4", "6", "8")), whole(0)[1]],
    },
    "import": {"file": nowhere("give"), "--heads": whole(1)},
    "bundle": {
        "run": nowhere("give a run"),
        "--steps": [
            Bad(NO_NUMBERS.filter(lambda word: word != "1,2"), ("whole numbers such as 100,1000",)),
            Bad(st.integers(-5, 10**6).filter(lambda step: step != 100).map(str), ("['100']", "ask for those")),
        ],
    },
    "lab": {"folder": nowhere("give a folder")},
    "app": {"notebooks": nowhere("give .ipynb files"), "--folder": folder()},
}
"""What one command has alone, or means otherwise."""
FLAG = [Bad(st.sampled_from(["yes", "1", "false", "x"]), ("does not take a value",), lambda value: "")]


def bad_values() -> dict[tuple[str, str], list[Bad] | None]:
    """By command and option or argument; None where nothing is said of it."""
    return {
        (command, parameter.opts[0]): FLAG if getattr(parameter, "is_flag", False) else _bad(command, parameter.opts[0])
        for command, found in commands().items()
        for parameter in found.params
        if parameter.name != "help"
    }


def _bad(command: str, name: str) -> list[Bad] | None:
    return OWN.get(command, {}).get(name) or SHARED.get(name)
