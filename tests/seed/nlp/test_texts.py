"""Texts: reading, tokenising, the models, and requests."""

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import task
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast

from spotkit import settings
from spotkit.data import examples, tables, texts, tokens
from spotkit.evaluation import scoring
from spotkit.serving import inference
from spotkit.training import encoders, ngrams


def with_model(name: str, **config: int) -> settings.Settings:
    """Return your settings with a model from scratch, `config` to make it small, and at most 64 tokens per text."""
    chosen = settings.load()
    chosen["model"] = {"name": name, "weights": "scratch", "config": config}
    chosen["task"]["max_tokens"] = 64
    return chosen


@pytest.fixture(scope="module")
def classifier(prepared):
    chosen = settings.load()
    if chosen["model"]["weights"] != "scratch":  # tests download nothing
        chosen = with_model("distilbert", n_layers=1, dim=48)
    return task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)


def test_a_missing_column_is_named_with_those_there_are(tmp_path):
    (tmp_path / "reviews.csv").write_text("review,stars\ngood,5\n")

    with pytest.raises(ValueError, match=r"not in reviews.csv, which has: review, stars. Set \[task\] text"):
        list(task.read(tmp_path, settings.load()))


def read(path) -> list:
    """Read a file with the columns text and label, whatever yours are called."""
    chosen = settings.load()
    chosen["data"]["label"], chosen["task"]["text"] = "label", "text"
    return list(task.read(path, chosen))


def rows_of(path, text: str) -> list:
    """Write a file with this content, and read it."""
    path.write_text(text)
    return read(path)


def test_csv_tsv_json_lines_and_parquet_give_the_same_examples(tmp_path):
    rows = [{"text": "late, again", "label": "bad"}, {"text": "quick", "label": "good"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = [
        rows_of(tmp_path / "rows.csv", 'text,label\n"late, again",bad\nquick,good\n'),
        rows_of(tmp_path / "rows.tsv", "text\tlabel\nlate, again\tbad\nquick\tgood\n"),
        rows_of(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows))),
        read(tmp_path / "rows.parquet"),
    ]

    assert [[(e.content, e.labels) for e in examples] for examples in found] == [
        [("late, again", ["bad"]), ("quick", ["good"])]
    ] * 4


def with_columns(*columns: str) -> settings.Settings:
    """Return your settings with texts from these columns, and labels from the column label."""
    chosen = settings.load()
    chosen["data"]["label"], chosen["task"]["text"] = "label", list(columns)
    return chosen


