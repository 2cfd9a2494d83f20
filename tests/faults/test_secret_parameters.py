"""Secrets as parameters: given, refused, handed on, given again at a resume; and found in all that is written."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pynb_dag_runner import ParameterError, Pipeline, PipelineError, Secret, UsageError, pipeline
from pynb_dag_runner.secrets.masking import MASK, Redactor
from tests.end_to_end.cli_process import pynb
from tests.faults.leaks import NUMBER, SECRET, SIMPLE, assert_nowhere, forms, inside_base64, run, write_notebook


def exits(api_key: str) -> None:
    sys.exit(f"no use for {api_key}")


class Client:
    """What JSON can't hold."""

    def __init__(self, key: str) -> None:
        self.key = key


def make_client(api_key: str) -> Client:
    return Client(api_key)


def use_client(client: Client, count: int) -> bool:
    return client.key == SECRET and count > 0


def test_a_kept_return_value_with_a_secret_is_handed_on_and_made_again_at_a_resume(tmp_path: Path) -> None:
    def build(count: int) -> Pipeline:
        p = Pipeline("kept", base_dir=tmp_path)
        made = p.function(make_client, name="made", parameters={"api_key": Secret(SECRET)})
        p.function(use_client, name="used", parameters={"client": made.output(), "count": count})
        return p

    first = run(build(1), tmp_path, "process")
    assert first.tasks["used"].outputs == {"return": True}
    assert first.tasks["made"].attempts[0].redacted_outputs == ("return",)
    assert not list(first.folder.rglob("return.pkl"))
    assert_nowhere(first.folder, SECRET)

    unchanged = build(1).resume(first.folder, executor="process", progress=False)
    assert [task.status for task in unchanged.tasks.values()] == ["SUCCEEDED", "SUCCEEDED"]
    assert [len(task.attempts) for task in unchanged.tasks.values()] == [1, 1]

    again = build(2).resume(first.folder, executor="process", progress=False)
    assert again.tasks["used"].outputs == {"return": True}
    assert {name: len(task.attempts) for name, task in again.tasks.items()} == {"made": 2, "used": 2}
    assert_nowhere(first.folder, SECRET)


def show(api_key: str) -> None:
    print("here:", api_key)


def set_key(api_key: str) -> str:
    return api_key


def fail_unless(key: str, good: bool) -> None:
    assert good, key


def test_an_output_with_a_secret_is_made_again_at_a_resume(tmp_path: Path) -> None:
    def build(good: bool) -> Pipeline:
        p = Pipeline("set", base_dir=tmp_path)
        made = p.function(set_key, name="made", parameters={"api_key": Secret(SECRET)})
        p.function(fail_unless, name="used", parameters={"key": made.output(), "good": good})
        return p

    first = run(build(False), tmp_path, "inline")
    assert first.tasks["used"].failure is not None
    again = build(True).resume(first.folder, executor="inline", progress=False)
    assert [task.status for task in again.tasks.values()] == ["SUCCEEDED", "SUCCEEDED"]
    assert [len(task.attempts) for task in again.tasks.values()] == [2, 2]
    assert_nowhere(first.folder, SECRET)


def test_what_the_environment_names_is_secret_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNB_DAG_RUNNER_REDACT", "DEPLOY_TOKEN, NOT_SET")
    monkeypatch.setenv("DEPLOY_TOKEN", SECRET)
    write_notebook(tmp_path, "import os\nprint(api_key, os.environ['DEPLOY_TOKEN'])\napi_key")
    p = Pipeline("named", base_dir=tmp_path, description=f"deploys with {SECRET}", parameters={"url": f"x:{SECRET}@y"})
    p.notebook("misuse.py", name="notebook", parameters={"api_key": SECRET})
    p.function(set_key, name="function", parameters={"api_key": SECRET})
    result = run(p, tmp_path, "process")
    assert result.status == "SUCCEEDED"
    assert_nowhere(result.folder, SECRET)
    assert json.loads((result.folder / "run.json").read_text())["parameters"] == {"url": f"x:{MASK}@y"}


CLI_PIPELINE = """
import hashlib
from pynb_dag_runner import Pipeline, Secret, pipeline


def work(api_key, n):
    print("using", api_key)
    if n == 0:
        raise ValueError(api_key)
    return hashlib.sha256(api_key.encode()).hexdigest()


@pipeline
def deploy(p: Pipeline, api_key: Secret[str], n: int = 0):
    p.function(work, parameters={"api_key": api_key, "n": n})
"""


