#!/usr/bin/env python3
"""Makes the supervised mixture of pocket-t5 as JSONL, from data sets whose licences let weights be shipped.

    scripts/pocket-mixture.py --out mixture.jsonl              # data in ../shared/data
    scripts/pocket-mixture.py --data DIR --most 15000 --out mixture.jsonl

| source | part | licence |
|---|---|---|
| BANKING77 | train | CC BY 4.0 |
| CLINC150 | train, out-of-scope too | CC BY 3.0 |
| SNLI, QNLI (subsets of nli-qqp-9k) | train | CC BY-SA 4.0 |
| SMS Spam Collection | all, it has no split | CC BY 4.0 |
| E2E NLG | train | CC BY-SA 4.0 |
| Wikipedia: what kind of thing an article is about, told by a later passage | all | CC BY-SA 3.0 |
| Wikipedia: whether two passages are of one article | all | CC BY-SA 3.0 |

Nothing of a data set that the model is evaluated on is read; `supervised.exclude` in pretrain.toml drops what they share with
these. Only Python's standard library is needed. The same data gives the same file, rows being shuffled by a fixed seed.
"""

import argparse
import csv
import functools
import json
import random
import re
import sys
import tarfile
from pathlib import Path

SEED = 20


def row(prefix, fields, target):
    """A row of the mixture: fields are (name, text), the name being empty where the prefix says enough."""
    fields = [(name, " ".join(text.split())) for name, text in fields]
    parts = [f"{name}: {text}" for name, text in fields]
    return {"source": " ".join([prefix, *parts]), "target": target, "texts": [text for _, text in fields]}


def words(label):
    """An intent's name as words: `card_arrival` -> `card arrival`, `Refund_not_showing_up` -> `refund not showing up`."""
    return " ".join(label.replace("_", " ").replace("?", "").lower().split())


def banking77(data):
    with open(data / "banking77/train.csv", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            yield row("banking77", [("text", line["text"])], words(line["category"]))


def clinc150(data):
    parts = json.loads((data / "clinc150/data_full.json").read_text(encoding="utf-8"))
    for text, intent in parts["train"] + parts["oos_train"]:
        yield row("clinc150", [("text", text)], "out of scope" if intent == "oos" else words(intent))


def pairs(data, name):
    return json.loads((data / f"nli-qqp-9k/{name}/train.json").read_text(encoding="utf-8")).values()


def snli(data):
    for pair in pairs(data, "SNLI"):
        yield row("snli", [("premise", pair["text_a"]), ("hypothesis", pair["text_b"])], pair["label"])


def qnli(data):
    for pair in pairs(data, "QNLI"):
        fields = [("question", pair["text_a"]), ("sentence", pair["text_b"])]
        yield row("qnli", fields, words(pair["label"]))


def sms_spam(data):
    # lines are parted by \n alone: a message may hold other separators
    for line in (data / "sms-spam/sms.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n"):
        label, text = line.split("\t", 1)
        yield row("sms", [("text", text)], label)


def e2e_nlg(data):
    with tarfile.open(data / "e2e-nlg/e2e_aligned.tar.gz") as archive:
        texts = [archive.extractfile(f"e2e_aligned/{name}.txt").read().decode("utf-8") for name in ("src_train", "train")]
    sources, targets = (text.rstrip("\n").split("\n") for text in texts)
    if len(sources) != len(targets):
        raise ValueError(f"e2e-nlg: {len(sources)} sources, but {len(targets)} targets")
    for source, target in zip(sources, targets):
        slots = re.findall(r"__start_(\w+?)__ (.*?) __end_\1__", source)
        meaning = ", ".join(f"{spaced(name)}: {value}" for name, value in slots)
        text = " ".join(target.split("|||")[0].replace("<eos>", " ").split())
        yield {"source": f"e2e {meaning}", "target": text, "texts": [meaning, text]}


@functools.cache
def articles(data):
    """The first two passages of each article that has two, headings left out."""
    found = []
    for name in ("enwiki-AA.tar.xz", "enwiki-AB.tar.xz"):
        with tarfile.open(data / "enwiki-extract" / name) as archive:
            for file in archive:
                text = archive.extractfile(file).read().decode("utf-8") if file.isfile() else ""
                for article in re.findall(r"<doc [^>]*>\n(.*?)</doc>", text, re.DOTALL):
                    passages = [line.strip() for line in article.split("\n")[1:]]
                    passages = [line for line in passages if len(line) >= 80]
                    if len(passages) > 1:
                        found.append(passages[:2])
    return found


def beginning(passage):
    """At most 300 characters, whole words."""
    return passage if len(passage) <= 300 else passage[:300].rsplit(" ", 1)[0]


# "Chen Zhili is a senior female politician of …" -> "politician"
DEFINED = re.compile(
    r"(?:is|was|are|were) (?:an?|the|one of the) ((?:[\w'-]+ ){0,5}?[a-z-]+)(?:[,.;(]| (?:of|in|on|at|by|for|from|to|with|and|or|that|which|who|whose|located|based|born|released|written|directed|published|produced|native|used|founded|formed|created|built|held|under|near|between|as)\b)"
)


def wiki_kind(data):
    for first, second in articles(data):
        if found := DEFINED.search(first[:400]):
            yield row("wiki kind", [("text", beginning(second))], found[1].split()[-1])


def wiki_same(data):
    rng, other = random.Random(SEED), None
    for passages in articles(data):
        first, second = map(beginning, passages)
        same = other is None or rng.random() < 0.5
        yield row("wiki same", [("first", first), ("second", second if same else other)], "yes" if same else "no")
        other = second


def spaced(name):
    """`eatType` -> `eat type`."""
    return re.sub(r"(?<=[a-z])([A-Z])", r" \1", name).replace("customerrating", "customer rating").lower()


SOURCES = {
    "banking77": banking77,
    "clinc150": clinc150,
    "snli": snli,
    "qnli": qnli,
    "sms-spam": sms_spam,
    "e2e-nlg": e2e_nlg,
    "wiki-kind": wiki_kind,
    "wiki-same": wiki_same,
}


def main():
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=here.parent / "shared/data", help="folder of the data sets [../shared/data]")
    parser.add_argument("--out", type=Path, default=Path("mixture.jsonl"), help="the file to write [mixture.jsonl]")
    parser.add_argument("--most", type=int, metavar="N", help="rows of each source at most, drawn by the fixed seed [all]")
    arguments = parser.parse_args()
    rows = []
    for name, read in SOURCES.items():
        try:
            found = [row for row in read(arguments.data) if row["source"].strip() and row["target"].strip()]
        except OSError as error:
            sys.exit(f"{name}: {error}; give the folder of the data sets as --data")
        if arguments.most is not None and arguments.most < len(found):
            found = random.Random(SEED).sample(found, arguments.most)
        print(f"{name:10} {len(found):7} rows")
        rows += found
    random.Random(SEED).shuffle(rows)
    with open(arguments.out, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{'all':10} {len(rows):7} rows in {arguments.out}")


if __name__ == "__main__":
    main()
