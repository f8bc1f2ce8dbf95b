"""`oci-companion model list | fit | pull | export | template | rm`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from lsp_server.interrupt import cancel_on_interrupt
from lsp_server.models.catalog import DEFAULT, Family

if TYPE_CHECKING:
    from rich.console import Console

    from lsp_server.models.catalog import Device, Precision
    from lsp_server.models.export import Exporter
    from lsp_server.models.fit import Fit, Recommendation
    from lsp_server.models.machine import Memory


def add(actions: Any) -> None:
    """Add the commands to the parser's `model` group."""
    actions.add_parser("list", help="the catalog, and what of it is here").set_defaults(run=_list)

    fits = actions.add_parser("fit", help="which models fit this machine's memory, and up to what context")
    fits.add_argument("--memory", type=float, metavar="GB", help="so much instead of what is found here")
    fits.add_argument(
        "--device", choices=["cpu", "cuda"], help="a GPU if there is one, or if --memory is given"
    )
    fits.add_argument(
        "--context", type=int, default=0, metavar="TOKENS", help="room that a model must have (4096)"
    )
    fits.add_argument("--json", action="store_true", help="one JSON object on standard output")
    fits.set_defaults(run=_fit)

    get = actions.add_parser("pull", help="download a model's files")
    get.add_argument("model", nargs="?", default="", metavar="ID")
    get.set_defaults(run=_pull)

    make = actions.add_parser("export", help="make the ONNX folder that the engine loads")
    make.add_argument(
        "model",
        nargs="?",
        default="",
        metavar="ID|FILE.gguf|FOLDER",
        help="a model, your own file, or a folder that `optimum-cli export onnx` made",
    )
    make.add_argument(
        "--precision",
        choices=["fp32", "fp16", "int8", "int4"],
        help="int8 of a GGUF file where the processor is good at it, fp32 of optimum, else int4",
    )
    make.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    make.add_argument(
        "--exporter",
        choices=["gguf", "builder", "optimum"],
        help="gguf: the file's own blocks, without PyTorch (usual for a GGUF file); builder: by way of PyTorch, "
        "onnxruntime_genai's; optimum: by way of PyTorch, fp32 on the CPU",
    )
    make.add_argument("--name", default="", metavar="ID", help="what your own file or folder is to be called")
    make.add_argument(
        "--family",
        choices=get_args(Family),
        help="chat format of your own file or folder if it has no template",
    )
    make.set_defaults(run=_export)

    template = actions.add_parser("template", help="show or replace a model's chat template")
    template.add_argument("model", metavar="ID")
    template.add_argument("file", nargs="?", type=Path, metavar="FILE", help="your own, in Jinja")
    template.add_argument("--clear", action="store_true", help="forget your own")
    template.set_defaults(run=_template)

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
            export_env.BUILDER,
            lambda text: console.print(f"[dim]  {text}", highlight=False),
            cancel_on_interrupt(),
        )


def export(
    console: Console,
    model: str,
    precision: Precision | None = None,
    device: Device = "cpu",
    exporter: Exporter | None = None,
) -> None:
    """Export a model, telling each step."""
    from lsp_server.models import store
    from lsp_server.models.export import export, is_graph

    with console.status(f"Exporting {model}…") as status:

        def step(text: str) -> None:
            console.print(f"[dim]  {text}", highlight=False)
            status.update(f"Exporting {model}: {text}…")

        folder = export(model, precision, device, step, cancel_on_interrupt(), exporter)
    parity = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("parity") or {}
    if is_graph(store.entry(model)):
        done = "Taken as it is, and run"  # there is nothing to compare it with
    elif parity.get("agreement"):
        done = "Exported and checked against its source"
    else:
        done = (
            "Exported; two of its layers were checked against their source, the whole did not fit into memory"
        )
    console.print(f"{done}: {folder}", highlight=False, soft_wrap=True)


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


