"""Reads the public OthelloGPT formats into checkpoints of ours. The only file that may unpickle, and only tensors.

Three layouts: minGPT keys (`tok_emb.weight`, `blocks.0.attn.query.weight`; likenneth/othello_world and its forks),
TransformerLens 3 keys (`embed.W_E`, `blocks.0.attn.W_Q`; the published synthetic model, with LayerNorms folded away), and
TransformerLens 4 keys (`embed.weight`, `blocks.0.attn.q.weight`; what a native TransformerBridge saves).
"""

import os
import pickletools
import re
import warnings
import zipfile
from collections import deque
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import torch
from einops import rearrange
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from models.checkpoint import Card, read_safetensors, save_checkpoint
from models.config import MOST_LAYERS, ModelConfig, TaskConfig
from models.native_keys import plain_keys
from models.plain_file import require_plain
from models.transformer import Transformer

BOARD_OF_VOCAB = {61: 8, 33: 6}
DEFAULT_HEADS = 8
# buffers, not weights: causal masks and the constant that fills them
BUFFERS = re.compile(r"(^|\.)attn\.(mask|bias|masked_bias|IGNORE)$")
WEIGHT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WRAPPERS = ("state_dict", "model_state_dict", "model")
ZIP_BEGINS = b"PK\x03\x04"
LEGACY_PICKLES = 5
"""How many pickles a file of torch's old format begins with: magic number, protocol, system, state dict, keys of storages."""
NEEDED_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter)|torch(\.cuda|\.storage)? \w+Storage"
    r"|torch [a-z]+\d+\w*"
)
"""What the pickle of a state dict names, as module and name; the last are types of numbers."""
ATOMS = (
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
    "EMPTY_TUPLE",
)
"""What pickles hold that holds nothing else, as `pickletools` names it."""
MOST_BYTES = 1 << 31
"""Of a file; a whole checkpoint of an OthelloGPT, with its optimiser, is a third of a gigabyte."""
PART_BYTES = 1 << 22
"""Read at a time: memory for the most that could come is not asked for."""
MOST_SHARED = 2
"""Weights may take so many times the bytes of their file, where embedding and unembedding are one."""
MOST_NAMED = 8
"""Keys of each kind that a message names."""


class ImportFailed(ValueError):
    """A foreign file that cannot become a checkpoint; the message is one sentence with the remedy."""


def import_checkpoint(address: str, out: str | os.PathLike[str], heads: int | None = None) -> Card:
    """Turns a public OthelloGPT file into a checkpoint with raw weights.

    Args:
        address: a .safetensors, .pth, .pt or .ckpt file, or, with a network, an fsspec address (`hf://owner/name/file`).
        out: the checkpoint folder to write.
        heads: attention heads, which minGPT and TransformerLens 4 keys do not tell (default 8); those of TransformerLens 3 do,
            and must agree.

    Raises:
        ImportFailed: the file is missing, would run code, is of no known layout, its keys do not fit (the first few are named),
            or a weight is no finite number.
    """
    if not isinstance(address, str):
        raise ImportFailed(
            f"the address is a {type(address).__name__}, expected text; give the path of a file, or hf://owner/name/file"
        )
    if heads is not None and not (isinstance(heads, int) and heads >= 1):
        raise ImportFailed(f"{heads!r} heads were asked for, expected at least 1; give --heads a divisor of the width")
    out = Path(out)
    data = read_content(address)
    content = _opened(data, address)
    try:
        config, plain, source = _as_plain(_weights(content, len(data)), heads)
    except ImportFailed as error:
        raise ImportFailed(f"{address}: {error}") from error
    except Exception as error:  # what keys, shapes and objects a stranger chose can trip any line
        raise ImportFailed(
            f"{address} has keys or shapes that no OthelloGPT has ({type(error).__name__}); save the state dict alone"
        ) from error
    task = TaskConfig(name="othello", board=BOARD_OF_VOCAB[config.vocab])  # type: ignore[arg-type]
    card = Card(name=out.name, model=config, task=task, source=f"imported from {address.rsplit('/', 1)[-1]} ({source})")
    return save_checkpoint(out, card, {"raw": plain})


