"""What there is to reach outside the jail, laid out for those who try."""

import os
import socket
from pathlib import Path

from models.sandbox import wire
from models.sandbox.parent import ForkServer

ROOT = Path(__file__).resolve().parents[3]


class Surroundings:
    """What there is to reach outside the jail."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o711)
        for name, mode in (("secret", 0o600), ("open", 0o666)):
            (folder / name).write_text(name)
            (folder / name).chmod(mode)
        self.folder = folder
        self.listener = socket.create_server(("127.0.0.1", 0))

    def told(self, name: str, server: ForkServer) -> dict[str, wire.Json]:
        return {
            "name": name,
            "root": str(ROOT),
            "folder": str(self.folder),
            "server": server.start(),
            "parent": os.getpid(),
            "port": self.listener.getsockname()[1],
        }
