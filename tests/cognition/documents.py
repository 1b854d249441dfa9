"""Small real files to add papers from: PDFs written by hand, since no dependency writes text into one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BODY = (
    "We rotate the gate of a linear attention layer before it multiplies the state. The memory then forgets along "
    "directions that the input chooses, and what was stored in the others survives. In small experiments recall of "
    "key value pairs improves while the loss on text stays as it was. The cost is one more projection for each head."
)
TITLE = "Rotated Gates Keep What Linear Attention Would Forget"


def pdf(path: Path, pages: Sequence[Sequence[str]], *, title: str = "", compressed: bool = True) -> Path:
    """A PDF with a line of text for each string; a page without lines draws a box."""
    objects: list[bytes] = [b"", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        shown = "".join(f"({_escaped(line)}) Tj 0 -14 Td\n" for line in lines)
        content = (f"BT /F1 11 Tf 50 780 Td\n{shown}ET" if lines else "10 10 100 100 re f").encode("latin-1")
        data = zlib.compress(content) if compressed else content
        how = b"/Filter /FlateDecode " if compressed else b""
        objects.append(b"<< %b/Length %d >>\nstream\n%b\nendstream" % (how, len(data), data))
        page = f"/Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R"
        objects.append(f"<< /Type /Page {page} /Resources << /Font << /F1 3 0 R >> >> >>".encode())
        kids.append(f"{len(objects)} 0 R")
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    objects.append(f"<< /Title ({_escaped(title)}) >>".encode("latin-1"))
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, text in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, text)
    table = len(out)
    rows = "".join(f"{place:010d} 00000 n \n" for place in places)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{rows}".encode()
    info = f"/Root 1 0 R /Info {len(objects)} 0 R"
    out += f"trailer << /Size {len(objects) + 1} {info} >>\nstartxref\n{table}\n%%EOF\n".encode()
    path.write_bytes(out)
    return path


def paper_pdf(path: Path, *, stamp: str = "arXiv:2503.01234v2  [cs.LG]  4 Mar 2025", title: str = TITLE) -> Path:
    """A paper of two pages as arXiv would print it."""
    words = BODY.split()
    lines = [" ".join(words[place : place + 9]) for place in range(0, len(words), 9)]
    first = [title, "A. Writer and B. Writer", "Preprint", "Abstract", *lines, stamp]
    return pdf(path, [first, ["We build on the delta rule (arXiv:2406.06484, 2024).", *lines]])


def entry(**changes: Any) -> dict[str, Any]:
    """An entry as a model might give it."""
    values = {
        "name": "rotated_gate",
        "slots": ["token_mixer"],
        "trigger": "Recall of early pairs fades within a few hundred tokens although the gate is mostly open.",
        "wordings": ["Old associations vanish while their keys are never written again."],
        "insight": "Rotate the gate before it multiplies the state, so that only chosen directions are forgotten.",
        "mechanism": "A gate that acts along the axes shrinks all that is stored there; a learned rotation moves the "
        "shrinking to directions that the input picks for each step.",
        "equation": "S_t = R_t diag(g_t) R_t^T S_(t-1) + v_t k_t^T",
        "implementation": "q, k, v [B, T, H, K]; the rotation is a product of two reflections from a projection of x; "
        "apply it to keys and queries, then gla(q, k, v, g).",
        "operators": ["gla"],
        "cost": "one more projection of D x H K, otherwise that of gla",
        "state": "H * K * V floats",
        "failure_modes": "With a rotation that changes too fast nothing is ever forgotten, and the state grows noisy.",
    }
    return {**values, **changes}


def values(**changes: Any) -> dict[str, Any]:
    """A paper's values as a model might give them."""
    return {"title": TITLE, "year": 2025, "topic": "gated_recurrence", "entries": [entry()], **changes}


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
