import pytest

from onerec.folder import whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_only_when_it_is_whole(tmp_path):
    with whole_folder(tmp_path / "made") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        assert not (tmp_path / "made").exists()
    assert names(tmp_path) == ["made"]
    assert (tmp_path / "made" / "deep" / "file").read_text() == "x"


def test_a_new_folder_replaces_the_old_one_whole(tmp_path):
    for content in ("old", "new"):
        with whole_folder(tmp_path / "made") as folder:
            (folder / content).touch()
    assert (names(tmp_path), names(tmp_path / "made")) == (["made"], ["new"])


def test_a_block_that_raises_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()

    def interrupted():
        with whole_folder(tmp_path / "made") as folder:
            (folder / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (names(tmp_path), names(tmp_path / "made")) == (["made"], ["old"])


@pytest.mark.parametrize("left", [".made.tmp", ".made.old"])
def test_what_a_killed_run_left_is_replaced(tmp_path, left):
    (tmp_path / left).mkdir()
    (tmp_path / left / "half").touch()
    with whole_folder(tmp_path / "made") as folder:
        (folder / "new").touch()
    assert (names(tmp_path), names(tmp_path / "made")) == (["made"], ["new"])
