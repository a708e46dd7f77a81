"""Makes what transformers decodes with the tiny backbones beside this file, in many settings.

    target/peers/bin/python tests/reference/decoding.py        # as make.py; --out DIR to write elsewhere

Three files in `decoding/`:

  tiny-v1.0.json, tiny-v1.1.json
    sources               token ids; each case decodes a batch of some of them, padded on the right
    cases                 settings by their names in GenerationConfig; `rows` of the batch; `ids` and `scores`
                          (sequences_scores) of every sequence, without the start token and what follows the end
    draws                 settings, a row, a step, and the probability of every token at that step after all processors
                          and warpers; the step before is forced
  processors.json         each processor and warper alone: class, arguments, what was read, scores before and after; null
                          is minus infinity

Processors that look at the source see its padding in transformers, so those cases hold one row.
Without a cache: transformers 5.23 sizes it by the encoder's layers, which fails where the decoder has more.
"""

import argparse
import importlib.metadata
import itertools
import json
import pathlib

import torch
from transformers import T5ForConditionalGeneration, logging
from transformers.generation import logits_process

HERE = pathlib.Path(__file__).resolve().parent
VARIANTS = {"tiny-v1.0": 11, "tiny-v1.1": 12}
LENGTHS = (17, 3, 40, 9, 26)
VOCABULARY = 96
ENDS = [1, 5, 17, 22, 29, 40, 48, 55, 63, 71, 80, 90]  # more end tokens than one, so that much ends


def cases():
    """(settings, rows) of every case."""
    beams = itertools.product((2, 3, 4), (-1.0, 0.0, 1.0, 2.0), (False, True, "never"))
    for number, (num_beams, penalty, early) in enumerate(beams):
        base = {"num_beams": num_beams, "length_penalty": penalty, "early_stopping": early}
        ends = {} if number % 2 else {"eos_token_id": ENDS}
        yield base | ends | {"num_return_sequences": 1 + number % num_beams, "max_new_tokens": 8 + number % 7}, [0, 1, 2]
    yield {"num_beams": 8, "num_return_sequences": 8, "max_new_tokens": 6, "eos_token_id": ENDS}, [0, 1, 3]
    yield {"num_beams": 5, "num_return_sequences": 5, "max_new_tokens": 1}, [0, 1, 4]
    yield {"num_beams": 4, "num_return_sequences": 2, "max_new_tokens": 2, "early_stopping": True}, [2, 3, 4]
    processors = [
        {},
        {"eos_token_id": ENDS},
        {"min_new_tokens": 10},
        {"min_new_tokens": 6, "eos_token_id": ENDS},
        {"repetition_penalty": 1.4},
        {"repetition_penalty": 0.7},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 3, "repetition_penalty": 1.1},
        {"encoder_repetition_penalty": 1.5},
        {"encoder_repetition_penalty": 0.6, "repetition_penalty": 1.2},
        {"encoder_no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 1},
        {"bad_words_ids": [[5], [7, 9], [33, 34, 35], [1]]},
        {"bad_words_ids": [[i] for i in range(30, 60)]},
        {"sequence_bias": [[[12], 3.5], [[40], -8.0], [[12, 12], -4.0], [[12, 50], 6.0]]},
        {"forced_bos_token_id": 21},
        {"forced_eos_token_id": 1},
        {"forced_eos_token_id": [1, 44]},
        {"forced_bos_token_id": 21, "forced_eos_token_id": 1, "min_new_tokens": 3},
        {"suppress_tokens": list(range(2, 40))},
        {"begin_suppress_tokens": list(range(1, 60))},
        {"begin_suppress_tokens": list(range(1, 60)), "forced_bos_token_id": 70},
        {"suppress_tokens": [1], "no_repeat_ngram_size": 2, "repetition_penalty": 1.2, "min_new_tokens": 4},
    ]
    for number, settings in enumerate(processors):
        alone = any(name.startswith("encoder") for name in settings)
        tied = isinstance(settings.get("forced_eos_token_id"), list)  # equal scores, of which beams take either
        for num_beams, returned in ((1, 1),) if tied else ((1, 1), (3, 2), (4, 4)):
            for rows in ([[0], [4]] if alone else [[0, 1, 2, 3]]):
                search = {"num_beams": num_beams, "num_return_sequences": returned} if num_beams > 1 else {}
                early = {"early_stopping": [True, False, "never"][number % 3]} if num_beams > 1 else {}
                yield settings | search | early | {"max_new_tokens": 12}, rows


