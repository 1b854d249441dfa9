"""Data as the command line names it."""

from __future__ import annotations

import argparse

from models.data import DataSpec, load_spec


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option that names the data."""
    parser.add_argument(
        "--data",
        metavar=("NAME", "KEY=VALUE"),
        nargs="+",
        default=["stdlib"],
        help="a file of conf/data by its name (stdlib, folder, fineweb_edu) or the path of a YAML file, and values\n"
        "that take the place of its own, as source=FOLDER or max_tokens=1000000000",
    )


def data_of(options: argparse.Namespace) -> DataSpec:
    """What `add_data` was given. Raises ValueError for what the user has to mend."""
    name, *values = options.data
    return load_spec(name, values)
