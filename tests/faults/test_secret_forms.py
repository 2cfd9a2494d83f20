"""Each form in which common libraries and tools write a secret: made by them, and hidden, or named as not hidden."""

import ast
import base64
import codecs
import configparser
import csv
import email.message
import gzip
import html
import io
import json
import logging
import pprint
import re
import shlex
import shutil
import sqlite3
import subprocess
import textwrap
import traceback
import urllib.parse
import xml.sax.saxutils
from collections.abc import Callable
from email.mime.text import MIMEText
from pathlib import Path
from xml.etree import ElementTree

import pytest
import requests
import rich.console
import yaml
import yarl
from jinja2.sandbox import SandboxedEnvironment
from sqlalchemy import URL, literal
from sqlalchemy.dialects import postgresql

from pynb_dag_runner.secrets.masking import MASK, Redactor

SECRETS = {
    "short": "p9-x",
    "letters": "sk0live0f81d4fae7dec11d0a765",
    "punctuation": "hunter2!pa ss@w*rd'\"\\<&>%{}$`|;/?=+~",
    "non-ASCII": "t0p-Sécret ñ/ß\u20ac\U0001f600key",
    "latin": "pässwörd+Ünsicher",
    "long": "".join(f"{number:x}+Qz/{number * 7919:X}=" for number in range(1000, 1025)),
    "long with blanks": " ".join(f"word{number}é" for number in range(40)),
    "only signs": "äöü!$ßÆ\"'",
    "controls": "tab\there\x1b[31m and\x07 bell \\n",
}


def shell(command: str) -> Callable[[str], bytes]:
    """What a shell command that gets the secret as its argument writes to both streams."""

    def written(secret: str) -> bytes:
        done = subprocess.run(["bash", "-c", command, "it", secret], capture_output=True, check=True)
        return done.stdout + done.stderr

    written.needs = [word for word in ("openssl", "xxd", "hexdump", "jq", "perl", "node") if word in command]  # type: ignore[attr-defined]
    return written


def raised(call: Callable[[], object]) -> bytes:
    """The traceback of what a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is text
        return "".join(traceback.format_exception_only(error)).encode()
    raise AssertionError("nothing was raised")


def a_request(secret: str) -> bytes:
    """Nothing listens there; the exception shows the URL as it was sent."""
    return raised(lambda: requests.get(f"http://127.0.0.1:9/path?key={secret}", timeout=1))


def a_request_by_parameters(secret: str) -> bytes:
    return raised(lambda: requests.get("http://127.0.0.1:9/", params={"key": secret}, timeout=1))


def a_bad_status(secret: str) -> bytes:
    response = requests.Response()
    response.status_code, response.reason = 401, "Unauthorized"
    response.url = requests.Request("GET", f"https://example.com/{secret}/x").prepare().url or ""
    return raised(response.raise_for_status)


def a_basic_auth(secret: str) -> bytes:
    prepared = requests.Request("GET", "http://example.com/", auth=("me", secret.encode())).prepare()
    return str(prepared.headers["Authorization"]).encode()


def a_basic_auth_in_latin(secret: str) -> bytes:
    """As requests does with a text."""
    try:
        secret.encode("latin-1")
    except UnicodeEncodeError:
        return a_basic_auth(secret)
    prepared = requests.Request("GET", "http://example.com/", auth=("me", secret)).prepare()
    return str(prepared.headers["Authorization"]).encode()


def a_csv(secret: str) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(["a", secret, 'quoted "so"'])
    return out.getvalue().encode()


def an_ini(secret: str) -> bytes:
    parser, out = configparser.ConfigParser(), io.StringIO()
    parser["section"] = {"key": secret.replace("%", "%%")}
    parser.write(out)
    return out.getvalue().encode()


def an_xml(secret: str) -> bytes:
    element = ElementTree.Element("a", key=secret)
    element.text = secret
    return ElementTree.tostring(element, encoding="unicode").encode("us-ascii", "xmlcharrefreplace")


def a_mail(secret: str) -> bytes:
    return bytes(MIMEText(secret, "plain", "utf-8"))


def a_quoted_mail(secret: str) -> bytes:
    message = email.message.EmailMessage()
    message.set_content(secret, cte="quoted-printable")
    return bytes(message)


def in_sql(secret: str) -> bytes:
    """A statement with its values in it, as it is logged by those who debug."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(literal(secret).compile(dialect=dialect, compile_kwargs={"literal_binds": True})).encode()


