"""Which address `workbench lab` and `workbench app` listen on: the loopback one, unless it is said in so many words."""

import ipaddress
from typing import Annotated

import typer

Ip = Annotated[str, typer.Option(help="Address to listen on; one that other machines can reach needs --i-know as well.")]
IKnow = Annotated[bool, typer.Option("--i-know", help="Let other machines in: whoever has the token can run any code as you.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")]
LOOPBACK = "127.0.0.1"


def require_loopback(ip: str, port: int, i_know: bool) -> None:
    """Raises typer.BadParameter for what is no address, and for one beyond loopback unless the user knows what it means."""
    try:
        address = ipaddress.ip_address(LOOPBACK if ip == "localhost" else ip)
    except ValueError as error:
        raise typer.BadParameter(f"--ip: expected an address such as {LOOPBACK} (got {ip})") from error
    if not address.is_loopback and not i_know:
        raise typer.BadParameter(
            f"--ip {ip} lets other machines in, and whoever has the token can run any code as you; leave --ip out and forward "
            f"the port (ssh -L {port}:{LOOPBACK}:{port} HOST), or add --i-know"
        )
