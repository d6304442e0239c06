"""`workbench import`: a public OthelloGPT file becomes a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.options import folder_option


def import_(
    file: Annotated[
        str, typer.Argument(help="A .safetensors, .pth or .ckpt file, or an address such as hf://owner/name/file.")
    ],
    out: Annotated[Path, folder_option("The checkpoint folder to write.")],
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads, where the keys do not tell (default 8).")] = None,
) -> None:
    """Import an OthelloGPT in minGPT or TransformerLens keys as a checkpoint."""
    from models.importers import import_checkpoint

    card = import_checkpoint(file, out, heads)
    model = card.model
    typer.echo(
        f"imported {model.layers} layers, {model.heads} heads, width {model.width}, {model.vocab} tokens "
        f"to {out} ({card.source})"
    )
