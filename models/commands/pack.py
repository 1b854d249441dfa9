"""`python -m models pack`: pack a corpus before it is needed, verify one, and see what it holds."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping

from models.commands.data import add_data, data_of
from models.data.index import SPLIT_NAMES, Amount, verify
from models.data.memory import read_files
from models.data.packing import pack
from models.data.spec import DataSpec, in_memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `pack`."""
    add_data(parser)
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="that tokenise side by side; all cores unless given"
    )
    parser.add_argument("--verify", action="store_true", help="compare the content hash of every shard as well")


def run(options: argparse.Namespace) -> int:
    """Pack what is not packed yet and print what it holds. Raises ValueError for what the user has to mend."""
    if options.processes < 1:
        raise ValueError(f"--processes is {options.processes}; give 1 or more")
    for line in _packed(data_of(options), options.processes, options.verify):
        print(line)
    return 0


def _packed(spec: DataSpec, processes: int, whole: bool) -> Iterable[str]:
    if in_memory(spec):
        files = read_files(spec)
        sizes = {name: len(files.arrays[name]) for name in SPLIT_NAMES}
        amounts = {n: Amount(documents=len(files.names[n]), tokens=sizes[n], text_bytes=sizes[n]) for n in SPLIT_NAMES}
        yield from _table(amounts)
        yield f"digest       {files.digest}"
        yield "held in memory when it is used: nothing was written"
        return
    found = pack(spec, processes=processes, tell=_tell)
    verify(found.folder, found.index, whole=whole)
    index = found.index
    yield from _table(index.amounts)
    yield f"tokenizer    {index.tokenizer}, {index.vocab_size:,} tokens, {index.dtype}"
    if index.num_replaced:
        yield f"undecodable  {index.num_replaced:,} documents had bytes that are no UTF-8: U+FFFD stands for them"
    yield f"digest       {index.digest}"
    yield f"{'verified whole' if whole else 'verified by sizes and ends'}: {len(index.shards)} shards in {found.folder}"


def _table(amounts: Mapping[str, Amount]) -> Iterable[str]:
    yield f"{'split':<12}{'documents':>14}{'tokens':>18}{'bytes/token':>14}"
    for name, amount in (*amounts.items(), ("all", sum(amounts.values(), Amount()))):
        ratio = amount.text_bytes / amount.tokens
        yield f"{name:<12}{amount.documents:>14,}{amount.tokens:>18,}{ratio:>14.3f}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
