from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_build import dataset
from model_build.dataset import Split
from model_build.images import drawn_images
from model_build.weights import load_weights
from pytest_servebench.errors import ModelError
from tests.lazily import Lazily

pytestmark = pytest.mark.servers

torch = Lazily("torch")
train = Lazily("model_build.train")
training = Lazily("model_build.training")


def recipe(epochs: int = 3) -> Any:
    return training.Recipe(epochs=epochs, width=0.1, batch_size=16, seed=7)


def small_split() -> Split:
    """Two clearly different kinds of drawn images."""
    images = np.round(drawn_images(40)[..., 0] * 255).astype(np.uint8)
    return Split(images, (np.arange(40) % 5).astype(np.uint8))


class StoppedError(Exception):
    pass


def test_resumed_training_takes_the_same_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train.extract_weights(training.train(recipe(), small_split(), tmp_path / "whole"))

    augmented, calls = training.augmented, 0

    def interrupted(images: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the middle of the second epoch of three batches each
            raise StoppedError
        return augmented(images)

    monkeypatch.setattr("model_build.training.augmented", interrupted)
    with pytest.raises(StoppedError):
        training.train(recipe(), small_split(), tmp_path / "resumed")
    resumed = train.extract_weights(training.train(recipe(), small_split(), tmp_path / "resumed"))
    assert calls == 5 + 2 * 3
    assert whole.tensors.keys() == resumed.tensors.keys()
    for name, values in whole.tensors.items():
        np.testing.assert_allclose(values, resumed.tensors[name], rtol=1e-4, atol=1e-5)


def test_a_strange_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    training.train(recipe(1), small_split(), path)
    with pytest.raises(ModelError, match="another recipe"):
        training.train(recipe(), small_split(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"cannot be read .* delete it"):
        training.train(recipe(), small_split(), path)


def test_augmented_images_keep_their_pixels() -> None:
    images = torch.zeros(200, 28, 28, dtype=torch.uint8)
    images[:, 10:18, 5:9] = 255
    varied = training.augmented(images)
    assert varied.shape == (200, 1, 28, 28)
    assert (varied.sum(dim=(1, 2, 3)) == 8 * 4).all()
    lefts = varied[:, 0].any(dim=1).float().argmax(dim=1)
    tops = varied[:, 0].any(dim=2).float().argmax(dim=1)
    assert set(lefts.tolist()) == {3, 4, 5, 6, 7, 17, 18, 19, 20, 21}
    assert set(tops.tolist()) == {8, 9, 10, 11, 12}


def test_evaluation_counts_every_image() -> None:
    class Brightness(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, images: Any) -> Any:
            """Call an image class 3 if it is bright, else class 0."""
            logits = torch.zeros(len(images), 10)
            logits[:, 3] = images.mean(dim=(1, 2, 3)) - 0.5
            return logits

    images = np.zeros((1203, 28, 28), np.uint8)
    images[:603] = 255
    labels = np.full(1203, 3, np.uint8)
    result = training.evaluate(Brightness(), Split(images, labels))
    assert result.confusion.sum() == 1203
    assert result.confusion[3, 3] == 603
    assert result.confusion[3, 0] == 600
    assert result.accuracy == pytest.approx(603 / 1203)


def test_the_command_writes_weights_and_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset, "load", lambda split, data_dir: small_split())
    monkeypatch.setenv("SERVEBENCH_CACHE_DIR", str(tmp_path / "cache"))
    weights, card = tmp_path / "w.safetensors", tmp_path / "CARD.md"
    status = train.main(
        f"--output {weights} --model-card {card} --epochs 1 --width 0.1 --batch-size 16".split()
    )
    assert status == 0
    assert "test accuracy" in capsys.readouterr().out
    assert load_weights(weights).width == 0.1
    assert f"python -m model_build.train --output {weights}" in card.read_text()


def test_training_tells_how_far_it_is_in_lines_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training.train(recipe(2), small_split(), tmp_path / "checkpoint")
    told = capsys.readouterr().err
    assert "epoch 1/2: 100%" in told
    assert "epoch 2/2: 100%" in told
    assert "3/3 [" in told
    assert "loss=" in told
    assert all(line.isprintable() for line in told.splitlines())
    assert told.isascii()


def test_an_interrupted_training_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "load", interrupted)
    assert train.main(["--output", str(tmp_path / "w")]) == 130
    assert "resumes after the last full epoch" in capsys.readouterr().err


def test_a_missing_data_set_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = train.main(["--output", str(tmp_path / "w"), "--data-dir", str(tmp_path / "absent")])
    assert status == 1
    assert capsys.readouterr().err.startswith("error: cannot read")


@pytest.mark.parametrize("option", ["--epochs=0", "--width=-1", "--threads=x", "--batch-size=0"])
def test_impossible_options_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(["--output", "w", option])
    assert option.split("=", maxsplit=1)[0] in capsys.readouterr().err
