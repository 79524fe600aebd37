"""torchvision's own readers on small files in the same formats, with its checksums set to those files'."""

from __future__ import annotations

import numpy as np
import pytest

from agop.datasets import load
from tests.oracles import torchvision_files
from tests.sentences import one_sentence

torchvision = pytest.importorskip("torchvision", reason="needs the extra 'vision'")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_grey_images(tmp_path, rng, name, folder):
    train, test = (rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (40, 20))
    labels = np.arange(40, dtype=np.uint8) % 10
    torchvision_files.idx(tmp_path / folder / "raw", train, labels, "train")
    torchvision_files.idx(tmp_path / folder / "raw", test, labels[::-1][:20].copy(), "t10k")
    data = load(name, root=tmp_path, n_train=25)
    np.testing.assert_array_equal(data.x_train, train[:25].reshape(25, -1))
    np.testing.assert_array_equal(data.x_test, test.reshape(20, -1))
    np.testing.assert_array_equal(data.y_train, labels[:25])
    assert data.shape == (28, 28)
    assert len(data.class_names) == 10
    assert "torchvision" in data.source


def test_cifar10(tmp_path, rng, monkeypatch):
    batches = [(rng.integers(0, 256, (4, 3072), dtype=np.uint8), [i, 1, 2, 9]) for i in range(5)]
    sums = torchvision_files.cifar(tmp_path, batches, batches[0])
    cls = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cls, "train_list", [[name, sums[name]] for name, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": sums["batches.meta"]})
    data = load("cifar10", root=tmp_path)
    assert data.x_train.shape == (20, 3072)
    assert data.shape == (32, 32, 3)
    planes = batches[0][0].reshape(4, 3, 32, 32)
    np.testing.assert_array_equal(data.x_train[:4].reshape(4, 32, 32, 3), planes.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(data.y_train[:5], [0, 1, 2, 9, 1])
    assert data.class_names[1] == "car"


def test_svhn(tmp_path, rng, monkeypatch):
    images = {
        part: rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        for part, n in (("train", 12), ("test", 10))
    }
    split_list = dict(torchvision.datasets.SVHN.split_list)
    for part, array in images.items():
        labels = np.arange(array.shape[3], dtype=np.uint8) % 10 + 1  # 1..10, where 10 is the digit 0
        split_list[part] = [*split_list[part][:2], torchvision_files.svhn(tmp_path, array, labels, part)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", split_list)
    data = load("svhn", root=tmp_path)
    assert data.shape == (3, 32, 32)
    np.testing.assert_array_equal(data.y_train[8:12], [9, 0, 1, 2])
    np.testing.assert_array_equal(
        data.x_train[5].reshape(3, 32, 32), images["train"][..., 5].transpose(2, 0, 1)
    )


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "svhn"])
def test_missing_files_say_where_and_what_to_do(tmp_path, name):
    with pytest.raises(ValueError) as caught:
        load(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "--download" in str(caught.value)


def test_a_wrong_checksum_is_not_unpickled(tmp_path, rng):
    torchvision_files.cifar(
        tmp_path, [(rng.integers(0, 256, (4, 3072), dtype=np.uint8), [0, 1, 2, 3])] * 5, (None, [])
    )
    with pytest.raises(ValueError, match="damaged"):
        load("cifar10", root=tmp_path)


def test_truncated_images_are_one_sentence(tmp_path, rng):
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        images = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
        torchvision_files.idx(raw, images, np.arange(4, dtype=np.uint8), part)
    path = raw / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with one_sentence(ValueError) as caught:
        load("mnist", root=tmp_path)
    assert "'mnist'" in str(caught.value)
