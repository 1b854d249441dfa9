"""Offer a service to the outside.

step: trial
expect: honest
policy: refuses
"""

import socket


def listen(family, address):
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()


attempt("listen", lambda: listen(socket.AF_INET, ("127.0.0.1", 0)))
attempt("listen to a name", lambda: listen(socket.AF_UNIX, "\0" + ABSTRACT_NAME + "-mine"))