def read_content(address: str) -> bytes:
    """The bytes of a file. Raises ImportFailed for one that is missing, no plain file, or has more than `MOST_BYTES`."""
    import fsspec  # slow to import, and needed by nothing else here

    data, last = BytesIO(), address.rsplit("::", 1)[-1]  # of zip://member::file the file
    try:
        if fsspec.core.split_protocol(last)[0] in (None, "file", "local"):
            require_plain(Path(fsspec.core.strip_protocol(last)), MOST_BYTES)
        with fsspec.open(address, "rb") as file:
            while data.tell() <= MOST_BYTES and (part := file.read(PART_BYTES)):
                data.write(part)
    except Exception as error:  # every kind of address raises kinds of its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImportFailed(
            f"cannot open {address} ({reason}); give a file, or an address such as hf://owner/name/file"
        ) from error
    if data.tell() > MOST_BYTES:
        raise ImportFailed(f"{address} has more than {MOST_BYTES} bytes, which no OthelloGPT has; give the file of its weights")
    return data.getvalue()


def _opened(data: bytes, address: str) -> object:
    """What is in a file, tensors only: safetensors as they are, pickles through torch's weights-only reader."""
    try:
        if address.split("::", 1)[0].endswith(".safetensors"):
            return read_safetensors(data)
        _require_state_dict(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols and storages; what matters is in our sentence
            return torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ImportFailed(f"{address} is no valid safetensors file ({error}); download it again") from error
    except ImportFailed as error:
        raise ImportFailed(f"{address} {error}") from error
    except Exception as error:  # pickle's machine and torch's raise nearly every kind for damaged bytes
        raise ImportFailed(
            f"{address} holds more than tensors, or is damaged, and was not opened further (a pickle can run code); "
            "download it again, or save its state dict alone where you trust it"
        ) from error


def _require_state_dict(data: bytes) -> None:
    """Raises ImportFailed for a small file that could fill the memory, and nearly any error for a damaged one."""
    if _inflates(data):
        raise ImportFailed(
            "is an archive that grows when it is opened, torch stores its members as they are; "
            "save the state dict again with torch.save"
        )
    pickles, stream = LEGACY_PICKLES, BytesIO(data)
    if data.startswith(ZIP_BEGINS):  # read by torch, since others may find another member of that name
        pickles, stream = 1, BytesIO(torch._C.PyTorchFileReader(stream).get_record("data.pkl"))
    for _ in range(pickles):
        if strange := _strange_act(stream):
            raise ImportFailed(
                f"{strange}, expected dense tensors and plain values alone (a pickle can run code); "
                "save its state dict alone, as dense numbers, where you trust it"
            )


def _strange_act(stream: BytesIO) -> str | None:
    """What the next pickle of a stream does that none of a state dict does, and torch's reader would do; None for nothing.

    By any of these a few bytes become more than memory holds, or a loop without end: functions such as bytearray(10**10), a
    tuple that holds another twice, and that one a third, as a key, or a tensor that repeats one number taken for a list.
    """
    kinds, kept, before = deque(["other"], maxlen=3), {}, ""
    for operation, argument, _ in pickletools.genops(stream):
        name = operation.name
        if name in ("BINPUT", "LONG_BINPUT"):
            kept[argument] = kinds[-1]
            continue
        kind = "atom" if name in ATOMS else "other"
        if name == "GLOBAL":
            kind = "OrderedDict" if argument == "collections OrderedDict" else "atom"
            if not NEEDED_GLOBALS.fullmatch(str(argument)):
                return f"holds {str(argument)[:60]!r}"
        elif name in ("BINGET", "LONG_BINGET"):
            kind = kept[argument]
            if kind == "other":
                return "holds one object in two places"
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3") and all(one == "atom" for one in list(kinds)[-int(name[-1]) :]):
            kind = "tuple"  # of atoms, such as an optimiser's betas
        copies = kinds[-1] == "OrderedDict" and name != "EMPTY_TUPLE"
        if copies or (name == "BUILD" and before not in ("SETITEM", "SETITEMS")):
            return "fills a dictionary by what is none"
        kinds.append(kind)
        before = name
    return None


def _inflates(data: bytes) -> bool:
    """Whether a zip archive has compressed members, or ones that share their bytes: a small file could fill the memory."""
    members = zipfile.ZipFile(BytesIO(data)).infolist() if data.startswith(ZIP_BEGINS) else []
    sizes = sum(one.file_size for one in members)
    return any(one.compress_type != zipfile.ZIP_STORED for one in members) or sizes > len(data)


def _weights(content: object, size: int) -> dict[str, Tensor]:
    """The tensors of a file of `size` bytes by key, without wrapping and buffers."""
    if not isinstance(content, Mapping):
        raise ImportFailed(f"holds a {type(content).__name__} instead of a state dict; save the state dict alone")
    wrapped = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    state: Mapping[str, object] = wrapped[0] if wrapped else content
    strange = [key for key in state if not isinstance(key, str)]
    if strange:
        raise ImportFailed(f"has the key {str(strange[0])[:40]!r}, expected text alone; save the state dict alone")
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor) and not BUFFERS.search(name)}
    if tensors and all(name.startswith("module.") for name in tensors):  # saved from inside torch's DataParallel
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if needed > MOST_SHARED * size:
        raise ImportFailed(f"has {size} bytes and weights of {needed}, so they repeat or share them; save a .clone() of each")
    for name, tensor in tensors.items():
        _require_finite(name, tensor)
    return tensors


