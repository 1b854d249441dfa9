#!/bin/sh
# Trains the candidate of this folder again, in the jail, at its stage and seed, and compares the figures.
# Exit code 0: they agree (to the bit on the machine and versions of environment.json, within the printed tolerance
# elsewhere), 1: they do not, 2: something is missing.
#
#   PROJECT=CHECKOUT ./reproduce.sh               sets up requirements.txt in .reproduce/ first
#   PROJECT=CHECKOUT PYTHON=python ./reproduce.sh  with an interpreter that has it all
#   ./reproduce.sh --source FOLDER                 where the text lies here, if elsewhere
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ -n "${PROJECT:-}" ]; then
    PYTHONPATH=$(CDPATH='' cd -- "$PROJECT" && pwd)${PYTHONPATH:+:$PYTHONPATH}
    export PYTHONPATH
fi
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$here/.reproduce/bin/python
    if [ ! -x "$PYTHON" ]; then
        python3 -m venv "$here/.reproduce"
        "$PYTHON" -m pip install --quiet -r "$here/requirements.txt"
    fi
fi
if ! "$PYTHON" -c 'import models.commands.reproduce' 2>/dev/null; then
    echo "error: $PYTHON cannot import the project: set PROJECT to a checkout of the revision in requirements.txt" >&2
    exit 2
fi
exec "$PYTHON" -m models reproduce "$here" "$@"