def an_sql_error(secret: str) -> bytes:
    with sqlite3.connect(":memory:") as connection:
        return str(connection.execute("select quote(?)", [secret]).fetchone()).encode()


def a_log_record(secret: str) -> bytes:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "with %r and %s", ({"key": secret}, [secret]), None)
    return logging.Formatter().format(record).encode()


def rich_shows(secret: str) -> bytes:
    console = rich.console.Console(file=io.StringIO(), width=40, color_system=None)
    console.print(secret, markup=False, highlight=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().encode()


HIDDEN: dict[str, Callable[[str], bytes]] = {
    # Python
    "print": str.encode,
    "repr": lambda secret: repr(secret).encode(),
    "repr in a list in a dict": lambda secret: repr({"k": [secret]}).encode(),
    "repr of repr": lambda secret: repr(repr(secret)).encode(),
    "repr of bytes": lambda secret: repr(secret.encode()).encode(),
    "repr of repr of bytes": lambda secret: repr([repr(secret.encode())]).encode(),
    "ascii": lambda secret: ascii(secret).encode(),
    "key error": lambda secret: raised(lambda: dict[str, int]()[secret]),
    "key error of bytes": lambda secret: raised(lambda: dict[bytes, int]()[secret.encode()]),
    "pprint": lambda secret: pprint.pformat({"k": secret}, width=500).encode(),
    "ast.unparse": lambda secret: ast.unparse(ast.Constant(secret)).encode(),
    "logging": a_log_record,
    "backslashreplace": lambda secret: secret.encode("ascii", "backslashreplace"),
    "xmlcharrefreplace": lambda secret: secret.encode("ascii", "xmlcharrefreplace"),
    "namereplace": lambda secret: secret.encode("ascii", "namereplace"),
    "unicode_escape": lambda secret: secret.encode("unicode_escape"),
    "Latin-1": lambda secret: secret.encode("latin-1", "backslashreplace"),
    "UTF-8 read as Latin-1": lambda secret: secret.encode().decode("latin-1").encode(),
    "re.escape": lambda secret: re.escape(secret).encode(),
    "list of bytes": lambda secret: str(list(secret.encode())).encode(),
    # JSON, YAML and their like
    "json": lambda secret: json.dumps(secret).encode(),
    "json, not ASCII": lambda secret: json.dumps(secret, ensure_ascii=False).encode(),
    "json in json": lambda secret: json.dumps(json.dumps({"k": secret})).encode(),
    "json in json in json": lambda secret: json.dumps(json.dumps(json.dumps(secret))).encode(),
    "repr in json": lambda secret: json.dumps({"text": repr([secret])}).encode(),
    "json with escaped slashes": lambda secret: json.dumps(secret).replace("/", "\\/").encode(),
    "yaml": lambda secret: yaml.safe_dump({"k": secret}).encode(),
    "yaml, not ASCII": lambda secret: yaml.safe_dump({"k": secret}, allow_unicode=True).encode(),
    "yaml, double-quoted": lambda secret: yaml.safe_dump(secret, default_style='"').encode(),
    "yaml, single-quoted": lambda secret: yaml.safe_dump(secret, default_style="'").encode(),
    "yaml binary": lambda secret: yaml.safe_dump({"k": secret.encode()}).encode(),
    "csv": a_csv,
    "ini": an_ini,
    # URLs
    "quote": lambda secret: urllib.parse.quote(secret).encode(),
    "quote, nothing safe": lambda secret: urllib.parse.quote(secret, safe="").encode(),
    "quote_plus": lambda secret: urllib.parse.quote_plus(secret).encode(),
    "quote twice": lambda secret: urllib.parse.quote(urllib.parse.quote(secret, safe="")).encode(),
    "quote in small letters": lambda secret: re.sub(
        "%..", lambda found: found[0].lower(), urllib.parse.quote(secret)
    ).encode(),
    "quote in Latin-1": lambda secret: (
        urllib.parse.quote(secret, encoding="latin-1", errors="ignore").encode()
        if secret.encode("latin-1", "ignore").decode("latin-1") == secret
        else b""
    ),
    "urlencode": lambda secret: urllib.parse.urlencode({"k": secret}).encode(),
    "requests, in an exception": a_request,
    "requests with params, in an exception": a_request_by_parameters,
    "requests, raise_for_status": a_bad_status,
    "Basic authorisation": a_basic_auth,
    "Basic authorisation in Latin-1": a_basic_auth_in_latin,
    "SQLAlchemy's URL": lambda secret: (
        URL.create("postgresql", "me", secret, "h").render_as_string(hide_password=False).encode()
    ),
    "yarl, as aiohttp shows": lambda secret: str(
        yarl.URL.build(scheme="http", user="me", password=secret, host="h", path="/x")
    ).encode(),
    "yarl's query": lambda secret: str(yarl.URL("http://h/").with_query({"k": secret})).encode(),
    # markup
    "html.escape": lambda secret: html.escape(secret).encode(),
    "html.escape twice": lambda secret: html.escape(html.escape(secret)).encode(),
    "html of json": lambda secret: html.escape(json.dumps({"k": secret})).encode(),
    "html of repr": lambda secret: html.escape(repr([secret])).encode(),
    "jinja2": lambda secret: SandboxedEnvironment(autoescape=True).from_string("{{ s }}").render(s=secret).encode(),
    "saxutils": lambda secret: xml.sax.saxutils.quoteattr(secret).encode(),
    "ElementTree": an_xml,
    "HTML entities by name": lambda secret: "".join(
        f"&{name};" if (name := html.entities.codepoint2name.get(ord(character))) else character for character in secret
    ).encode(),
    "HTML entities by number": lambda secret: "".join(f"&#x{ord(character):x};" for character in secret).encode(),
    # SQL
    "SQL literal": in_sql,
    "SQLite's quote": an_sql_error,
    # base64 and digits
    "base64": lambda secret: base64.b64encode(secret.encode()),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()),
    "base64 in a URL": lambda secret: urllib.parse.quote(base64.b64encode(secret.encode()), safe="").encode(),
    "base64 of something longer": lambda secret: base64.b64encode(b"user:" + secret.encode() + b"@host"),
    "encodebytes": lambda secret: base64.encodebytes(secret.encode()),
    "repr of encodebytes": lambda secret: repr(base64.encodebytes(secret.encode())).encode(),
    "encodebytes of something longer": lambda secret: base64.encodebytes(b"x" * 49 + secret.encode() + b"y" * 60),
    "MIME": a_mail,
    "hex": lambda secret: secret.encode().hex().encode(),
    "hex in capitals": lambda secret: secret.encode().hex().upper().encode(),
    "hex with blanks": lambda secret: secret.encode().hex(" ").encode(),
    "hex with colons": lambda secret: secret.encode().hex(":", 2).encode(),
    "hex, as in C": lambda secret: ", ".join(f"0x{byte:02x}" for byte in secret.encode()).encode(),
    "all escaped": lambda secret: "".join(f"\\x{byte:02x}" for byte in secret.encode()).encode(),
    "all percent-encoded": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()).encode(),
    "quoted-printable": lambda secret: codecs.encode(secret.encode(), "quopri"),
    "quoted-printable in a repr": lambda secret: repr(codecs.encode(secret.encode(), "quopri")).encode(),
    # shells and their tools
    "shlex.quote": lambda secret: shlex.quote(secret).encode(),
    "bash, printf %q": shell('printf %q "$1"'),
    "bash, set -x": shell('set -x; : "$1"'),
    "bash, ${1@Q}": shell('echo "${1@Q}"'),
    "bash, declare -p": shell('k="$1"; declare -p k'),
    "bash, a failing command": shell('"/$1/x" || true'),
    "base64 FILE": shell('printf %s "$1" | base64'),
    "openssl base64": shell('printf %s "$1" | openssl base64'),
    "xxd -p": shell('printf %s "$1" | xxd -p'),
    "od -An -tx1 -v": shell('printf %s "$1" | od -An -tx1 -v'),
    "hexdump -ve": shell('printf %s "$1" | hexdump -ve \'1/1 "%02x"\''),
    "jq": shell("jq -n --arg k \"$1\" '{k: $k}'"),
    "jq @uri": shell("jq -rn --arg k \"$1\" '$k | @uri'"),
    "jq @sh": shell("jq -rn --arg k \"$1\" '$k | @sh'"),
    "perl quotemeta": shell("perl -e 'print quotemeta shift' \"$1\""),
    "node": shell("node -e 'console.log([process.argv[1]], encodeURIComponent(process.argv[1]))' -- \"$1\""),
    # lines
    "broken by a width": lambda secret: "\n".join(secret[at : at + 30] for at in range(0, len(secret), 30)).encode(),
    "wrapped and indented": lambda secret: textwrap.fill(
        secret,
        40,
        subsequent_indent="    ",
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
        drop_whitespace=True,
    ).encode(),
    "rich": rich_shows,
}
"""Who writes it: what is written."""

