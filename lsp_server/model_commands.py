"""`oci-companion model list | pull | export | rm`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lsp_server.interrupt import cancel_on_interrupt
from lsp_server.models.catalog import DEFAULT, Family

if TYPE_CHECKING:
    from rich.console import Console

    from lsp_server.models.catalog import Device, Precision
    from lsp_server.models.export import Exporter


def add(actions: Any) -> None:
    """Add the commands to the parser's `model` group."""
    actions.add_parser("list", help="the catalog, and what of it is here").set_defaults(run=_list)

    get = actions.add_parser("pull", help="download a model's files")
    get.add_argument("model", nargs="?", default="", metavar="ID")
    get.set_defaults(run=_pull)

    make = actions.add_parser("export", help="make the ONNX folder that the engine loads")
    make.add_argument(
        "model", nargs="?", default="", metavar="ID|FILE.gguf", help="a model, or your own file"
    )
    make.add_argument("--precision", default="int4", choices=["fp32", "fp16", "int4"])
    make.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    make.add_argument(
        "--exporter",
        choices=["gguf", "builder"],
        help="gguf: the file's own blocks, without PyTorch (usual for a GGUF file); builder: by way of PyTorch",
    )
    make.add_argument("--name", default="", metavar="ID", help="what your own file is to be called")
    make.add_argument(
        "--family", choices=get_args(Family), help="chat format of your own file if it has no template"
    )
    make.set_defaults(run=_export)

    remove = actions.add_parser("rm", help="delete a model")
    remove.add_argument("model", metavar="ID")
    remove.set_defaults(run=_remove)


def pull(console: Console, model: str) -> None:
    """Download a model's files under a progress bar, and what exporting them takes: all that needs the network."""
    from lsp_server.models import export_env, store
    from lsp_server.models.export import source_of, usual_exporter
    from lsp_server.models.pull import pull
    from lsp_server.terminal import download_progress

    with download_progress(console) as bar:
        task = bar.add_task(f"Pulling {model}", total=None)
        folder = pull(
            model, lambda have, total: bar.update(task, completed=have, total=total), cancel_on_interrupt()
        )
    console.print(f"Pulled and verified: {folder}", highlight=False, soft_wrap=True)
    if usual_exporter(source_of(store.entry(model)), "int4", "cpu") == "gguf":
        return
    with console.status("Making the export environment…"):
        export_env.ensure(
            lambda text: console.print(f"[dim]  {text}", highlight=False), cancel_on_interrupt()
        )


def export(
    console: Console,
    model: str,
    precision: Precision = "int4",
    device: Device = "cpu",
    exporter: Exporter | None = None,
) -> None:
    """Export a model, telling each step."""
    from lsp_server.models.export import export

    with console.status(f"Exporting {model}…") as status:

        def step(text: str) -> None:
            console.print(f"[dim]  {text}", highlight=False)
            status.update(f"Exporting {model}: {text}…")

        folder = export(model, precision, device, step, cancel_on_interrupt(), exporter)
    console.print(f"Exported and checked against its source: {folder}", highlight=False, soft_wrap=True)


def _list(options: argparse.Namespace) -> int:
    from lsp_server.models import store

    here = {form.model_id: form for form in store.installed()}
    print(f"{'model':38} {'weights':>7} {'int4':>8}  {'licence':27} here")
    for entry in store.entries():
        form = here.get(entry.id)
        state = "pulled" if entry.path or store.pulled(entry.id) else "-"
        if form:
            state = f"{form.precision} {form.device}, {form.size / 1e9:.1f} GB"
        name = f"{entry.id} (default)" if entry.id == DEFAULT else entry.id
        size = f"{entry.weight_bytes('int4') / 1e9:.1f} GB"
        print(f"{name:38} {entry.parameters / 1e9:>5.1f} B {size:>8}  {entry.licence:27} {state}")
    return 0


def _pull(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.models import store

    pull(Console(), store.entry(options.model or DEFAULT).id)
    return 0


def _export(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.models import store

    console = Console()
    name = options.model or DEFAULT
    if name.endswith(".gguf"):
        name = _register(Path(name), options)
        console.print(f"Your file is the model [bold]{name}", highlight=False)
    export(console, store.entry(name).id, options.precision, options.device, options.exporter)
    return 0


def _register(path: Path, options: argparse.Namespace) -> str:
    """Make a model of the user's own file; return its id."""
    from lsp_server.models import store
    from lsp_server.models.gguf_onnx.architecture import UnsupportedFile
    from lsp_server.models.gguf_onnx.identify import identify

    if not path.is_file():
        raise store.ModelError(f"{path} is not a file")
    try:
        own = identify(path, options.name, options.family)
    except UnsupportedFile as error:
        raise store.ModelError(f"{path}: {error}") from error
    store.register(own)
    return own.id


def _remove(options: argparse.Namespace) -> int:
    from lsp_server.models import store

    freed = store.remove(store.entry(options.model).id)
    print(f"{freed / 1e9:.1f} GB freed." if freed else f"{options.model} is not here.")
    return 0
