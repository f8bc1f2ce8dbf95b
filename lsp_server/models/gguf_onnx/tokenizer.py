"""The tokenizer inside a GGUF file, written as the `tokenizer.json` that Hugging Face's tokenizers library reads."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from lsp_server.models.chat import END_OF_TURN

from .architecture import GgufFile, UnsupportedFile

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
"""Values of `tokenizer.ggml.token_type` that are matched whole before anything is split."""

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")


def write(file: GgufFile, folder: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and, if the file has a template, `chat_template.jinja`.

    Args:
        file: with a byte-level BPE vocabulary (`gpt2`) or a SentencePiece one (`llama`).
        folder: exists.

    Raises:
        UnsupportedFile: another kind of vocabulary, or an unknown way of splitting text before it is merged.
    """
    tokens = file.need("tokenizer.ggml.tokens")
    kind = file.need("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer = _byte_level(file, tokens)
    elif kind == "llama":
        tokenizer = _sentence_piece(file, tokens)
    else:
        raise UnsupportedFile(f"its vocabulary is of the kind '{kind}', which is not converted here")
    kinds = file.field("tokenizer.ggml.token_type", [])
    for special in (True, False):
        wanted = (CONTROL, UNKNOWN) if special else (USER_DEFINED,)
        added = [
            AddedToken(token, special=special, normalized=False)
            for token, type_ in zip(tokens, kinds, strict=False)
            if type_ in wanted
        ]
        tokenizer.add_special_tokens(added) if special else tokenizer.add_tokens(added)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: file.field(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}
    config = {name: tokens[token] for name, token in ids.items() if token is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    if template := file.field("tokenizer.chat_template"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def stop_ids(file: GgufFile) -> list[int]:
    """Ids that end a reply: the file's own, and control tokens known to."""
    kinds, tokens = file.field("tokenizer.ggml.token_type", []), file.need("tokenizer.ggml.tokens")
    known = {
        i for i, token in enumerate(tokens[: len(kinds)]) if token in END_OF_TURN and kinds[i] == CONTROL
    }
    own = {file.field(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot")}
    return sorted(known | {int(i) for i in own if i is not None})


def _byte_level(file: GgufFile, tokens: list[str]) -> Tokenizer:
    merges = [tuple(merge.split(" ", 1)) for merge in file.need("tokenizer.ggml.merges")]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    try:
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    except Exception as error:  # The library raises bare Exceptions.
        raise UnsupportedFile(f"its vocabulary is damaged: {error}") from error
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    way = _way_to_split(file, vocabulary)
    if way == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
        split = [pre_tokenizers.Split(Regex(QWEN2), "isolated"), bytes_only]
    elif way == "deepseek-coder":
        splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in DEEPSEEK_CODER]
        split = [*splits, pre_tokenizers.Digits(individual_digits=True), bytes_only]
    elif way in ("starcoder", "refact", "command-r"):
        split = [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    elif way == "gpt-2":
        split = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        raise UnsupportedFile(f"it splits text in the way '{way}', which is not converted here")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _way_to_split(file: GgufFile, vocabulary: dict[str, int]) -> str:
    """What the file names, or, for files from before there was a name for it, what its network was trained with."""
    named = str(file.field("tokenizer.ggml.pre", "default"))
    if named != "default":
        return named
    network = file.need("general.architecture")
    if network == "llama" and "<｜begin▁of▁sentence｜>" in vocabulary and "<|EOT|>" in vocabulary:
        return "deepseek-coder"
    return {"qwen2": "qwen2", "starcoder2": "starcoder"}.get(network, named)


def _sentence_piece(file: GgufFile, tokens: list[str]) -> Tokenizer:
    """SentencePiece's BPE has scores instead of merges: whatever two pieces make a third are merged, best first.

    Of one score, the pair whose left piece is longer goes first, as in transformers: runs are merged from their left.
    """
    scores = file.need("tokenizer.ggml.scores")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    found = []
    for token, i in vocabulary.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary:
                found.append((-scores[i], -len(left), -len(right), i, (left, right)))
    found.sort()
    unknown = file.field("tokenizer.ggml.unknown_token_id")
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=[pair for *_, pair in found],
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = bool(file.field("tokenizer.ggml.add_space_prefix", True))
    spaces = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else normalizers.Sequence([spaces])
    )
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if prefix else back)
    return tokenizer
