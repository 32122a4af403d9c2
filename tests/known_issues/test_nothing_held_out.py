"""``prepare --validation`` that holds out nothing says so; training on its manifest fails early and says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqcodec.cli import main

ROOT = Path(__file__).parent.parent.parent


def test_prepare_warns_and_train_says_what_to_do(tmp_path: Path, capsys) -> None:
    for number, clip in enumerate(sorted((ROOT / "tests" / "data").glob("*.flac"))):
        (tmp_path / "me").mkdir(exist_ok=True)
        shutil.copy(clip, tmp_path / "me" / f"{number}.flac")
    manifest = tmp_path / "m.jsonl"
    prepare = ["prepare", str(tmp_path / "me"), "--out", str(manifest), "--force"]
    assert main(prepare) == 0 and "warning" not in capsys.readouterr().err
    assert main([*prepare, "--validation", "0.02"]) == 0
    assert "warning: no clip is in the split 'validation'" in capsys.readouterr().err
    train = ["train", str(ROOT / "recipes" / "base.toml"), "--data", str(manifest), "--out", str(tmp_path / "run"),
             "--set", "data.validation_share=0", "--set", "data.validation_split=validation"]  # fmt: skip
    assert main(train) == 1
    error = capsys.readouterr().err
    assert "has no clips of split 'validation' to validate on" in error and "data.validation_share=0.1" in error
    assert not (tmp_path / "run" / "cache").exists()  # before anything was decoded
    assert main([*prepare, "--validation", "0.999"]) == 0
    assert "warning: no clip is in the split 'train'" in capsys.readouterr().err
    for split, message in (("train", "no clips of split 'train'"), ("", "no clips besides those of split 'validati")):
        assert main([*train, "--set", f"data.split={split}"]) == 1 and message in capsys.readouterr().err
