#!/bin/sh
# Trains the candidate of this folder again, in the jail, at its stage and seed, and compares the figures.
# Exit code 0: they agree, 1: they do not, 2: something is missing. Trained on the CPU they agree to the bit on the
# processor and versions of reproduce.json, elsewhere within the printed tolerance; trained on a GPU always within the
# tolerance, since training there is not deterministic.
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
    installed=$here/.reproduce/installed.txt # written last: an installation that broke off is done again
    if ! cmp -s "$here/requirements.txt" "$installed"; then
        if ! { python3 -m venv "$here/.reproduce" && "$PYTHON" -m pip install --quiet -r "$here/requirements.txt" &&
            cp "$here/requirements.txt" "$installed"; }; then
            echo "error: requirements.txt could not be installed in $here/.reproduce (the reason is above): mend it," \
                "or give an interpreter that has it all as PYTHON" >&2
            exit 2
        fi
    fi
fi
if ! "$PYTHON" -c 'import models.commands.reproduce'; then
    echo "error: $PYTHON cannot import the project (the reason is above): without a module named models, set PROJECT" \
        "to a checkout of the revision in requirements.txt; without another one, install it" >&2
    exit 2
fi
exec "$PYTHON" -m models reproduce "$here" "$@"
