from __future__ import annotations

import subprocess
import sys

import pytest

from models.entry import with_entry

OURS = "import torch\nclass TokenMixer(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
LAYER = "class {name}(Module):\n    def forward(self, hidden_states, attention_mask=None):\n        {body}\n"
PART = "class {name}(Module):\n    def forward(self, x):\n        pass\n"


def layer(name: str, body: str = "pass") -> str:
    return LAYER.format(name=name, body=body)


@pytest.mark.parametrize("entry", [None, "TokenMixer"])
def test_a_text_that_defines_the_entry_stays_as_it_is(entry: str | None):
    assert with_entry(OURS, entry) == OURS


@pytest.mark.parametrize(
    "source",
    [
        "from somewhere import Thing as TokenMixer\n",
        "class A: pass\nTokenMixer = A\n",
        "TokenMixer: type = object\n",
        "try:\n    import x\nexcept ImportError:\n    TokenMixer = object\n",
        "if True:\n    def TokenMixer(): pass\n",
    ],
)
def test_any_binding_of_the_name_counts(source: str):
    assert with_entry(source) == source


def test_a_named_class_gets_the_entrys_name_in_one_line_at_the_end():
    source = layer("One") + layer("Two")
    assert with_entry(source, "One") == source + "TokenMixer = One\n"
    assert with_entry(source, "Two", "FeedForward") == source + "FeedForward = Two\n"
    assert with_entry(OURS + layer("One"), "One").endswith("\nTokenMixer = One\n")
    assert with_entry("class A(M): pass", "A") == "class A(M): pass\nTokenMixer = A\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (PART.format(name="Part") + layer("Whole"), "Whole"),
        (PART.format(name="Only"), "Only"),
        (layer("Base") + "class Whole(Base):\n    pass\n", "Whole"),
        (layer("Inner") + layer("Outer", "self.inner = Inner()"), "Outer"),
        (PART.format(name="Filter") + PART.format(name="Mixer") + "    made = Filter\n", "Mixer"),
        ("if True:\n    class Deep(M):\n        def forward(self, hidden_states): pass\n", "Deep"),
        ("class Options: pass\n" + layer("Whole"), "Whole"),
    ],
)
def test_the_one_layer_is_found(source: str, found: str):
    assert with_entry(source).splitlines()[-1] == f"TokenMixer = {found}"


@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        (layer("One") + layer("Two"), None, "its classes are One, Two: say which with --entry NAME"),
        (layer("One"), "Three", "no 'Three'; its classes are One: name one with --entry NAME"),
        ("x = 1", None, "it has no class at module level"),
        ("class A: pass", None, "not just one class"),
        (layer("One") + "class Two(One): pass\nclass Three(One): pass\n", None, "its classes are One, Two, Three"),
        ("class A(:", None, "does not parse .line 1"),
        ("x = '\0'", None, "does not parse"),
        ("(" * 5000, None, "does not parse"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_classes_and_the_remedy(source: str, entry: str | None, message: str):
    with pytest.raises(ValueError, match=message):
        with_entry(source, entry)


def test_looking_for_the_entry_needs_no_torch():
    told = subprocess.run(
        [sys.executable, "-c", "import sys, models.entry; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert told.stdout.strip() == "False"
