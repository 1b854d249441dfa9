"""A node whose corpus is not the campaign's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cognition.reader import Reader
from cognition.records import Charge, ChargeOutcome, Trial
from orchestrator.campaign import Campaign


class Changing:
    """Changes the text once the driver has read it: whoever reads it from now on is like another node."""

    def __init__(self, corpus: Path) -> None:
        self.corpus = corpus

    def started(self, campaign: Campaign) -> None:
        self.kept = (self.corpus / "0.txt").read_text()
        (self.corpus / "0.txt").write_text("another text " * 500)

    def recorded(self, *_: Any) -> None: ...

    tick = ended = failed = recorded


def test_a_campaign_ends_where_a_node_has_another_corpus_and_goes_on_once_it_is_mended(
    ray_here: None, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(40):
        (corpus / f"{number}.txt").write_text(f"state decay gate memory chunk head {number} " * 50)
    told = ("+campaign=linear_attn", "scale=tiny", "tracking=none", "budget.candidates=1", "stages.verify.best=0")
    told += ("data=folder", f"data.source={corpus}", f"run.root={tmp_path}", "run.name=it")
    change = Changing(corpus)
    result = Campaign.compose(*told, views=[change]).run()
    assert result.fault
    assert re.search(r"the corpus on .* is another one \(.*put the driver's data there", result.stopped_by or "")
    reader = Reader(tmp_path / "it")
    assert reader.rows(Trial) == []
    assert {charge.outcome for charge in reader.rows(Charge)} <= {ChargeOutcome.lost}

    (corpus / "0.txt").write_text(change.kept)
    assert Campaign.compose(*told).run().stopped_by is None
    assert all(trial.succeeded for trial in Reader(tmp_path / "it").rows(Trial))
