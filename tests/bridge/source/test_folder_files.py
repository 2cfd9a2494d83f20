import os
from pathlib import Path

import pytest

from mlflow_bridge.errors import UploadError
from mlflow_bridge.source.folder_files import named, open_inside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run" / "tasks").mkdir(parents=True)
    (tmp_path / "run" / "tasks" / "file.txt").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    return tmp_path / "run"


def test_a_file_inside_is_opened(folder: Path) -> None:
    with open_inside(folder, Path("tasks/file.txt")) as descriptor:
        assert os.read(descriptor, 100) == b"inside"


def test_a_descriptor_can_be_read_under_another_name(folder: Path, tmp_path: Path) -> None:
    with open_inside(folder, Path("tasks/file.txt")) as descriptor, named(descriptor, tmp_path, "other.md") as path:
        assert path.name == "other.md"
        assert path.read_text() == "inside"
    assert not (tmp_path / "other.md").is_symlink()


def test_a_link_to_a_file_is_not_followed(folder: Path) -> None:
    (folder / "link.txt").symlink_to("../outside/secret.txt")
    with pytest.raises(UploadError, match=r"link\.txt can't be read"), open_inside(folder, Path("link.txt")):
        pass


def test_a_link_to_a_folder_is_not_followed(folder: Path) -> None:
    (folder / "link").symlink_to("../outside")
    with pytest.raises(UploadError, match="can't be read"), open_inside(folder, Path("link/secret.txt")):
        pass


@pytest.mark.parametrize("path", ["../outside/secret.txt", "tasks/../../outside/secret.txt", "/etc/passwd", "."])
def test_a_path_that_leads_out_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(UploadError, match="is no file below"), open_inside(folder, Path(path)):
        pass


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UploadError, match="no regular file"), open_inside(folder, Path("pipe")):
        pass


def test_a_folder_that_is_a_link_itself_may_be_uploaded(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(folder)
    with open_inside(tmp_path / "latest", Path("tasks/file.txt")) as descriptor:
        assert os.read(descriptor, 100) == b"inside"