def test_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text(CLI_PIPELINE)
    base = ("run", "deploy.py", "--executor", "inline")
    environment = {"THE_KEY": SECRET}

    dry = pynb(*base, "--dry-run", "-p", "api_key=@env:THE_KEY", cwd=tmp_path, env=environment)
    assert dry.returncode == 0
    assert f'api_key = "{MASK}"' in dry.stdout

    (tmp_path / "given.json").write_text(json.dumps({"api_key": SECRET}))
    failed = pynb(*base, "--parameters-file", "given.json", cwd=tmp_path)
    assert failed.returncode == 1
    assert f"using {MASK}" in failed.stdout + failed.stderr
    folder = Path(failed.stdout.splitlines()[-1])

    refused = pynb("resume", str(folder), "-p", "n=1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "the run folder does not hold the values of 'api_key'" in refused.stderr

    resumed = pynb("resume", str(folder), "-p", "n=1", "-p", "api_key=@env:THE_KEY", cwd=tmp_path, env=environment)
    assert resumed.returncode == 0, resumed.stderr
    outputs = json.loads(next(folder.rglob("attempt-2/attempt.json")).read_text())["outputs"]
    assert outputs == {"return": hashlib.sha256(SECRET.encode()).hexdigest()}

    # Where it was taken from was written down: the next resume finds it there by itself.
    again = pynb("resume", str(folder), "-p", "n=2", cwd=tmp_path, env=environment)
    assert again.returncode == 0, again.stderr
    assert_nowhere(folder, SECRET)
    for done in (dry, failed, refused, resumed, again):
        assert [form for form in forms(SECRET) if form in (done.stdout + done.stderr).encode()] == []


@pipeline
def typed(p: Pipeline, key: Secret[str] | None = None, many: dict[str, Secret[int]] | None = None) -> None:
    p.function(set_key, parameters={"api_key": key})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"key": Secret("abc")}, "a secret of fewer than 4 characters could not be hidden"),
        ({"key": ["leaked-value"]}, "parameter 'key': got **********, expected Optional[Secret[str]]"),
        ({"many": {"a": "leaked-value"}}, "parameter 'many': got **********, expected"),
        ({"key": "@env:THERE_IS_NO_SUCH"}, "parameter 'key': there is no environment variable 'THERE_IS_NO_SUCH'"),
        ({"key": Secret("\ud800 half")}, "a secret can't be hidden if it is no text in UTF-8"),
    ],
)
def test_bad_secrets_are_refused_without_showing_them(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        typed.build(given)
    assert message in str(caught.value)
    assert "leaked-value" not in str(caught.value)


def test_python_parameters_are_not_written_down(tmp_path: Path) -> None:
    result = typed.run(parameters={"key": SIMPLE}, output_dir=tmp_path, executor="inline", progress=False)
    assert_nowhere(result.folder, SIMPLE)
    with pytest.raises(UsageError, match="does not hold the values of 'key'"):
        typed.resume(result.folder, executor="inline", progress=False)
    again = typed.resume(result.folder, parameters={"key": SIMPLE}, executor="inline", progress=False)
    assert [len(task.attempts) for task in again.tasks.values()] == [1]


def test_what_an_inline_task_shows_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    p = Pipeline("shown", base_dir=tmp_path)
    p.function(print, name="it", parameters={"sep": Secret(SECRET)})
    p.function(exits, name="exits", parameters={"api_key": Secret(SECRET)})
    p.function(show, name="show", parameters={"api_key": Secret(SECRET)})
    p.run(executor="inline", output_dir=tmp_path / "runs")
    shown = "".join(capsys.readouterr())
    assert f"here: {MASK}\n" in shown
    assert f"no use for {MASK}" in shown
    assert SECRET not in shown


def test_tasks_are_refused_secrets_that_can_not_be_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = Pipeline("bad", base_dir=tmp_path)
    p.function(set_key, name="short", parameters={"api_key": Secret([123])})
    p.function(set_key, name="object", parameters={"api_key": Secret(Client("x"))})
    monkeypatch.setenv("PYNB_DAG_RUNNER_REDACT", "TINY")
    monkeypatch.setenv("TINY", "ab")
    with pytest.raises(PipelineError) as caught:
        p.build()
    assert "task 'short': parameter 'api_key': a secret of fewer than 4 characters" in str(caught.value)
    assert "task 'object': parameter 'api_key': a secret is text, a number, or lists and dicts" in str(caught.value)
    assert "PYNB_DAG_RUNNER_REDACT names 'TINY'" in str(caught.value)
    with pytest.raises(UsageError):
        p.run(executor="inline", progress=False, output_dir=tmp_path)


def test_a_changed_secret_alone_makes_nothing_run_again(tmp_path: Path) -> None:
    def build(key: str) -> Pipeline:
        p = Pipeline("rotated", base_dir=tmp_path)
        p.function(set_key, name="it", parameters={"api_key": Secret(key)})
        return p

    first = run(build(SECRET), tmp_path, "inline")
    again = build(SIMPLE).resume(first.folder, executor="inline", progress=False)
    assert [len(task.attempts) for task in again.tasks.values()] == [1]


@pytest.mark.parametrize("secret", [SECRET, SIMPLE, "line one of it\nand line two", "aaaa", "äöü\U0001f600\x1b[31m\\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_stream_hides_what_comes_in_pieces(secret: str, size: int) -> None:
    redactor = Redactor([secret, "aab" + secret])
    written = [*forms(secret), *(inside_base64(secret) if len(secret) > 8 else ())]
    text = b"".join(b"<" + form + b">" + form[:-1] + b"\n" for form in written) + secret.encode()[:-1]
    stream = redactor.stream()
    got = b"".join(stream.feed(text[start : start + size]) for start in range(0, len(text), size)) + stream.end()
    assert got == redactor.text(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    assert [form for form in written if b"<" + form + b">" in got] == []


def test_what_is_no_secret_stays_as_it_is() -> None:
    redactor = Redactor([SIMPLE, str(NUMBER)])
    harmless = {"execution_count": NUMBER, "text": SIMPLE[:-1], "n": [1, 2.5, True, None], "x": f"{NUMBER}"[:-1]}
    assert redactor.value(harmless) == harmless
    assert redactor.value([NUMBER, float(NUMBER), {SIMPLE: str(NUMBER)}]) == [MASK, MASK, {MASK: MASK}]
    assert not Redactor([""])
