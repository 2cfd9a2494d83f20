"""Secrets for tests, and the search for them in every file of a folder."""

import base64
import hashlib
import html
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import nbformat

from pynb_dag_runner import Pipeline, RunResult
from pynb_dag_runner.model.run_settings import ExecutorName

SECRET = 't0p-Sécret/"it\'s"+&<7f3a9c>'
"""Every encoding writes it in another way."""
SIMPLE = "sk0live0f81d4fae7dec11d0a765"
"""Every encoding but base64 leaves it as it is, so it also survives what only forgets to decode."""
NUMBER = 7300910246
DIGEST = hashlib.sha256((SECRET + SIMPLE).encode()).hexdigest()


def forms(secret: str) -> Iterator[bytes]:
    """As programs write it; made here in another way than in the code that hides it."""
    raw = secret.encode()
    yield raw
    yield json.dumps(secret)[1:-1].encode()
    yield json.dumps(secret, ensure_ascii=False)[1:-1].encode()
    yield json.dumps(json.dumps(secret))[3:-3].encode()
    yield json.dumps(repr(secret))[2:-2].encode()
    yield json.dumps(repr(secret), ensure_ascii=False)[2:-2].encode()
    yield repr(secret)[1:-1].encode()
    yield ascii(secret)[1:-1].encode()
    yield repr(f"'{secret}\"")[3:-2].encode()
    yield urllib.parse.quote(secret).encode()
    yield urllib.parse.quote_plus(secret).encode()
    yield urllib.parse.urlencode({"k": secret})[2:].encode()
    yield html.escape(secret).encode()
    yield html.escape(secret, quote=False).encode()
    yield base64.b64encode(raw).rstrip(b"=")
    yield base64.urlsafe_b64encode(raw).rstrip(b"=")
    yield raw.hex().encode()


def inside_base64(secret: str) -> Iterator[bytes]:
    """As in a header, wherever the secret begins in what is encoded."""
    for before in (b"u:", b"us:", b"use:"):
        yield base64.b64encode(before + secret.encode() + b"zz")


def assert_nowhere(top: Path, *secrets: str) -> None:
    """No file below ``top``, and no file's name, holds a secret in any form."""
    needles = {form for secret in secrets for form in forms(secret)}
    needles |= {form[6:-6] for secret in secrets for form in inside_base64(secret)}
    found = [
        (str(path.relative_to(top)), form)
        for path in top.rglob("*")
        for form in needles
        if form in os.fsencode(path.relative_to(top)) or (path.is_file() and form in path.read_bytes())
    ]
    assert found == []
    for path in top.rglob("*.ipynb"):
        text = "".join(strings_in(nbformat.read(path, as_version=4)))
        assert [needle for needle in needles if needle.decode() in text] == []
    for path in top.rglob("*.html"):
        text = html.unescape(path.read_text())
        assert [needle for needle in needles if needle.decode() in text] == []


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings_in(key)
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def write_notebook(base: Path, *cells: str) -> None:
    text = "\n\n# %%\n".join(dedent(cell).strip() for cell in ("", *cells))
    (base / "misuse.py").write_text(f'# %% tags=["parameters"]\napi_key = "none"\nconfig = number = None\n{text}\n')


def run(pipeline_: Pipeline, base: Path, executor: ExecutorName) -> RunResult:
    return pipeline_.run(executor=executor, progress=False, output_dir=base / "runs")