IN_NUMBERS = ("list of bytes", "hex with blanks", "hex with colons", "hex, as in C", "od -An -tx1 -v")
IN_BASE64 = ("base64 of something longer", "encodebytes of something longer")
LEFT_OUT = {
    *((name, "short") for name in (*IN_NUMBERS, *IN_BASE64)),  # such would be found by chance
    ("rich", "controls"),  # it leaves them out
}

NOT_HIDDEN: dict[str, Callable[[str], bytes]] = {
    "UTF-16": lambda secret: secret.encode("utf-16-le"),
    "base32": lambda secret: base64.b32encode(secret.encode()),
    "base85": lambda secret: base64.b85encode(secret.encode()),
    "compressed": lambda secret: gzip.compress(secret.encode()),
    "ROT13": lambda secret: codecs.encode(secret, "rot13").encode(),
    "reversed": lambda secret: secret[::-1].encode(),
    "capitals": lambda secret: secret.upper().encode(),
    "one character at a time": lambda secret: repr(list(secret)).encode(),
    "od -c": shell('printf %s "$1" | od -c'),
    "columns of `hexdump -C`": shell('printf %s "$1" | hexdump -C'),
    "octal": lambda secret: "".join(f"\\{byte:03o}" for byte in secret.encode()).encode(),
    "colours between its characters": lambda secret: "\x1b[1m".join(secret).encode(),
    "borders of a table": lambda secret: " │\n│ ".join(secret[at : at + 5] for at in range(0, len(secret), 5)).encode(),
}
"""What docs/secrets.md must name: what is written."""

