"""Makes tests/reference/tokenizers: a tiny SentencePiece model, and what transformers' tokenizers give.

    python3.11 -m venv target/peers
    target/peers/bin/pip install transformers==5.23.0 sentencepiece==0.2.3 protobuf
    target/peers/bin/python tests/reference/make_tokenizers.py --shared ../shared      # writes tokenizers/ beside itself; --out DIR elsewhere

  spiece.model    a Unigram model of 160 pieces with a small table of its own, padding 0, end 1, unknown 2 as T5 has them,
                  and a user-defined piece; trained on ../shared/data/spm-fixtures/google-sentencepiece-botchan.txt
  expected.json   texts: the odd texts below
                  tiny: spiece.model by T5Tokenizer; ids of each text, and their text with and without special tokens
                  configured: the same with the tokenizer_config.json in `config`
                  byt5: ByT5Tokenizer; ids of each text, and `decoded`: [ids, text, text without special tokens]
                  mapped: the same with the special_tokens_map.json in `map`
                  byt5_strict: ids of the texts with `byt5_config`, in which </s> takes no spaces away
                  byt5_saved: tokenizer_config.json of a ByT5Tokenizer as transformers saves it
                  vectors: which of the 1,995 texts of t5-base-tests.json transformers decodes otherwise, as they are
                  (`differ`) and cleaned up (`differ_cleaned`), and digests of what it gives
                  fixtures: each model of ../shared/data/spm-fixtures that T5Tokenizer can follow; ids of the texts, and
                  a digest of the ids of each hundred lines of botchan.txt

T5Tokenizer takes id 2 for unknown text whatever the model says. Some of the fixtures have it elsewhere; for these the id is
set right in its backend. Each model's ids are also compared with SentencePiece's own, and differences are counted. On the
lines there are none but where transformers does otherwise: it drops the carriage returns that are a piece of test_model,
puts a space behind a user-defined piece (hf-spiece), and gives <unk> for what the model would spell in bytes. A digest is 64-bit FNV-1a, of ids as four bytes each, of texts as UTF-8 and a 0 byte.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
from transformers import AutoTokenizer, ByT5Tokenizer, logging

logging.set_verbosity_error()

TEXTS = [
    "", " ", "   ", "a", " a", "a ", "  two  spaces  ", "tab\tand\nline\r\nends\r\n", "😀 emoji 👩‍👩‍👧 👍🏽", "e\u0301 cafe\u0301",
    "日本語 テスト。", "ＡＢＣ　１２３", "nul\x00one\x01two", "\x1c\x1d x\x85y", "<extra_id_0> a<extra_id_1>b <extra_id_2>",
    "<extra_id_99> and <extra_id_100>", "</s>", "a</s>b </s> c", " <pad> <unk> z", "▁", "a▁b ▁", "no\u3000break\xa0space",
    "zero\u200bwidth\u200dand\ufeffmark", "ﬁ ½ ™ \u212b", "<extra_id_0", "</s</s>", "Is n't it , he 's said ? No ! ' x '",
    "user defined [X] and[X]more", "control <s> [CLS] (piece) £", "<0x41> <0xE2>", "ÀÉÎ ßñ ж א ع 你 ☃☃☃", "1234567890 3.14",
    "line\u2028and\u2029paragraph", "The student, who had been there, did not say a word about it.",
]  # fmt: skip
# complete, broken and cut characters, tokens that are no bytes between them
BYTES = ["c3a9", "c3", "a9", "c3ff41", "e38182", "e38161", "e3", "f09f9880", "f09f98", "f0809880", "eda080", "c080", "fffe", "00"]
CONFIG = {
    "tokenizer_class": "T5Tokenizer",
    "extra_ids": 3,
    "clean_up_tokenization_spaces": True,
    "eos_token": "</s>",
    "added_tokens_decoder": {
        str(id): {"content": text, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": special}
        for id, text, special in [
            (0, "<pad>", True), (1, "</s>", True), (2, "<unk>", True), (160, "<extra_id_2>", True), (161, "<extra_id_1>", True),
            (162, "<extra_id_0>", True), (163, "<mine>", False), (164, "<sep>", True),
        ]
    },
}  # fmt: skip
MAP = {
    "additional_special_tokens": ["<extra_id_0>", "<extra_id_1>", "[CLS]"],
    "eos_token": {"content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}
BYT5_CONFIG = {
    "tokenizer_class": "ByT5Tokenizer",
    "eos_token": {"content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "__type": "AddedToken"},
    "extra_ids": 3,
}


def fnv(data, value=0xCBF29CE484222325):
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def digest_ids(rows):
    return f"{fnv(b''.join(id.to_bytes(4, 'little') for row in rows for id in row)):016x}"


def digest_texts(texts):
    return f"{fnv(b''.join(text.encode() + bytes(1) for text in texts)):016x}"


def train(corpus, out):
    """A model small enough to be checked in: its table maps a few letters, where T5's has 237 kB."""
    rules = {"\t": " ", "\n": " ", "\r": " ", "\u3000": " ", "\xa0": " ", "ﬁ": "fi", "½": "1/2", "e\u0301": "é", "\u200b": " ", "\u212b": "\xc5"}
    rules |= {chr(0xFF21 + i): chr(0x41 + i) for i in range(26)} | {chr(1): ""}
    with tempfile.TemporaryDirectory() as temporary:
        table = pathlib.Path(temporary) / "rules.tsv"
        codes = lambda text: " ".join(f"{ord(c):X}" for c in text)
        table.write_text("".join(f"{codes(source)}\t{codes(target)}\n" for source, target in rules.items()))
        sentencepiece.SentencePieceTrainer.train(
            input=corpus, model_prefix=f"{temporary}/tiny", vocab_size=160, model_type="unigram", normalization_rule_tsv=table,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, user_defined_symbols=["[X]"], num_threads=1, minloglevel=2,
        )  # fmt: skip
        proto = sentencepiece_model_pb2.ModelProto.FromString((pathlib.Path(temporary) / "tiny.model").read_bytes())
    for field in ["input", "model_prefix"]:  # paths of this machine
        proto.trainer_spec.ClearField(field)
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    out.write_bytes(proto.SerializeToString(deterministic=True))


