"""The card of a token dataset: what made it, how much it holds, how to read it."""

from __future__ import annotations

from sqcodec.evaluation.tables import markdown_table
from sqcodec.tokens.records import TokenInfo

_READ = {
    "parquet": 'datasets.load_dataset("parquet", data_files="{here}/data/*.parquet")',
    "hf": 'datasets.load_from_disk("{here}")',
    "webdataset": 'webdataset.WebDataset("{here}/data/part-{{00000..NNNNN}}.tar").decode()',
    "npz": 'numpy.load("{here}/data/part-00000.npz")',
}

_GLOB = {"parquet": "data/*.parquet", "webdataset": "data/*.tar"}


def dataset_card(index: dict, info: TokenInfo, format: str) -> str:
    """Markdown with the front matter that the Hugging Face hub reads.

    Args:
        index: the finished ``tokens.json``.
    """
    front = ["---", "tags: [speech, audio-tokens, sqcodec]"]
    if format in _GLOB:
        front += ["configs:", "- config_name: default", f"  data_files: {_GLOB[format]}"]
    levels = " x ".join(map(str, info.levels)) if info.levels else "a codebook without levels"
    rows = {
        "model": f"`{info.model}`",
        "hash of the model": f"`{info.weights_hash}`",
        "precision": info.precision,
        "tokens a second": f"{info.token_rate:.4g} ({info.hop_length} samples at {info.sample_rate} Hz each)",
        "codebook size K": f"{info.codebook_size:,}",
        **({"bits of a token": str(info.bits)} if info.bits else {}),
        "digits of a token" if info.bits else "levels": levels,
        "token type": info.dtype.name,
        "clips": f"{index['clips']:,}",
        "tokens": f"{index['tokens']:,}",
        "hours of speech": f"{index['seconds'] / 3600:.2f}",
        "clips skipped": f"{index['skipped']} (`skipped.jsonl` says which and why)" if index["skipped"] else "0",
        "shards": f"{index['shards']}, {format}",
    }
    table = markdown_table([["", ""], *map(list, rows.items())])
    read = _READ[format].format(here="DIR")
    return "\n".join(
        [
            *front,
            "---",
            "",
            f"# Speech tokens of {info.model}",
            "",
            *table,
            "",
            "Columns: `id` (path in the corpus), `tokens`, `num_samples` (true length at the model's rate: what "
            "decoding returns), `seconds` and `sample_rate` (of the recording), `speaker`, `split`, `text`, `source`.",
            "Channels were averaged. Tokens are in order of time; digit i of a token is "
            "`token // (product of the levels before i) % level i`.",
            *(
                ["The tokens are nested: digits are groups of bits, the last one the coarsest, and `token >> n` is the "
                 f"token of {info.bits} - n bits."] if info.bits else []
            ),
            "",
            "```python",
            f"rows = {read}",
            "",
            "from sqcodec.tokens.dataset import TokenDataset  # mapped into memory, any order, decoding",
            'corpus = TokenDataset("DIR")',
            "```",
            "",
            "The licence of the recordings applies to their tokens.",
            "",
        ]
    )
