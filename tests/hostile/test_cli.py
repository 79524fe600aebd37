"""The command line: every verb with hostile options ends in its documented exit code and one sentence, never a traceback."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import typer

from agop.cli import main

BAD_INPUT = 2
FILES = {
    "good": {"x_train": np.eye(6), "y_train": np.arange(6) % 2},
    "nan": {"x_train": np.full((6, 3), np.nan), "y_train": np.arange(6) % 2},
    "complex": {"x_train": np.eye(6) * 1j, "y_train": np.arange(6) % 2},
    "one_class": {"x_train": np.eye(6), "y_train": np.zeros(6, int)},
    "half_labels": {"x_train": np.eye(6), "y_train": np.full(6, 0.5)},
    "no_labels": {"x_train": np.eye(6)},
    "empty": {"x_train": np.zeros((0, 3)), "y_train": np.zeros(0, int)},
    "objects": {"x_train": np.eye(6), "y_train": np.array([0, None] * 3, dtype=object)},
    "huge": {"x_train": np.random.default_rng(0).normal(size=(6, 3)) * 1e300, "y_train": np.arange(6) % 2},
}
TABLES = {
    "table": "a,b,y\n" + "".join(f"{i % 7},{i % 3},{i * 0.37 % 5}\n" for i in range(40)),
    "empty": "",
    "names_only": "a,b,y\n",
    "twice": "a,a,y\n1,2,3\n4,5,6\n",
    "latin": "a,y\nZürich,1\nBern,2\n".encode("latin-1"),
    "words": "a,y\n1,high\n2,low\n3,high\n4,low\n",
    "one_value": "a,y\n1,5\n2,5\n3,5\n",
    "ragged": "a,y\n1,2\n1,2,3\n",
    "gaps": "a,y\n,1\n,2\n,3\n,4.5\n",
    "unknown": "a,y\n1,\n2,\n",
    "one_column": "y\n1\n2\n3.5\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("cli")
    for name, arrays in FILES.items():
        np.savez(place / f"{name}.npz", **arrays)
    (place / "text.npz").write_text("no archive")
    (place / "file").write_text("in the way")
    for name, content in TABLES.items():
        (place / f"{name}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    (place / "full").mkdir()
    (place / "full" / "thesis.tex").write_text("years of work")
    return place


# arguments after the verb, with {d} for the folder of the files above; what the sentence says
ROWS = {
    "": [("magic", "No such command 'magic'"), ("--magic", "No such option")],
    "rfm": [
        ("", "Missing option '--data'"), ("--data {d}/table.csv", "Missing option '--target'"),
        *((f"--target y --data {{d}}/{name}.csv", text) for name, text in {
            "nowhere": "a file that is there", "empty": "an empty file", "names_only": "0 rows", "twice": "'a' 2 times",
            "latin": "text in utf-8",
            "one_value": "at least two classes", "ragged": "line 3", "gaps": "no values",
            "unknown": "values to learn, got none", "one_column": "columns beside the target",
        }.items()),
        ("--target y --data {d}/words.csv --task regression", "numbers for a regression, got 'high'"),
        ("--target y --data {d}/table.xlsx", ".parquet"), ("--target y --data {d}/text.npz", "readable .npz"),
        ("--target Y --data {d}/table.csv", "near it: 'y'"), ("--target y --data {d}/table.csv --drop bb", "near it: 'b'"),
        ("--target y --data {d}/table.csv --group-by z", "group_by"), ("--target y --data {d}/table.csv --task magic", "task"),
        ("--target y --data {d}/table.csv --search soon", "search"), ("--target y --data {d}/table.csv --search 0", "search"),
        ("--target y --data {d}/table.csv --candidates 0", "candidates"), ("--target y --data {d}/table.csv --test 1", "test"),
        ("--target y --data {d}/table.csv --test nan", "test"), ("--target y --data {d}/table.csv --rows 1", "rows"),
        ("--target y --data {d}/table.csv --ensemble 0", "ensemble"), ("--target y --data {d}/table.csv --scoring magic", "scoring"),
        ("--target y --data {d}/table.csv --encoding magic", "encoding"), ("--target y --data {d}/table.csv --seed -1", "seed"),
        ("--target y --data {d}/table.csv --device cuda:99", "device"),
        ("--target y --data {d}/table.csv --out {d}/file", "can be written"),
        ("--target y --data {d}/table.csv --out {d}/full", "thesis.tex"),
        ("--magic", "No such option"),
    ],
    "predict": [
        ("", "Missing"), ("{d}/full", "Missing option '--data'"), ("{d}/full --data {d}/table.csv", "path: expected"),
        ("{d}/file --data {d}/table.csv", "path: expected"), ("{d}/nowhere --data {d}/table.csv", "where none is"),
        ("{d}/file --data {d}/table.csv --out p.xlsx", "out: expected a file"),
        ("{d}/file --data {d}/table.csv --out {d}/table.csv", "another file"),
        ("--magic", "No such option"),
    ],
    "deep-rfm": [
        *((f"--data {{d}}/{name}.npz", text) for name, text in {
            "nan": "NaN or infinite", "complex": "complex128", "one_class": "two classes", "half_labels": "class labels",
            "no_labels": "without y_train", "empty": "at least one point", "objects": "Python objects", "huge": "variance is finite",
            "text": "readable .npz", "nowhere": "does not exist",
        }.items()),
        ("--data mnist.csv", "data: expected one of"), ("--data ../../etc/passwd", "data: expected one of"),
        ("--magic 3", "No such option"), ("--layers 0", "layers: expected an integer >= 1"), ("--layers -3", "layers"),
        ("--layers many", "Invalid value for '--layers'"), ("--width 0", "width"), ("--width 1e400", "Invalid value for '--width'"),
        ("--ridge -1", "ridge"), ("--ridge nan", "ridge"), ("--bandwidth 0", "bandwidth"), ("--bandwidth inf", "bandwidth"),
        ("--kernel cubic", "kernel"), ("--feature-map magic", "feature_map"), ("--feature-bandwidth -1", "feature_bandwidth"),
        ("--dtype float16", "dtype"), ("--precision double", "precision"), ("--max-memory lots", "max_memory"),
        ("--max-memory 1KB", "max_memory"), ("--seed -1", "seed"), ("--n-train 0", "n_train"), ("--n-train 10000000", "n_train"),
        ("--subset last", "subset"), ("--device nowhere", "device"), ("--device cuda:99", "device"),
        ("--out {d}/file", "can be written"), ("--out {d}/file/below", "can be written"), ("--out {d}/full", "thesis.tex"),
        ("more words", "unexpected extra argument"),
    ],
    "conv-rfm": [
        ("--data {d}/nan.npz", "NaN or infinite"), ("--data {d}/good.npz", "images"), ("--data mnist.csv", "data: expected one of"),
        ("--kernel magic", "kernel"), ("--depth 0", "depth"), ("--stages -1", "stages"), ("--width 0", "width"),
        ("--patch-size 0", "patch_size"), ("--patch-size 9", "patch_size"), ("--depth 4", "depth"), ("--stages 4", "depth"),
        ("--stride 0", "stride"), ("--padding full", "padding"), ("--bandwidth 0", "bandwidth"), ("--iterations -1", "iterations"),
        ("--ridge nan", "ridge"), ("--choose magic", "choose"), ("--choose cross-fitted --stages 2", "stages"),
        ("--validation 1", "validation"), ("--n-agop 0", "n_agop"), ("--pictured 0", "pictured"), ("--dtype int8", "dtype"),
        ("--max-memory lots", "max_memory"), ("--max-memory 1KB", "max_memory"), ("--device nowhere", "device"),
        ("--device cuda:99", "device"), ("--out {d}/file", "can be written"), ("--out {d}/full", "thesis.tex"),
        ("--magic", "No such option"),
    ],
    "network": [
        ("--data {d}/nan.npz", "NaN or infinite"), ("--arch magic", "arch"), ("--width 0", "width"), ("--depth -1", "depth"),
        ("--epochs 0", "epochs"), ("--lr nan", "lr"), ("--batch-size 0", "batch_size"), ("--loss magic", "loss"),
        ("--measure-every 0", "measure_every"), ("--device cuda:99", "device"), ("--dtype int8", "dtype"), ("--seed -1", "seed"),
        ("--out {d}/file", "can be written"), ("--out {d}/full", "thesis.tex"), ("--magic", "No such option"),
    ],
    "profile": [
        ("", "Missing option '--model'"), ("--model nowhere:make", "model"), ("--model os", "model"), ("--model os:nothing", "model"),
        ("--model torch.nn:Identity --data {d}/one_class.npz", "two classes"), ("--model torch.nn:Identity --data {d}/good.npz", "layers"),
        ("--model torch.nn:Identity --data {d}/good.npz --weights {d}/file", "weights"),
        ("--model torch.nn:Identity --data {d}/good.npz --weights {d}/none", "weights"),
        ("--model torch.nn:Identity --data {d}/good.npz --weights {d}", "a folder with model.safetensors"),
        ("--model torch.nn:Identity --data {d}/good.npz --statistics {d}/none.json", "statistics"),
        ("--model torch.nn:Identity --data {d}/good.npz --statistics {d}/good.npz", "it has no mean"),
        ("--model bert-base-uncased --data {d}/good.npz", "a folder of save_pretrained"),
    ],
    "trajectory": [
        ("", "Missing argument"), ("{d}/none.pt --model torch.nn:Identity --data {d}/good.npz", "which is not there"),
        ("{d}/file --data {d}/good.npz", "add --model"), ("{d}/file --model nowhere:make --data {d}/good.npz", "model"),
        ("{d}/file --model torch.nn:Identity --data {d}/good.npz", "weights"),
        ("{d}/file --model torch.nn:Identity --data {d}/nan.npz", "NaN or infinite"),
        ("{d}/file --model torch.nn:Identity --data {d}/good.npz --out {d}/full", "holds something else"),
        ("{d}/file --model torch.nn:Identity --data {d}/good.npz --out {d}/file", "holds something else"),
        ("{d}/file --magic", "No such option"),
    ],
    "reproduce": [
        ("magic", "study"), ("all --preset magic", "preset"), ("all beaglehole2024", "all alone"),
        ("beaglehole2024:magic", "part"), ("--backend magic", "backend"), ("--backend dask", "scheduler"),
        ("beaglehole2024:theory --seeds -1", "seeds"), ("beaglehole2024:theory --seeds x", "seeds"),
        ("beaglehole2024:theory --jobs 0", "jobs"), ("beaglehole2024:theory --data {d}/nan.npz", "NaN or infinite"),
        ("beaglehole2024:theory --data {d}/none.npz", "does not exist"),
        ("beaglehole2024:theory --out {d}/file", "can be written"), ("beaglehole2024:theory --out {d}/full", "thesis.tex"),
    ],
    "report": [
        ("", "Missing argument"), ("{d}/nowhere", "the directory of a run"), ("{d}/full", "the directory of a run"),
        ("{d}/file", "the directory of a run"), ("{d}/full {d}/file", "the directory of a run"),
        ("{d}/full --out /dev/null", "the directory of a run"),
    ],
    "datasets": [("magic", "unexpected extra argument"), ("--magic", "No such option")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "arguments", "says"), [(v, a, s) for v, rows in ROWS.items() for a, s in rows]
)
def test_row(verb, arguments, says, folder, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = [word.format(d=folder) for word in [*([verb] if verb else []), *arguments.split()]]
    with pytest.raises(SystemExit) as caught:
        main(words)
    captured = capsys.readouterr()
    assert caught.value.code == BAD_INPUT, captured.err
    assert captured.err.startswith("agop: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err + captured.out
    assert says.lower() in captured.err.lower()
    assert (folder / "full" / "thesis.tex").read_text() == "years of work"


def test_every_verb_is_in_the_table():
    from agop.cli.app import app

    assert {*typer.main.get_command(app).commands, ""} == set(ROWS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("verb", ["deep-rfm", "conv-rfm", "network"])
def test_a_device_that_is_not_there(verb, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main([verb, "--device", "cuda"])
    assert caught.value.code == BAD_INPUT
    assert "got 'cuda' with 0 CUDA devices; use 'cpu'." in capsys.readouterr().err
