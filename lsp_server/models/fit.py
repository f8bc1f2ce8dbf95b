"""Which models fit a memory, at which precision and up to what context: arithmetic on the catalog's figures."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from .catalog import DEFAULT, Device, ModelEntry, Precision

RESERVE: dict[Device, int] = {"cuda": 2_000_000_000, "cpu": 3_000_000_000}
"""Bytes that are not for weights and cache. On a GPU: CUDA's own, workspaces, a prompt chunk's logits, and embeddings,
which an export leaves unquantised. In main memory also the system, the editor and the tests."""
PRECISIONS: dict[Device, tuple[Precision, ...]] = {"cuda": ("int4", "fp16"), "cpu": ("int4", "int8", "fp32")}
"""What is worth asking about: on a CPU the runtime widens fp16 to fp32 as it loads it (195 MB of weights took 439 MB),
and nobody gains by fp32 on a GPU."""
EXPORT: dict[tuple[Precision, Device], float] = {
    ("fp32", "cpu"): 1.25,
    ("fp16", "cpu"): 1.25,
    ("int4", "cpu"): 1.4,
    ("fp16", "cuda"): 0.65,
    ("int4", "cuda"): 0.9,
}
"""Main memory that an export by way of PyTorch takes, in sizes of the float32 weights (1.2, 1.2, 1.36, 0.6, 0.83 measured
for a model of 1.3 billion parameters, the last 0.75 for one of 3): the graph's numbers; the weights' files are mapped."""
GGUF = 1.3
"""What comes to that for a GGUF file, whose blocks are undone as it is loaded, and whose shared head becomes one of its
own: 12.7 GB in all were measured for the default model at int4 for CUDA, of 6.2 GB of float32 weights."""
LEAST_CONTEXT = 4096
"""Tokens that a model must have room for to be recommended: the longest prompt of the family's training."""

Sizes = Mapping[tuple[str, Precision], int]
"""Bytes of the weights of exported models, by id and precision: truer than parameters times bits."""


@dataclass(frozen=True)
class Form:
    """A model at one precision in a given memory."""

    precision: Precision
    weights: int
    """Bytes."""
    room: int
    """Bytes that are left for the cache; negative: so much is missing for the weights alone."""
    context: int
    """Most tokens of prompt and reply; 0: it does not fit."""


@dataclass(frozen=True)
class Fit:
    """A model in a given memory."""

    entry: ModelEntry
    token_bytes: int
    """Bytes of cache a token."""
    forms: tuple[Form, ...]
    """At each precision, the smallest first."""

    def form(self, precision: Precision) -> Form:
        """The model at one precision."""
        return next(form for form in self.forms if form.precision == precision)


@dataclass(frozen=True)
class Recommendation:
    """What to take, and why."""

    fit: Fit
    form: Form
    reason: str


def token_bytes(entry: ModelEntry, device: Device) -> int:
    """Bytes of cache a token: float16, but float32 on a CPU."""
    return entry.kv_bytes * (2 if device == "cpu" else 1)


def export_memory(entry: ModelEntry, precision: Precision, device: Device) -> int:
    """Bytes of main memory that exporting a model by way of PyTorch takes.

    Args:
        entry: the model.
        precision: wanted; fp32, fp16 or int4.
        device: what the form is for.
    """
    sizes = EXPORT[precision, device] + (GGUF if entry.is_gguf else 0)
    return int(sizes * entry.weight_bytes("fp32"))


def exportable(entry: ModelEntry, device: Device, main_memory: int) -> bool:
    """Whether a model can be exported at int4 in so much main memory.

    Args:
        entry: the model.
        device: what the form is for.
        main_memory: bytes in all.
    """
    if device == "cpu" and entry.is_gguf:
        return True  # straight from its blocks
    return export_memory(entry, "int4", device) <= main_memory - RESERVE["cpu"]


def fit(entry: ModelEntry, memory: int, device: Device, sizes: Sizes | None = None) -> Fit:
    """Say what of a model fits.

    Args:
        entry: the model.
        memory: bytes in all.
        device: where these are.
        sizes: what is known of exported models.
    """
    per_token = token_bytes(entry, device)
    forms = []
    for precision in PRECISIONS[device]:
        weights = (sizes or {}).get((entry.id, precision)) or entry.weight_bytes(precision)
        room = memory - RESERVE[device] - weights
        forms.append(Form(precision, weights, room, min(entry.context, max(0, room) // per_token)))
    return Fit(entry, per_token, tuple(forms))


def recommend(
    fits: Sequence[Fit],
    device: Device,
    least: int = LEAST_CONTEXT,
    precision: Precision = "int4",
    obtainable: Container[str] | None = None,
) -> Recommendation | None:
    """Choose a model: a large one rather than one at many bits.

    Args:
        fits: to choose from; the user's own are left out, for nothing is known of them but their size.
        device: where it is to run.
        least: tokens that there must be room for.
        precision: what models are best run at there, where it has room; otherwise int4.
        obtainable: ids of models that this machine has in a form for that device, or can export to one; None: all.

    Returns:
        None if none has that room.
    """
    able = [each for each in fits if each.form("int4").context >= least and not each.entry.path]
    if not able:
        return None
    usual = next((each for each in able if each.entry.id == DEFAULT), None)
    if device == "cpu" and usual:
        form = usual.form(precision)
        return Recommendation(
            usual,
            form if form.context >= least else usual.form("int4"),
            "on a CPU speed decides, and a token takes as long as reading all weights",
        )
    reason = f"the largest that leaves room for {least} tokens"
    if obtainable is not None:
        fitting, able = able, [each for each in able if each.entry.id in obtainable]
        if not able:
            return None
        if len(able) < len(fitting):
            reason += " and can be exported in this machine's main memory"
    best = max(able, key=lambda each: each.entry.parameters)
    return Recommendation(best, best.form("int4"), reason)
