"""What is added to a campaign's lineage when nobody drives it: measurements and findings of later."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cognition.records import Ablation, Efficiency
from cognition.schema import key_of
from cognition.store import Store
from orchestrator.lease import lease_of
from orchestrator.run_folder import RunFolder


def append(folder: RunFolder, rows: Sequence[Ablation | Efficiency]) -> None:
    """Those that are not there yet, as the folder's driver for a moment.

    Raises:
        UsageError: somebody drives the campaign.
        OSError: the folder refuses.
    """
    lease = lease_of(folder.folder)
    lease.take(time.time())
    try:
        with Store.open(folder.folder, confirm=lease.confirm) as store:
            store.append(*(row for row in rows if not store.has(type(row), *key_of(row))))
    finally:
        lease.release()
