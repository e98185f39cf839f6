"""Pages and files for a browser on this machine: modules of JavaScript are not loaded from disk."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

HOSTS = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
"""What Chromium has to be told so that it finds this server and nothing else."""


@contextmanager
def served(**folders: Path) -> Iterator[str]:
    """The address of a server on 127.0.0.1 which has each folder under its name, as long as it is used."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map: ClassVar[dict[str, str]] = {
            **http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"
        }  # fmt: skip

        def translate_path(self, path: str) -> str:
            name, _, rest = unquote(urlsplit(path).path).lstrip("/").partition("/")
            folder = folders.get(name)
            found = None if folder is None else (folder / rest).resolve()
            inside = found is not None and folder is not None and found.is_relative_to(folder.resolve())
            return str(found) if inside else "/nonexistent"

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: the table is what is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
