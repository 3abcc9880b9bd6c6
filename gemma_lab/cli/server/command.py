"""``gemma-lab serve``: load a model and serve it until it is interrupted."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import LabError, MissingExtra
from .limits import Limits

if TYPE_CHECKING:
    from ...lab import Lab

#: Shortest token, in characters.
MIN_TOKEN = 16


def serve_command(
    name: Annotated[
        str | None, typer.Argument(help="Alias, hub id, mini or folder. [GEMMA_LAB_MODEL, else mini-moe]")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's need --token.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is a free one.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="GEMMA_LAB_TOKEN", help="What clients send as their API key.")
    ] = None,
    served_name: Annotated[str | None, typer.Option(help="The model's name in requests.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, tokens.")] = 4096,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest prompt, tokens; the context by default.")
    ] = None,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 64,
    max_connections: Annotated[int, typer.Option(min=1, help="Open connections.")] = 512,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Largest request, 10⁶ bytes.")] = 32.0,
    max_pending_mb: Annotated[
        float, typer.Option(min=0.001, help="All requests that are held, 10⁶ bytes.")
    ] = 256.0,
    read_timeout: Annotated[float, typer.Option(min=0.05, help="Seconds to send a request.")] = 30.0,
    write_timeout: Annotated[
        float, typer.Option(min=0.05, help="Seconds that an answer may stay unread.")
    ] = 30.0,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for running answers when the server is stopped.")
    ] = 10.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    quantization: Annotated[str | None, typer.Option(help="As gemma_lab.load takes it.")] = None,
    attn_implementation: Annotated[str | None, typer.Option(help="sdpa, eager, flex_attention.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Serve a model over OpenAI's protocol: chat, streams, media, tools, JSON schemas, expert ids."""
    limits = Limits(
        max_body_mb=max_body_mb, max_pending_mb=max_pending_mb, max_prompt_tokens=max_prompt_tokens,
        max_new_tokens=max_new_tokens, max_queue=max_queue, max_connections=max_connections,
        read_timeout=read_timeout, write_timeout=write_timeout,
    )  # fmt: skip
    check_address(host, token)
    check_installed()
    from ...lab import load

    lab = load(
        name, device=device, dtype=dtype, quantization=quantization,
        attn_implementation=attn_implementation, offline=offline or None,
    )  # fmt: skip
    serve(lab, host=host, port=port, token=token, name=served_name, limits=limits, grace=grace)


def check_installed() -> None:
    """Raise `MissingExtra` unless the server's libraries are installed."""
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise MissingExtra(
            f"The server needs Starlette and uvicorn: {error}.", hint='pip install "gemma_lab[server]"'
        ) from None
    del starlette, uvicorn


def check_address(host: str, token: str | None) -> None:
    """Raise `LabError` for an address that others reach without a token, or a token that can be guessed."""
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise LabError(
            f"The token has {len(token)} characters; it needs {MIN_TOKEN} or more, in ASCII.",
            hint='For example: python -c "import secrets; print(secrets.token_urlsafe())"',
        )
    if token is None and not is_loopback(host):
        raise LabError(
            f"Others can reach {host!r}, and there is no token.",
            hint="Set GEMMA_LAB_TOKEN or --token, or leave --host out: 127.0.0.1 is this machine only.",
        )


def is_loopback(host: str) -> bool:
    """Return whether an address is one that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def serve(
    lab: Lab,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    name: str | None = None,
    limits: Limits | None = None,
    grace: float = 10.0,
) -> None:
    """Serve a loaded model until the process is interrupted (``SIGINT``) or ended (``SIGTERM``).

    Parameters
    ----------
    lab
        The model.
    host, port
        Where to listen; port 0 is a free one.
    token
        What clients must send; may be None on this machine's own addresses.
    name
        The model's name in requests; `lab`'s by default.
    limits
        Limits of requests.
    grace
        Seconds that running answers have to end when the server is stopped; then they are cut.

    Raises
    ------
    LabError
        If others can reach the address and there is no token, or the port is taken.
    MissingExtra
        Without Starlette and uvicorn (extra ``server``).
    """
    check_address(host, token)
    check_installed()
    limits = limits or Limits()
    server = build_server(lab, host=host, port=port, token=token, name=name, limits=limits, grace=grace)
    listening = _listen(server, host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1"
    typer.echo(f"{lab!r}\nServing {name or lab.name} at {address} (Ctrl-C stops)", err=True)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn delivers the signal again once it has stopped
        typer.echo("Stopped.", err=True)
    finally:
        listening.close()


def build_server(
    lab: Lab, *, host: str, port: int, token: str | None, name: str | None, limits: Limits, grace: float
) -> Any:
    """Return the ``uvicorn.Server`` of a model; the parameters are those of `serve`."""
    import uvicorn

    from .app import application
    from .protocol import StoppingServer, protocol_class, quiet_log_config

    app = application(lab, name=name or lab.name, limits=limits, token=token)
    return StoppingServer(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="asyncio",
            http=protocol_class(limits),
            ws="none",
            lifespan="on",
            log_config=quiet_log_config(),
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.max_connections,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=round(grace) + 30,  # the answers are ended before
        ),
        stop=app.state.answers.stop,
        grace=grace,
    )


def _listen(server: Any, host: str, port: int) -> Any:
    """Return the listening socket; uvicorn would end the process where the port is taken."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host.strip("[]"), port))
        made.listen(server.config.backlog)
    except OSError as error:
        made.close()
        raise LabError(
            f"Nothing can listen at {host}:{port}: {error.strerror or error}.",
            hint="Choose another --port; 0 is a free one.",
        ) from None
    return made