def _require_finite(name: str, tensor: Tensor) -> None:
    plain = tensor.dtype in WEIGHT_TYPES and tensor.layout == torch.strided and tensor.device.type == "cpu"
    shown = repr(name[:120])
    if not plain:
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}".replace("torch.", "")
        raise ImportFailed(f"weight {shown} is {kind}, expected dense floating-point numbers; save it as dense float32")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ImportFailed(f"weight {shown} repeats its numbers (an expanded view), expected them all; save a .clone() of it")
    if not tensor.isfinite().all():
        raise ImportFailed(f"weight {shown} holds NaN or infinity, expected finite numbers; save a step before it diverged")


def _as_plain(state: Mapping[str, Tensor], heads: int | None) -> tuple[ModelConfig, dict[str, Tensor], str]:
    """Model config, plain state dict and a few words on the layout."""
    if "tok_emb.weight" in state:
        config, plain, source = *from_mingpt(state, heads or DEFAULT_HEADS), "minGPT keys"
    elif "embed.W_E" in state:
        config, plain, folded = from_transformer_lens(state, heads)
        source = f"TransformerLens keys, LayerNorms {'folded' if folded else 'not folded'}"
    elif "embed.weight" in state:
        _require_divisor(_shape(state, "blocks.0.attn.q.weight", 2)[0], heads or DEFAULT_HEADS)
        config, plain, folded = from_transformer_lens(plain_keys(state, heads or DEFAULT_HEADS))
        source = f"TransformerLens 4 keys, LayerNorms {'folded' if folded else 'not folded'}"
    else:
        raise ImportFailed(
            "has neither minGPT keys (tok_emb.weight) nor TransformerLens keys (embed.W_E or embed.weight); "
            f"its first keys are {_named(state, 4)}; convert it to one of the three"
        )
    if config.vocab not in BOARD_OF_VOCAB:
        raise ImportFailed(f"has {config.vocab} tokens, an OthelloGPT has 61 (8x8 board) or 33 (6x6); give one of those")
    return config, plain, source


def _named(keys: Iterable[str], most: int = MOST_NAMED) -> str:
    """The first few of some keys, sorted, for a message."""
    few = [key if len(key) <= 120 else f"{key[:120]}..." for key in sorted(keys)]
    return f"{few[:most]}{f' and {len(few) - most} more' if len(few) > most else ''}" if few else "none"