def test_a_text_of_several_columns_is_what_they_hold_one_after_another(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label,title\ntoo small,bad,Nice\nlovely,good,\n,bad,\n")

    found = list(task.read(tmp_path, with_columns("title", "text")))

    assert [example.content for example in found] == ["Nice | too small", "lovely", ""]


def test_each_of_several_columns_must_be_there(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\ngood,5\n")

    with pytest.raises(ValueError, match=r"column 'title' not in rows.csv, which has: text, label. Set \[task\] text"):
        list(task.read(tmp_path, with_columns("title", "text")))


def test_the_label_is_no_part_of_the_text(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\ngood,5\n")

    with pytest.raises(ValueError, match=r"\[task\] text names 'label', which is \[data\] label"):
        list(task.read(tmp_path, with_columns("text", "label")))


@pytest.mark.parametrize("named", [[], [""], ["title", 1], "", ["text", "text"]])
def test_what_names_no_column_is_refused(named):
    with pytest.raises(ValueError, match=r"\[task\] text is .*Name a column, or several different ones"):
        texts.text_columns({"text": named})


def test_what_is_no_number_is_no_label_and_whole_numbers_are_written_whole():
    assert [tables.as_text(value) for value in (None, float("nan"), 4.0, 4.5, 4, " a ")] == [
        "",
        "",
        "4",
        "4.5",
        "4",
        "a",
    ]


def test_a_separator_that_somebody_typed_stays_text(classifier):
    separator = classifier.tokenizer.sep_token_id

    [[ids]] = classifier.encoder.encode(["late [SEP] parcel"])
    assert ids.tolist().count(separator) == 1


def test_the_ids_are_those_of_the_tokenizer(classifier):
    written = ["where is my parcel", "", "  twice   charged ", "word " * 2000]
    most = classifier.facts["task"]["max_tokens"]

    one_by_one = [
        classifier.tokenizer(texts.cut(t, classifier.facts["task"]), truncation=True, max_length=most) for t in written
    ]

    found = classifier.encoder.encode(written)
    assert [ids.tolist() for [ids] in found] == [one["input_ids"] for one in one_by_one]


def tokenizers_by_words(learned):
    """Return the tokenizer that the seed trains, and small ones that split words as BERT's and RoBERTa's do."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdé,.!'#", *(f"##{letter}" for letter in "abcdé"), "ab", "##cd"]
    bert = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    bert.normalizer, bert.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    roberta = Tokenizer.from_str(learned.backend_tokenizer.to_str())
    roberta.normalizer, roberta.pre_tokenizer = None, pre_tokenizers.ByteLevel(add_prefix_space=False)
    return [learned, *(PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]") for made in (bert, roberta))]


def test_the_ids_by_words_are_those_of_the_whole_text(classifier):
    chance = random.Random(1)
    odd = [*"abcdABé,.!'#1  \t\n\r\v\f\x1c\x85\xa0\u2003\u3000\0\u200d\u0301\ufffd\x9f😀好Σ     ", "[SEP]", "'s", " a"]
    written = ["".join(chance.choices(odd, k=chance.randint(0, 12))) for _ in range(4_000)]

    for tokenizer in tokenizers_by_words(classifier.tokenizer):
        encoder, known = tokens.Encoder(tokenizer, classifier.facts["task"]), {}
        assert encoder.by_words
        for start in range(0, len(written), 1_000):
            some = written[start : start + 1_000]
            for [by_words], [whole] in zip(encoder.encode(some, known), encoder.encode(some), strict=True):
                assert by_words.tolist() == whole.tolist()


def test_a_tokenizer_that_splits_in_another_way_is_not_asked_by_words(classifier):
    made = Tokenizer.from_str(classifier.tokenizer.backend_tokenizer.to_str())
    made.pre_tokenizer = pre_tokenizers.Metaspace()

    assert not tokens.is_by_words(PreTrainedTokenizerFast(tokenizer_object=made))


@pytest.mark.parametrize(
    ("long_texts", "expected"),
    [("head", [[0, 1, 2, 3, 4, 5, 6, 7]]), ("head_tail", [[0, 1, 2, 3, 8, 9, 10, 11]]),
     ("windows", [[0, 1, 2, 3, 4, 5, 6, 7], [6, 7, 8, 9, 10, 11]])],
)  # fmt: skip
def test_of_a_long_text_the_head_the_ends_or_windows_are_used(classifier, long_texts, expected):
    chosen = classifier.facts["task"] | {"long_texts": long_texts, "max_tokens": 10}

    pieces = tokens.Encoder(classifier.tokenizer, chosen).pieces(np.arange(12))
    assert [piece.tolist() for piece in pieces] == expected


def test_the_windows_of_a_text_are_scored_together(classifier):
    facts = classifier.facts | {"task": classifier.facts["task"] | {"long_texts": "windows", "max_tokens": 8}}
    windowed = task.Classifier(classifier.model, classifier.tokenizer, facts)
    rows = [{"text": "late"}, {"text": "late parcel box lost track " * 10}]

    items = windowed.items_of_request(rows)
    scores = scoring.mean([scoring.score(windowed, items)])

    assert len(items) > 2
    assert scores.shape == (2, len(classifier.labels))
    assert ((scores > 0) & (scores < 1)).all()


def ngrams_of(prepared) -> "task.Classifier":
    """Return the linear model with document frequencies from the prepared texts."""
    chosen = settings.load()
    chosen["model"] = {"name": "ngrams", "weights": "scratch", "config": {"buckets": 512}}
    return task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)


def test_of_the_linear_model_each_token_and_pair_counts_once_by_how_rare_it_is():
    model, pair_weight = ngrams.NGrams.create(10, 2, {"buckets": 100_000, "pair_weight": 0.5})
    ids = torch.tensor([[1, 2, 1, 2, 0], [1, 3, 0, 0, 0], [1, 2, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]])

    model.learn_frequencies([{"input_ids": ids, "attention_mask": mask}], pair_weight)
    rows, first, times = model.rows_of(ids, mask)

    assert [int(count) for count in first.sum(1)] == [4, 3, 3]  # 1, 2, (1, 2), (2, 1); 1, 3, (1, 3); 1, 2, (1, 2)
    assert rows[0][first[0]][:2].tolist() == [1, 2]
    assert times[0][first[0]].tolist()[:2] == [2, 2]
    assert model.idf[1] == pytest.approx(1)
    assert model.idf[2] == pytest.approx(np.log(4 / 3) + 1)
    assert model.idf[3] == 0
    assert model.idf[9] == 0
    assert sorted(model.idf[rows[2][first[2]]].tolist())[0] == pytest.approx(0.5 * (np.log(4 / 3) + 1))
    assert model(ids, mask).logits.tolist() == [[0, 0]] * 3


def test_the_padding_of_a_batch_changes_no_answer_of_the_linear_model(prepared):
    classifier = ngrams_of(prepared)
    with torch.no_grad():
        classifier.model.table.normal_()
    short, long = {"text": "late parcel"}, {"text": "charged twice on my card " * 20}

    alone = scoring.mean([scoring.score(classifier, classifier.items_of_request([short]))])
    together = scoring.mean([scoring.score(classifier, classifier.items_of_request([short, long]))])

    assert together[0] == pytest.approx(alone[0], abs=1e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_layers": 2}, "n_layers is not a key for ngrams"),
        ({"buckets": 0}, "buckets is 0"),
        ({"pair_weight": "x"}, "'x'"),
    ],
)
def test_what_the_linear_model_cannot_have_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        ngrams.NGrams.create(10, 2, config)


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize(("name", "most"), [("bert", 64), ("roberta", 63), ("mpnet", 62), ("deberta-v2", 64)])
def test_a_model_takes_as_many_tokens_as_it_has_positions(prepared, name, most):
    chosen = settings.load()
    chosen["model"] = {"name": name, "weights": "scratch", "config": SMALL | {"max_position_embeddings": 64}}
    train = examples.Prepared(prepared / "train")

    chosen["task"] = chosen["task"] | {"max_tokens": most}
    made = task.Classifier.create(chosen, train, None)
    batch = made.items_of_request([{"text": "late " * 100}]).batch(np.array([0]))
    chosen["task"] = chosen["task"] | {"max_tokens": most + 1}
    with pytest.raises(ValueError, match=f"max_tokens is {most + 1}, and {name} takes {most} at most"):
        task.Classifier.create(chosen, train, None)

    assert batch["input_ids"].shape == (1, most)
    assert made.logits(made.model, batch).shape == (1, len(train.labels))


def test_a_pretrained_model_without_padding_pads_with_its_end_of_text(classifier, prepared, tmp_path):
    GPT2ForSequenceClassification(GPT2Config(vocab_size=4000, n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=classifier.encoder.backend, eos_token="[SEP]").save_pretrained(tmp_path)
    chosen = with_model("gpt2")
    chosen["model"]["weights"] = "s3://bucket/gpt2"

    made = task.Classifier.create(chosen, examples.Prepared(prepared / "train"), tmp_path)

    rows = [{"text": "late"}, {"text": "late parcel box"}]
    together = scoring.mean([scoring.score(made, made.items_of_request(rows))])
    assert np.allclose(together[0], scoring.mean([scoring.score(made, made.items_of_request(rows[:1]))]), atol=1e-6)


@pytest.fixture(scope="module")
def mean_pooled(prepared):
    chosen = with_model("bert", num_hidden_layers=1, hidden_size=48, intermediate_size=48)
    chosen["task"] |= {"pooling": "mean", "text": ["title", "text"]}
    return task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)


def test_the_mean_of_a_texts_tokens_is_classified_and_not_its_padding(mean_pooled):
    batch = {"input_ids": torch.tensor([[5, 6, 7, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0, 0]])}
    model = mean_pooled.model.eval()

    logits = mean_pooled.logits(model, batch)

    states = model.encoder(**{name: tensor[:, :3] for name, tensor in batch.items()}).last_hidden_state
    assert torch.allclose(logits, model.head(states.mean(1)), atol=1e-6)


def test_nothing_of_a_model_of_means_is_left_untrained(mean_pooled):
    batch = mean_pooled.items_of_request([{"text": "late"}, {"text": "late parcel"}]).batch(np.arange(2))

    mean_pooled.logits(mean_pooled.model, batch).sum().backward()

    trained = {name: tensor for name, tensor in mean_pooled.model.named_parameters() if tensor.requires_grad}
    assert [name for name, tensor in trained.items() if tensor.grad is None] == []
    assert len(trained) > 10


def test_what_is_trained_beside_a_frozen_encoder_is_its_head(mean_pooled, prepared):
    chosen = with_model("distilbert", n_layers=1, dim=48)
    chosen["task"]["pooling"] = "model"
    made = task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)

    assert mean_pooled.last_layer() is mean_pooled.model.head
    heads = set(made.last_layer().parameters())
    assert {name for name, each in made.model.named_parameters() if each in heads} == {
        f"{layer}.{kind}" for layer in ("pre_classifier", "classifier") for kind in ("weight", "bias")
    }
    with pytest.raises(ValueError, match="freeze is true, and ngrams has no layers"):
        ngrams_of(prepared).last_layer()


def test_weights_that_were_saved_in_half_precision_are_read_in_full(mean_pooled, prepared, tmp_path):
    mean_pooled.model.to(torch.bfloat16).encoder.save_pretrained(tmp_path)
    mean_pooled.model.to(torch.float32)
    mean_pooled.tokenizer.save_pretrained(tmp_path)
    chosen = with_model("bert")
    chosen["model"]["weights"], chosen["task"]["pooling"] = "s3://bucket/half", "mean"

    made = task.Classifier.create(chosen, examples.Prepared(prepared / "train"), tmp_path)

    assert {tensor.dtype for tensor in made.model.parameters()} == {torch.float32}


def test_a_model_with_a_decoder_has_no_mean(prepared):
    chosen = with_model("t5", num_layers=1, d_model=16, d_ff=16)
    chosen["task"]["pooling"] = "mean"

    with pytest.raises(ValueError, match=r"\[task\] pooling is 'mean', and t5 has a decoder"):
        task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)


def test_a_saved_model_of_means_answers_as_the_one_in_memory(mean_pooled, tmp_path):
    mean_pooled.save(tmp_path)

    rows = task.decode(b'{"inputs": ["late | where is my parcel"]}', "application/json")
    assert inference.predict_fn(rows, inference.model_fn(str(tmp_path))) == inference.predict_fn(rows, mean_pooled)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match=r"\[task\] pooling is 'max'. Choose: model, mean"):
        encoders.architecture_of({"pooling": "max"})


def test_a_request_by_columns_is_read_as_the_training_data(mean_pooled):
    columns = b'{"inputs": {"text": "where is my parcel", "title": "late"}}'
    rows = task.decode(columns, "application/json")

    whole = task.decode(b'{"inputs": "late | where is my parcel"}', "application/json")
    assert inference.predict_fn(rows, mean_pooled) == inference.predict_fn(whole, mean_pooled)


def test_a_request_that_lacks_a_column_is_told_which(mean_pooled):
    rows = task.decode(b'{"inputs": [{"text": "where is my parcel"}]}', "application/json")

    with pytest.raises(ValueError, match="the request has no title. Send all of: title, text; or one text"):
        inference.predict_fn(rows, mean_pooled)


def test_columns_of_a_request_may_be_numbers_or_nothing_as_in_training(mean_pooled):
    assert texts.text_of({"columns": {"title": None, "text": 4.0, "id": [7]}}, mean_pooled.facts["task"]) == "4"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"columns": {"title": ["late"], "text": "parcel"}}, r"title is \['late'\] in the request. Send a text"),
        ({"columns": {"title": "\ud800", "text": "parcel"}}, r"title is '\\ud800' in the request"),
        ({"columns": {"title": None, "text": " "}}, "a text of the request is empty"),
        ({"text": ""}, "a text of the request is empty"),
    ],
)
def test_a_row_that_is_no_text_is_refused(mean_pooled, row, problem):
    with pytest.raises(ValueError, match=problem):
        inference.predict_fn([row], mean_pooled)


@pytest.mark.parametrize("inputs", ["[]", "[1]", '["a", 5]', "null", '["\\ud800"]'])
def test_a_request_without_texts_is_refused(inputs):
    with pytest.raises(ValueError, match="the request is not"):
        task.decode(f'{{"inputs": {inputs}}}'.encode(), "application/json")


def test_equal_texts_make_an_equal_tokenizer(prepared):
    written = [row["text"] for row in map(examples.Prepared(prepared / "train").__getitem__, range(20))]

    made = {tokens.train_tokenizer(iter(written), settings.load()).backend_tokenizer.to_str() for _ in range(3)}

    assert len(made) == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"inputs": ["größer", "b"]}'.encode("latin-1"), "Application/JSON; charset=latin-1"),
        ('"größer"\n{"inputs": "b"}\n'.encode(), "application/jsonlines"),
    ],
)
def test_batches_come_as_json_or_json_lines_in_any_charset(body, content_type):
    assert task.decode(body, content_type) == [{"text": "größer"}, {"text": "b"}]


def test_a_row_of_csv_has_the_columns_of_a_text(mean_pooled):
    csv = task.decode(b'late,"where is, my parcel"\n', "text/csv")
    columns = task.decode(b'{"inputs": {"title": "late", "text": "where is, my parcel"}}', "application/json")

    assert inference.predict_fn(csv, mean_pooled) == inference.predict_fn(columns, mean_pooled)
    with pytest.raises(ValueError, match="item 2: a row has 1 values. Send title, text, without a header"):
        inference.predict_fn(csv + task.decode(b"alone", "text/csv"), mean_pooled)


def test_accents_are_kept_and_forms_of_one_letter_are_one():
    learned = tokens.train_tokenizer(iter(["ดี ดุ", "cafe café", "a"] * 9), settings.load())
    ids = {text: learned(text)["input_ids"] for text in ("ดี", "ดุ", "cafe", "café")}

    assert len({tuple(found) for found in ids.values()}) == 4
    assert texts.cut("cafe\u0301", settings.load()["task"]) == "caf\u00e9"