def warpers():
    """Settings of draws."""
    yield {"top_k": 0}
    yield {}
    yield {"temperature": 0.7, "top_k": 0}
    yield {"temperature": 1.8, "top_k": 12}
    yield {"top_k": 0, "top_p": 0.8}
    yield {"top_k": 0, "typical_p": 0.6}
    yield {"top_k": 0, "min_p": 0.05}
    yield {"top_k": 0, "epsilon_cutoff": 0.01}
    yield {"top_k": 0, "eta_cutoff": 0.02}
    yield {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "typical_p": 0.95, "repetition_penalty": 1.3}


def end(ids, ends):
    """Up to the first end token."""
    places = [place for place, token in enumerate(ids) if token in ends]
    return ids[: places[0] + 1] if places else ids


def decode(model, sources, settings, rows, **more):
    batch = [sources[row] for row in rows]
    width = max(map(len, batch))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in batch])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
    return model.generate(
        input_ids=ids, attention_mask=mask, use_cache=False, return_dict_in_generate=True, output_scores=True,
        **settings, **more,
    )  # fmt: skip


def run(model, sources, settings, rows):
    out = decode(model, sources, settings, rows)
    ends = settings.get("eos_token_id", [1])
    case = {"settings": settings, "rows": rows, "ids": [end(row[1:], ends) for row in out.sequences.tolist()]}
    if settings.get("num_beams", 1) > 1:
        case["scores"] = [round(score, 6) for score in out.sequences_scores.tolist()]
    return case


def draws(model, sources):
    for number, settings in enumerate(warpers()):
        for step in (0, 1):
            settings = settings | {"max_new_tokens": 2, "do_sample": True}
            if step == 1:
                settings["forced_bos_token_id"] = 30 + number
            row = number % len(sources)
            scores = decode(model, sources, settings, [row]).scores[step][0]
            probabilities = [round(p, 9) for p in scores.double().softmax(-1).tolist()]
            yield {"settings": settings, "row": row, "step": step, "probabilities": probabilities}