def _fit(options: argparse.Namespace) -> int:
    from lsp_server.models import machine, store
    from lsp_server.models.fit import LEAST_CONTEXT, exportable, fit, recommend

    if (options.memory or 1) <= 0 or options.context < 0:
        raise store.ModelError("--memory and --context take numbers above 0")
    if options.memory:
        size = int(options.memory * 1e9)
        device: Device = options.device or "cuda"
        name = "a GPU's memory, as given" if device == "cuda" else "main memory, as given"
        memories, no_gpu = [machine.Memory(device, name, size, size)], ""
    else:
        memories, no_gpu = _memories(options.device)
    here, least = memories[0], options.context or LEAST_CONTEXT
    installed = [form for form in store.installed() if form.device == here.device]
    sizes = {(form.model_id, form.precision): form.weight_bytes for form in installed}
    fits = [fit(entry, here.total, here.device, sizes) for entry in store.entries()]
    main = machine.memories("cpu")[0].total
    # A memory that is only asked about may be another machine's.
    exports = {each.entry.id for each in fits if options.memory or exportable(each.entry, here.device, main)}
    obtainable = exports | {form.model_id for form in installed}
    bytewise = here.device == "cpu" and not options.memory and machine.multiplies_bytes()
    best = recommend(fits, here.device, least, "int8" if bytewise else "int4", obtainable)
    if options.json:
        print(json.dumps(_fit_record(memories, fits, best, no_gpu, obtainable), indent=2))
    else:
        if no_gpu:
            print(f"No GPU is used: {no_gpu}.")
        _print_fits(memories, fits, best, least)
    return 0


def _memories(device: Device | None) -> tuple[list[Memory], str]:
    """What models can run in here, and why that is no GPU though there is NVIDIA's driver."""
    from lsp_server.models import machine, store

    if device is None:
        found, reason = machine.gpus()
        if found:
            return found, ""
        return machine.memories("cpu"), "" if reason == machine.NO_DRIVER else reason
    try:
        return machine.memories(device), ""
    except store.ModelError as error:
        raise store.ModelError(f"{error}; you can say how much memory one has: --memory GB") from error


def _print_fits(memories: list[Memory], fits: list[Fit], best: Recommendation | None, least: int) -> None:
    from lsp_server.models.fit import RESERVE

    here = memories[0]
    for memory in memories:
        free = f", {memory.free / 1e9:.1f} GB free now" if memory.free < memory.total else ""
        print(f"{memory.name}: {memory.total / 1e9:.1f} GB{free} {memory.uuid}".rstrip())
    if len(memories) > 1:
        print(f"A model runs on one GPU; this is for {here.name} (CUDA_VISIBLE_DEVICES={here.uuid}).")
    precisions = [form.precision for form in fits[0].forms]
    print()
    print(
        f"{'':42} {'weights':>7} {'cache':>7}  "
        + "  ".join(f"{each + ', tokens':>17}" for each in precisions)
    )
    for each in fits:
        name = each.entry.id
        if best and each is best.fit:
            name += " (recommended)"
        cells = "  ".join(
            f"{form.weights / 1e9:>6.1f} GB {_tokens(form.context, least):>7}" for form in each.forms
        )
        print(f"{name:42} {each.entry.parameters / 1e9:>5.1f} B {each.token_bytes / 1e3:>4.0f} KB  {cells}")
    print()
    print(
        "A model needs its weights, its cache for every token of prompt and reply, and "
        f"{RESERVE[here.device] / 1e9:.1f} GB besides. -: does not fit; in brackets: fewer than {least} tokens."
    )
    print(_recommended(best, here.device, least))


def _tokens(context: int, least: int) -> str:
    return f"{context}" if context >= least else f"({context})" if context else "-"


def _recommended(best: Recommendation | None, device: Device, least: int) -> str:
    from lsp_server.models import store

    if best is None:
        exported = " and can be exported in this machine's main memory" if device == "cuda" else ""
        remedy = "ask for fewer (--context), or use a server elsewhere (--endpoint)"
        return f"None has room for {least} tokens{exported}: {remedy}."
    name = best.fit.entry.id
    form = store.find(name)
    steps = [] if store.pulled(name) or form else [f"`oci-companion model pull {name}`"]
    if form is None or form.device != device:
        on = " --device cuda" if device == "cuda" else ""
        steps.append(f"`oci-companion model export {name}{on}`")
    get = f" Get it: {', then '.join(steps)}." if steps else " It is here."
    return f"Recommended: {name} at {best.form.precision}, {best.form.context} tokens: {best.reason}.{get}"


