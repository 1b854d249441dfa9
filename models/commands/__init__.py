"""What `python -m models` can do, a module for each command: no Ray, no store, no key needed."""
