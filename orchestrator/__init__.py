"""The campaign: the loop, selection, actors, the trial engine and the report."""
