"""Models that have a name: a folder of Hugging Face, or one of timm. Nothing is fetched, and no code of a folder is run."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from agop._checks import bad_value

TIMM = "timm:"


def is_folder(reference: str) -> bool:
    """Whether a reference is a folder as `save_pretrained` writes it."""
    return (Path(reference) / "config.json").is_file()


def of_folder(folder: str, *, trained: bool = True) -> nn.Module:
    """The model of a folder that `save_pretrained` wrote, with its weights or as it is initialised.

    Raises
    ------
    ValueError
        One sentence, if transformers is not installed, the folder needs code of its own, or can't be read.
    """
    transformers = _transformers()
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("config.json holds no object")
    except (OSError, ValueError) as error:
        raise _bad_folder(folder, error) from None
    if "auto_map" in config:
        remedy = "write a factory, package.module:factory, that imports that code and loads the folder"
        raise bad_value(
            "model",
            "a folder whose model is one of transformers",
            f"{folder!r}, which brings code of its own",
            remedy,
        )
    named = config.get("architectures") or []
    kind: Any = getattr(transformers, str(named[0]), None) if named else None
    kind = transformers.AutoModel if kind is None else kind
    safe = any(Path(folder).glob("*.safetensors"))
    try:
        if not trained:
            setting = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            return kind.from_config(setting) if kind is transformers.AutoModel else kind(setting)
        return kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=safe
        )
    except Exception as error:  # noqa: BLE001 - whatever a folder that may be anybody's makes transformers raise
        raise _bad_folder(folder, error) from None


def of_timm(name: str) -> nn.Module:
    """A model of timm by its name, as it is initialised.

    Raises
    ------
    ValueError
        One sentence, if timm is not installed or has no such model.
    """
    try:
        import timm
    except ImportError:
        raise bad_value("model", "an installed timm", "none", "pip install timm") from None
    if not timm.is_model(name.partition(".")[0]):
        near = get_close_matches(name.partition(".")[0], timm.list_models(), 3)
        remedy = f"there are {', '.join(near)}, …" if near else "timm.list_models() shows all"
        raise bad_value("model", "a name of timm.list_models()", repr(name), remedy)
    return timm.create_model(name, pretrained=False)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise bad_value(
            "model",
            "an installed transformers for a folder of Hugging Face",
            "none",
            "pip install transformers",
        ) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _bad_folder(folder: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return bad_value("model", "a folder that save_pretrained wrote", f"{folder!r} ({reason})")
