"""The sandbox in which a candidate is loaded, examined and trained; the parent's side never imports torch."""