PLAIN = "zqzqzqzqzqzq"
"""A secret in the place of which it is easy to see what else is written."""
ENDS_OF_BASE64 = 4
"""Characters that hold bits of the neighbours, too."""


def redacted(secret: str, written: bytes) -> str:
    stream = Redactor([secret]).stream()
    return (stream.feed(written) + stream.end()).decode("utf-8", "surrogateescape")


def letters(text: str) -> str:
    """Letters and digits, without the addresses of objects."""
    return "".join(re.findall("[0-9A-Za-z]", re.sub(r"0x[0-9a-f]{9,}", "", text.replace("\\n", ""))))


@pytest.mark.parametrize("name", HIDDEN)
def test_what_a_tool_writes_is_hidden(name: str) -> None:
    tool = HIDDEN[name]
    lacking = [need for need in getattr(tool, "needs", ()) if shutil.which(need) is None]
    if lacking:
        pytest.skip(f"there is no {lacking[0]} on this machine")
    around = len(letters(redacted(PLAIN, tool(PLAIN))))
    shown = {}
    for kind, secret in SECRETS.items():
        written = b"" if (name, kind) in LEFT_OUT else tool(secret)
        hidden = redacted(secret, written)
        if written and (MASK not in hidden or len(letters(hidden)) > around + ENDS_OF_BASE64):
            shown[kind] = (written, hidden)
    assert shown == {}


@pytest.mark.parametrize("size", [3, 64])
def test_pieces_hide_what_the_whole_does(size: int) -> None:
    names = ("repr of bytes", "html of repr", "yarl's query", "encodebytes", "rich")
    for secret in SECRETS.values():
        written = b"\n".join(b"<" + HIDDEN[name](secret) + b">" for name in names)
        stream = Redactor([secret]).stream()
        pieces = b"".join(stream.feed(written[at : at + size]) for at in range(0, len(written), size)) + stream.end()
        assert pieces.decode() == redacted(secret, written)


@pytest.mark.parametrize("name", NOT_HIDDEN)
def test_what_is_not_hidden_is_named(name: str) -> None:
    tool = NOT_HIDDEN[name]
    words = " ".join((Path(__file__).parents[2] / "docs" / "secrets.md").read_text().split())
    assert name in words
    if all(shutil.which(need) for need in getattr(tool, "needs", ())):
        secret = SECRETS["letters"]
        assert MASK not in redacted(secret, tool(secret))
