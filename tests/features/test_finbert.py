"""FinBERT's code path, on a small model of random weights that the test makes: no weights are held here."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tasks.errors import SettingsError
from tasks.registry import FinBertWeights
from tasks.run import open_run
from tasks.settings import load_settings
from tasks.texts import finbert
from tasks.texts.finbert import FinBert
from tasks.texts.lexicon import score_documents, scorer_name

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "duties", "imposed", "lifted", "biofuel", "grant", "waiver"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("finbert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        id2label={0: "positive", 1: "negative", 2: "neutral"},
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_the_tone_takes_the_place_of_the_phrases_and_not_of_the_themes(weights, registry, documents, tmp_path):
    lexicon = registry.derived.lexicon
    plain = score_documents(documents, lexicon)
    toned = score_documents(
        documents, lexicon.model_copy(update={"finbert": FinBertWeights(folder=weights, remembered=tmp_path)})
    )
    pd.testing.assert_frame_equal(plain.drop(columns="score"), toned.drop(columns="score"))
    assert toned["score"].between(-1, 1).all() and not toned["score"].isin([-1.0, 0.0, 1.0]).any()


def test_a_score_is_positive_less_negative_and_is_remembered(weights, tmp_path, monkeypatch):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = ["duties imposed", "biofuel grant"]
    scores = FinBert(weights, tmp_path).scores(texts)
    model = AutoModelForSequenceClassification.from_pretrained(weights).eval()
    batch = AutoTokenizer.from_pretrained(weights)(texts, return_tensors="pt")
    with torch.no_grad():
        shares = torch.softmax(model(**batch).logits, -1)
    np.testing.assert_allclose(scores, shares[:, 0] - shares[:, 1], atol=1e-6)
    monkeypatch.setattr(finbert.FinBert, "_judge", lambda *_: pytest.fail("asked the model again"))
    np.testing.assert_array_equal(FinBert(weights, tmp_path).scores(texts[::-1]), scores[::-1])


def test_the_scorer_is_named_and_a_change_of_it_is_a_change_of_the_code_version(
    weights, archive, tmp_path, monkeypatch
):
    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    before = open_run(load_settings(), origin=str(archive), as_of="2011-12-30")
    monkeypatch.setenv("CBI_FINBERT", str(weights))
    run = open_run(load_settings(), origin=str(archive), as_of="2011-12-30")
    assert scorer_name(before.derived.lexicon) == "lexicon-v1"
    assert scorer_name(run.derived.lexicon).startswith("finbert-")
    assert run.code_version != before.code_version


def test_a_folder_that_is_no_such_model_is_refused_with_its_name(weights, tmp_path):
    with pytest.raises(SettingsError, match=r"CBI_FINBERT=.*no config.json, model.safetensors"):
        FinBert(tmp_path, tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "bullish", "1": "bearish"}}))
    with pytest.raises(SettingsError, match="`positive` and `negative` are needed"):
        FinBert(tmp_path, tmp_path)