def _fit_record(
    memories: list[Memory], fits: list[Fit], best: Recommendation | None, no_gpu: str, obtainable: set[str]
) -> dict[str, Any]:
    from dataclasses import asdict

    from lsp_server.models.fit import RESERVE

    return {
        "memories": [asdict(memory) for memory in memories],
        "device": memories[0].device,
        "memory": memories[0].total,
        "reserve": RESERVE[memories[0].device],
        "no_gpu": no_gpu,
        "models": [
            {
                "id": each.entry.id,
                "parameters": each.entry.parameters,
                "token_bytes": each.token_bytes,
                "exportable": each.entry.id in obtainable,
                "forms": [asdict(form) for form in each.forms],
            }
            for each in fits
        ],
        "recommended": best
        and {
            "id": best.fit.entry.id,
            "precision": best.form.precision,
            "context": best.form.context,
            "reason": best.reason,
        },
    }


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
    if name.endswith(".gguf") or (Path(name).is_dir() and name not in {each.id for each in store.entries()}):
        kind = "folder" if Path(name).is_dir() else "file"
        name = _register(Path(name), options)
        console.print(f"Your {kind} is the model [bold]{name}", highlight=False)
    export(console, store.entry(name).id, options.precision, options.device, options.exporter)
    return 0


def _register(path: Path, options: argparse.Namespace) -> str:
    """Make a model of the user's own file or folder; return its id."""
    from lsp_server.models import adopt, store
    from lsp_server.models.exporter.optimum_folder import UnsupportedFolder
    from lsp_server.models.gguf_onnx import identify
    from lsp_server.models.gguf_onnx.architecture import UnsupportedFile

    if not path.exists():
        raise store.ModelError(f"there is no {path}")
    describe = adopt.identify if path.is_dir() else identify.identify
    try:
        own = describe(path, options.name, options.family)
    except (UnsupportedFile, UnsupportedFolder) as error:
        raise store.ModelError(f"{path}: {error}") from error
    store.register(own)
    return own.id


def _template(options: argparse.Namespace) -> int:
    from lsp_server.engine import supervise
    from lsp_server.models import store

    model = store.entry(options.model).id
    if options.clear and options.file:
        raise store.ModelError("--clear forgets your own template; it takes no FILE")
    if not options.clear and not options.file:
        return _show_template(model)
    if options.clear:
        store.chat_template_file(model).unlink(missing_ok=True)
        print(f"{model} has no template of yours.")
    else:
        print(_keep_template(model, options.file))
    if supervise.status(model).endpoint:
        print(f"The running engine goes on as it was: `oci-companion serve --model {model} --stop` ends it.")
    return 0


def _keep_template(model: str, file: Path) -> str:
    """Store the user's template if it works; return what is to be said."""
    from lsp_server.models import chat, store, template

    form = store.find(model)
    try:
        text = file.read_text(encoding="utf-8")
        sample = template.check(text, template.special_tokens(form.path) if form else {})
    except (OSError, UnicodeDecodeError) as error:
        raise store.ModelError(f"{file} cannot be read: {error}") from error
    except chat.ChatFormatError as error:
        raise store.ModelError(f"{file} is not taken: {error}") from error
    return f"{sample}\n\nStored for {model}, in front of its own: {store.keep_chat_template(model, text)}"


def _show_template(model: str) -> int:
    """Print the template in force, and beside it where it comes from."""
    from lsp_server.models import chat, store, template

    form = store.find(model)
    own, shipped = store.chat_template(model), template.shipped(form.path) if form else None
    if text := own or shipped:
        where = (
            f"yours: {store.chat_template_file(model)}" if own else f"the model's own: {form and form.path}"
        )
        print(f"{model}: {where}", file=sys.stderr)
    else:
        family = store.entry(model).family
        unknown = "" if form else "; the model is not here, and a template of its own would win"
        print(
            f"{model}: no template; the format of the family {family}, as follows{unknown}", file=sys.stderr
        )
        text = chat.render(family, template.SAMPLE)
    print(text)
    return 0


def _remove(options: argparse.Namespace) -> int:
    from lsp_server.models import store

    freed = store.remove(store.entry(options.model).id)
    print(f"{freed / 1e9:.1f} GB freed." if freed else f"{options.model} is not here.")
    return 0