def opened(files, config=None, unk_id=2, config_name="tokenizer_config.json"):
    """A directory of files as transformers opens it, the id for unknown text set right."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "config.json").write_text('{"model_type": "t5"}')
        for name, source in files.items():
            shutil.copy(source, folder / name)
        if config:
            (folder / config_name).write_text(json.dumps(config))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if unk_id != 2:
        backend = json.loads(tokenizer._tokenizer.to_str())
        backend["model"]["unk_id"] = unk_id
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(backend))
    return tokenizer


def both_ways(tokenizer, texts):
    ids = [tokenizer(text).input_ids for text in texts]
    return {
        "ids": ids,
        "decoded": [tokenizer.decode(row) for row in ids],
        "without_special": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
    }


def byt5():
    tokenizer = ByT5Tokenizer()
    broken = [[3 + byte for byte in bytes.fromhex(text)] for text in BYTES]
    rows = broken + [[100] + a + [259] + b + [1, 0] + a for a, b in zip(broken, broken[1:])]
    both = lambda row: [row, tokenizer.decode(row), tokenizer.decode(row, skip_special_tokens=True)]
    return {"ids": [tokenizer(text).input_ids for text in TEXTS], "decoded": [both(row) for row in rows]}


def vectors(folder):
    tests = json.loads((folder / "t5-base-tests.json").read_text())
    ids = {}
    for name, file in [("tokenizer.json", "t5-base-tokenizer.json"), ("spiece.model", "spiece.model")]:
        tokenizer = opened({name: folder / file})
        ids[name] = [tokenizer(text).input_ids for text, _, _ in tests]
        assert ids[name] == [row for _, row, _ in tests], name
    plain = [tokenizer.decode(row) for _, row, _ in tests]
    cleaned = [tokenizer.decode(row, clean_up_tokenization_spaces=True) for _, row, _ in tests]
    differ = lambda texts: [at for at, text in enumerate(texts) if text != tests[at][2]]
    result = {"differ": differ(plain), "differ_cleaned": differ(cleaned)}
    print("vectors:", {name: len(rows) for name, rows in result.items()})
    return result | {"plain": digest_texts(plain), "cleaned": digest_texts(cleaned)}


def fixtures(folder):
    lines = (folder / "google-sentencepiece-botchan.txt").read_bytes().decode().split("\n")
    result = {}
    for path in sorted(folder.glob("*.model")):
        peer = sentencepiece.SentencePieceProcessor(model_file=str(path))
        proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
        if proto.trainer_spec.model_type != 1:
            print(path.name, "is no Unigram model")
            continue
        tokenizer = opened({"spiece.model": path}, unk_id=peer.unk_id())
        ids = [tokenizer(line).input_ids for line in lines]
        theirs = [peer.encode(line) for line in lines]
        other = sum(row[:-1] != them for row, them in zip(ids, theirs))
        odd = [tokenizer(text).input_ids for text in TEXTS]
        odd_other = sum(row[:-1] != peer.encode(text) for row, text in zip(odd, TEXTS))
        print(path.name, f"{len(lines)} lines, {other} unlike SentencePiece's; of {len(TEXTS)} odd texts {odd_other}")
        hundreds = [digest_ids(ids[at : at + 100]) for at in range(0, len(ids), 100)]
        result[path.name] = {"odd": odd, "vocab_size": len(tokenizer), "lines": hundreds}
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = parser.parse_args()
    out = arguments.out / "tokenizers"
    out.mkdir(exist_ok=True)
    model = out / "spiece.model"
    data = arguments.shared / "data"
    train(data / "spm-fixtures/google-sentencepiece-botchan.txt", model)
    with tempfile.TemporaryDirectory() as temporary:
        (pathlib.Path(temporary) / "tokenizer_config.json").write_text(json.dumps(BYT5_CONFIG))
        strict = AutoTokenizer.from_pretrained(temporary)
        strict = [strict(text).input_ids for text in TEXTS]
    with tempfile.TemporaryDirectory() as temporary:
        ByT5Tokenizer().save_pretrained(temporary)
        saved = json.loads((pathlib.Path(temporary) / "tokenizer_config.json").read_text())
        again = AutoTokenizer.from_pretrained(temporary)
        assert all(again(text).input_ids == ByT5Tokenizer()(text).input_ids for text in TEXTS)
    expected = {
        "texts": TEXTS,
        "tiny": both_ways(opened({"spiece.model": model}), TEXTS),
        "config": CONFIG,
        "configured": both_ways(opened({"spiece.model": model}, CONFIG), TEXTS + ["a<mine>b <sep>c<mine> . d"]),
        "map": MAP,
        "mapped": both_ways(opened({"spiece.model": model}, MAP, config_name="special_tokens_map.json"), TEXTS),
        "byt5": byt5(),
        "byt5_config": BYT5_CONFIG,
        "byt5_strict": strict,
        "byt5_saved": saved,
        "vectors": vectors(data / "t5-tokenizer"),
        "fixtures": fixtures(data / "spm-fixtures"),
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in expected.items()]
    (out / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
