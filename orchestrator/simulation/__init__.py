"""A campaign on a virtual clock: the real loop, queues, policies and books, with the outside world replaced."""
