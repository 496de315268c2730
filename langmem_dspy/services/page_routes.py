"""The pages of a server: files of the package, which load nothing from elsewhere and run nothing that is in them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

_PAGES = {
    "/status": ("status.html", "text/html"),
    "/status/status.js": ("status.js", "text/javascript"),
    "/status/page.js": ("page.js", "text/javascript"),
    "/status/page.css": ("page.css", "text/css"),
    "/docs": ("docs.html", "text/html"),
    "/status/docs.js": ("docs.js", "text/javascript"),
}
# Open to everyone: there is nothing of a tenant's in them.
PATHS = frozenset({"/", *_PAGES})

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@cache
def _read(name: str) -> bytes:
    return files("langmem_dspy.services").joinpath("pages", name).read_bytes()


def _serving(name: str, kind: str) -> object:
    async def serve() -> Response:
        return Response(_read(name), headers=_HEADERS, media_type=kind)

    return serve


for _path, (_name, _kind) in _PAGES.items():
    router.add_api_route(_path, _serving(_name, _kind))  # type: ignore[arg-type]
