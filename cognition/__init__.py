"""What is known: records, the append-only store, SQL, lineage, statistics, novelty."""
