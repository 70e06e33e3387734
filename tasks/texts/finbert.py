"""FinBERT scores of policy documents, if its weights are installed (CBI_FINBERT names their folder).

The weights are never downloaded: the folder has Hugging Face's layout with config.json, a tokenizer and
model.safetensors. The texts are point in time, the weights are not: they were trained on texts up to their release
(2019 for ProsusAI/finbert). That is why every scored row names its scorer.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import SettingsError
from tasks.storage.files import read_json, write_json
from tasks.storage.hashes import fingerprint, sha256_of

WEIGHTS = "model.safetensors"
BATCH, TOKENS = 16, 256


class FinBert:
    """Scores texts in [-1, 1]: probability of a positive tone minus that of a negative one."""

    def __init__(self, folder: Path, remembered: Path) -> None:
        """``folder``: the installed weights. ``remembered``: the cache folder of scores, by text, for these weights.

        Raises:
            SettingsError: the folder is not a model with a positive and a negative label.
        """
        missing = [name for name in ("config.json", WEIGHTS) if not (folder / name).exists()]
        if missing:
            raise SettingsError(f"CBI_FINBERT={folder}: no {', '.join(missing)}; name a folder with FinBERT's weights")
        labels = {
            str(v).lower(): int(k)
            for k, v in json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"].items()
        }
        if not {"positive", "negative"} <= set(labels):
            raise SettingsError(
                f"CBI_FINBERT={folder}: labels are {sorted(labels)}; `positive` and `negative` are needed"
            )
        self._folder, self._labels = folder, labels
        self.name = f"finbert-{sha256_of(folder / WEIGHTS)[:8]}"
        self._remembered = remembered / f"{self.name}.json"

    def scores(self, texts: list[str]) -> np.ndarray:
        """One score per text, in order; only new texts are run through the model."""
        known = read_json(self._remembered) or {}
        keys = [fingerprint(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            known |= dict(zip(new, self._judge(list(new.values())), strict=True))
            write_json(self._remembered, known)
        return np.array([known[key] for key in keys], dtype="float64")

    def _judge(self, texts: list[str]) -> list[float]:
        import torch

        tokenizer, model = self._model
        out: list[float] = []
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                texts[start : start + BATCH], padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
            )
            with torch.no_grad():
                shares = torch.softmax(model(**batch).logits, dim=-1)
            out += (shares[:, self._labels["positive"]] - shares[:, self._labels["negative"]]).tolist()
        return out

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ModuleNotFoundError:
            raise SettingsError(
                "CBI_FINBERT is set, but the package transformers is missing: pip install -e '.[train]'"
            ) from None
        given: dict[str, Any] = {"local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(self._folder, **given)
        model = AutoModelForSequenceClassification.from_pretrained(self._folder, use_safetensors=True, **given)
        return tokenizer, model.eval()