def alone():
    """Each class of processors by itself, over random scores of which some are impossible."""
    draw = torch.Generator().manual_seed(5)
    vocabulary, ends = 24, [1, 6]
    source = [4, 9, 2, 9, 11, 4, 9, 1]
    specs = [
        ("SequenceBias", {"sequence_bias": [[[3], 1.5], [[4], -2.0], [[2, 9], 3.0], [[7, 9], 5.0]]}),
        ("RepetitionPenalty", {"penalty": 1.3}),
        ("RepetitionPenalty", {"penalty": 0.8}),
        ("EncoderRepetitionPenalty", {"penalty": 1.5, "encoder_input_ids": [source]}),
        ("NoRepeatNGram", {"ngram_size": 1}),
        ("NoRepeatNGram", {"ngram_size": 2}),
        ("NoRepeatNGram", {"ngram_size": 3}),
        ("NoRepeatNGram", {"ngram_size": 9}),
        ("EncoderNoRepeatNGram", {"encoder_ngram_size": 2, "encoder_input_ids": [source]}),
        ("EncoderNoRepeatNGram", {"encoder_ngram_size": 3, "encoder_input_ids": [source]}),
        ("NoBadWords", {"bad_words_ids": [[3], [2, 9], [7, 9], [1], [5, 1]], "eos_token_id": ends}),
        ("MinNewTokensLength", {"prompt_length_to_skip": 1, "min_new_tokens": 7, "eos_token_id": ends}),
        ("MinNewTokensLength", {"prompt_length_to_skip": 1, "min_new_tokens": 6, "eos_token_id": ends}),
        ("ForcedBOSToken", {"bos_token_id": 8}),
        ("ForcedEOSToken", {"max_length": 8, "eos_token_id": ends}),
        ("ForcedEOSToken", {"max_length": 9, "eos_token_id": ends}),
        ("SuppressTokens", {"suppress_tokens": [2, 3, 20]}),
        ("SuppressTokensAtBegin", {"begin_suppress_tokens": [2, 3, 20], "begin_index": 1}),
    ]  # fmt: skip
    keeps = (1, 3)
    for keep in keeps:
        specs += [
            ("Temperature", {"temperature": 0.6}),
            *(("TopK", {"top_k": k, "min_tokens_to_keep": keep}) for k in (1, 5, 30)),
            *(("TopP", {"top_p": p, "min_tokens_to_keep": keep}) for p in (0.0, 0.3, 0.9)),
            *(("MinP", {"min_p": p, "min_tokens_to_keep": keep}) for p in (0.05, 0.9)),
            *(("Typical", {"mass": p, "min_tokens_to_keep": keep}) for p in (0.1, 0.5, 0.95)),
            *(("Epsilon", {"epsilon": p, "min_tokens_to_keep": keep}) for p in (0.02, 0.4)),
            *(("Eta", {"epsilon": p, "min_tokens_to_keep": keep}) for p in (0.05, 0.4)),
        ]
    warps = {"Temperature", "TopK", "TopP", "MinP", "Typical", "Epsilon", "Eta"}
    for name, arguments in specs:
        for history in ([0, 2, 9, 4, 2, 9, 2], [0]):
            scores = torch.randn(1, vocabulary, generator=draw) * 2.0
            scores[0, torch.randint(0, vocabulary, (2,), generator=draw)] = -torch.inf
            if name == "NoRepeatNGram" and arguments["ngram_size"] == 9:
                history = [9] * 9 if len(history) > 1 else history
            given = {key: torch.tensor(value) if key == "encoder_input_ids" else value for key, value in arguments.items()}
            full = f"{name}LogitsWarper" if name in warps else f"{name}LogitsProcessor"
            after = getattr(logits_process, full)(**given)(torch.tensor([history]), scores.clone())
            listed = lambda values: [None if value == -torch.inf else round(value, 7) for value in values[0].tolist()]
            yield {"class": full, "arguments": arguments, "history": history, "before": listed(scores), "after": listed(after)}


def write(path, head, lists):
    """One entry of the lists a line."""
    text = json.dumps(head)[:-1]
    for name, entries in lists.items():
        lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
        text += f',\n"{name}": [\n{lines}\n]'
    path.write_text(text + "\n}\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=pathlib.Path, default=HERE)
    out = arguments.parse_args().out / "decoding"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    head = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    for variant, seed in VARIANTS.items():
        draw = torch.Generator().manual_seed(seed)
        sources = [torch.randint(3, VOCABULARY, (length - 1,), generator=draw).tolist() + [1] for length in LENGTHS]
        model = T5ForConditionalGeneration.from_pretrained(HERE / variant, dtype=torch.float32, attn_implementation="eager")
        model = model.eval().requires_grad_(False)
        runs = [run(model, sources, settings, rows) for settings, rows in cases()]
        sequences = sum(len(case["ids"]) for case in runs)
        ended = sum(ids[-1] in case["settings"].get("eos_token_id", [1]) for case in runs for ids in case["ids"])
        print(f"{variant}: {len(runs)} runs, {sequences} sequences, {ended} of them ended by a token")
        write(out / f"{variant}.json", head | {"sources": sources}, {"cases": runs, "draws": list(draws(model, sources))})
    write(out / "processors.json", head, {"cases": list(alone())})
    print(f"{sum(path.stat().st_size for path in out.iterdir()) / 1000:.0f} kB in {out}")


if __name__ == "__main__":
    main()