def _layer_count(state: Mapping[str, Tensor]) -> int:
    numbers = {match[1] for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    beyond = [number for number in numbers if len(number) > len(str(MOST_LAYERS)) or int(number) >= MOST_LAYERS]
    if beyond:
        raise ImportFailed(
            f"the keys name a layer {beyond[0][:40]}, expected 0 .. {MOST_LAYERS - 1}; is this an OthelloGPT's state dict?"
        )
    return max(map(int, numbers), default=-1) + 1


def from_mingpt(state: Mapping[str, Tensor], heads: int = DEFAULT_HEADS) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Model config and plain state dict of minGPT weights. Raises ImportFailed naming missing, unexpected, mis-shaped keys."""
    vocab, width = _shape(state, "tok_emb.weight", 2)
    context = _shape(state, "pos_emb", 3)[1]
    layers = _layer_count(state)
    _require_divisor(width, heads)
    wanted: dict[str, tuple[int, ...]] = {
        "tok_emb.weight": (vocab, width),
        "pos_emb": (1, context, width),
        "ln_f.weight": (width,),
        "ln_f.bias": (width,),
        "head.weight": (vocab, width),
    }
    mlp_width = _shape(state, "blocks.0.mlp.0.weight", 2)[0] if "blocks.0.mlp.0.weight" in state else 4 * width
    for layer in range(layers):
        block = f"blocks.{layer}"
        for norm in ("ln1", "ln2"):
            wanted |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
        for part in ("query", "key", "value", "proj"):
            wanted |= {f"{block}.attn.{part}.weight": (width, width), f"{block}.attn.{part}.bias": (width,)}
        wanted |= {f"{block}.mlp.0.weight": (mlp_width, width), f"{block}.mlp.0.bias": (mlp_width,)}
        wanted |= {f"{block}.mlp.2.weight": (width, mlp_width), f"{block}.mlp.2.bias": (width,)}
    _check_keys(state, wanted)

    plain = {
        "embed.W_E": state["tok_emb.weight"],
        "pos_embed.W_pos": state["pos_emb"][0],
        "ln_final.w": state["ln_f.weight"],
        "ln_final.b": state["ln_f.bias"],
        "unembed.W_U": state["head.weight"].T,
        "unembed.b_U": torch.zeros(vocab, dtype=state["head.weight"].dtype),
    }
    for layer in range(layers):
        block = f"blocks.{layer}"
        for norm in ("ln1", "ln2"):
            plain |= {f"{block}.{norm}.w": state[f"{block}.{norm}.weight"], f"{block}.{norm}.b": state[f"{block}.{norm}.bias"]}
        for ours, theirs in (("Q", "query"), ("K", "key"), ("V", "value")):
            weight, bias = state[f"{block}.attn.{theirs}.weight"], state[f"{block}.attn.{theirs}.bias"]
            plain[f"{block}.attn.W_{ours}"] = rearrange(weight, "(head d) width -> head width d", head=heads)
            plain[f"{block}.attn.b_{ours}"] = rearrange(bias, "(head d) -> head d", head=heads)
        plain[f"{block}.attn.W_O"] = rearrange(state[f"{block}.attn.proj.weight"], "width (head d) -> head d width", head=heads)
        plain[f"{block}.attn.b_O"] = state[f"{block}.attn.proj.bias"]
        for ours, theirs in (("in", "0"), ("out", "2")):
            plain[f"{block}.mlp.W_{ours}"] = state[f"{block}.mlp.{theirs}.weight"].T
            plain[f"{block}.mlp.b_{ours}"] = state[f"{block}.mlp.{theirs}.bias"]
    config = _othello_config(vocab, context, layers, heads, width, width // heads, mlp_width)
    return config, plain


def from_transformer_lens(state: Mapping[str, Tensor], heads: int | None = None) -> tuple[ModelConfig, dict[str, Tensor], bool]:
    """Model config, plain state dict, and whether LayerNorms were folded away, of a pre-norm HookedTransformer's weights.

    A folded LayerNorm has lost its weight and bias into the next matrix; it comes back as weight 1, bias 0, the same function.
    """
    vocab, width = _shape(state, "embed.W_E", 2)
    context = _shape(state, "pos_embed.W_pos", 2)[0]
    layers = _layer_count(state)
    own_heads, _, head_width = _shape(state, "blocks.0.attn.W_Q", 3)
    if heads not in (None, own_heads):
        raise ImportFailed(f"--heads {heads} was asked for and the weights have {own_heads} heads; leave --heads out")
    mlp_width = _shape(state, "blocks.0.mlp.W_in", 2)[1]
    folded = not any(".ln" in f".{name}" for name in state)
    config = _othello_config(vocab, context, layers, own_heads, width, head_width, mlp_width)
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}
    norms = {name: shape for name, shape in wanted.items() if folded and ".ln" in f".{name}"}
    plain = {"unembed.b_U": torch.zeros(vocab), **state}
    _check_keys(plain, {name: shape for name, shape in wanted.items() if name not in norms})
    plain |= {name: torch.ones(shape) if name.endswith(".w") else torch.zeros(shape) for name, shape in norms.items()}
    return config, plain, folded


def _require_divisor(width: int, heads: int) -> None:
    if width % heads:
        raise ImportFailed(f"width {width} cannot be split over {heads} heads; give --heads a divisor of {width}")


def _othello_config(
    vocab: int, context: int, layers: int, heads: int, width: int, head_width: int, mlp_width: int
) -> ModelConfig:
    try:
        return ModelConfig(
            vocab=vocab,
            context=context,
            layers=layers,
            heads=heads,
            width=width,
            head_width=head_width,
            mlp_width=mlp_width,
            positions="learned",
            norm="pre",
            final_norm=True,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ImportFailed(
            f"the weights have {' '.join(map(str, first['loc']))} {first['input']} ({first['msg']}); "
            "is this an OthelloGPT's state dict?"
        ) from error


def _shape(state: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in state or state[name].ndim != dimensions or 0 in state[name].shape:
        found = f"has shape {tuple(state[name].shape)}" if name in state else "is missing"
        raise ImportFailed(f"key {name} {found}, expected {dimensions} dimensions above 0; is this an OthelloGPT's state dict?")
    return tuple(state[name].shape)


def _check_keys(state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
    missing, unexpected = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    misshaped = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if missing or unexpected or misshaped:
        raise ImportFailed(
            f"the keys do not fit an OthelloGPT: missing {_named(missing)}, unexpected {_named(unexpected)}, "
            f"mis-shaped {_named(misshaped)}; is --heads or the layout right?"
        )
