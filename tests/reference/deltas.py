"""Delta modules over a tiny backbone of `make.py`, by the formulas of `structure::Kind`.

H_out = m(H_in) + the sum of the parallel kinds' deltas of H_in, then + the sequential kinds' of that.
"""

import json
import shutil

import torch
from backbones import greedy, load, write_json
from torch.nn import functional as F


def cases(gated):
    """Case -> modules, as `structure::DeltaModule` reads them. No module is in two cases."""
    wi = "wi_1" if gated else "wi"
    norms = ["encoder.block.1.layer.0.layer_norm", "encoder.final_layer_norm", "decoder.block.0.layer.1.layer_norm"]
    norms += ["decoder.block.1.layer.0.layer_norm", "decoder.block.1.layer.2.layer_norm", "decoder.final_layer_norm"]
    blocks = ["encoder.block.0.layer.0.SelfAttention", "encoder.block.1.layer.1.DenseReluDense"]
    blocks += ["decoder.block.1.layer.0.SelfAttention", "decoder.block.0.layer.1.EncDecAttention"]
    blocks += ["decoder.block.1.layer.2.DenseReluDense"]
    linears = {
        "lora": [
            "encoder.block.0.layer.0.SelfAttention.q", "encoder.block.1.layer.1.DenseReluDense.wo",
            "decoder.block.0.layer.0.SelfAttention.o", "decoder.block.1.layer.1.EncDecAttention.k",
            "decoder.block.1.layer.1.EncDecAttention.v", f"decoder.block.0.layer.2.DenseReluDense.{wi}", "lm_head",
        ],
        "bitfit": [
            "encoder.block.0.layer.0.SelfAttention.v", f"encoder.block.1.layer.1.DenseReluDense.{wi}",
            "decoder.block.0.layer.0.SelfAttention.k", "decoder.block.0.layer.1.EncDecAttention.q",
            "decoder.block.1.layer.1.EncDecAttention.v", "decoder.block.1.layer.2.DenseReluDense.wo", "lm_head",
        ],
    }  # fmt: skip
    at = lambda positions, kind, **how: [{"position": position, "kind": kind, **how} for position in positions]
    found = {
        "lora": at(linears["lora"], "lora", rank=2, alpha=16.0),
        "bitfit_linear": at(linears["bitfit"], "bitfit"),
        "bitfit_norm": at(norms, "bitfit"),
        "lnfit": at(norms, "lnfit"),
        "low_rank_adapter": at(blocks, "low_rank_adapter", bottleneck=4, rank=2),
        "adapter": at(blocks, "adapter", bottleneck=4),
        "parallel_adapter": at(blocks, "parallel_adapter", bottleneck=4),
    }
    return {**found, "mixed": [module for modules in found.values() for module in modules]}


def make_parameters(model, module, draw):
    """Tensor name -> random values, large enough that each module moves the logits."""
    place = model.get_submodule(module["position"])
    normal = lambda *shape, std: (torch.randn(*shape, generator=draw) * std).requires_grad_()
    d, kind, k, r = model.config.d_model, module["kind"], module.get("bottleneck"), module.get("rank")
    if kind == "lora":
        d_out, d_in = place.weight.shape
        return {"a": normal(d_in, r, std=d_in**-0.5), "b": normal(r, d_out, std=0.1)}
    if kind in ("bitfit", "lnfit"):
        return {"bias" if kind == "bitfit" else "scale": normal(place.weight.shape[0], std=0.3)}
    down_bias, up_bias = {"down_bias": normal(k, std=0.3)}, {"up_bias": normal(d, std=0.3)}
    if kind == "low_rank_adapter":
        down = {"down_left": normal(d, r, std=d**-0.5), "down_right": normal(r, k, std=1.0)}
        return {**down, **down_bias, "up_left": normal(k, r, std=0.5), "up_right": normal(r, d, std=0.5), **up_bias}
    return {"down": normal(d, k, std=d**-0.5), **down_bias, "up": normal(k, d, std=0.4), **up_bias}


def delta(module, p, x):
    """Δ of the input of the place (LoRA, LNFit, parallel adapter) or of its output (the others)."""
    gelu = lambda h: F.gelu(h, approximate="tanh")
    match module["kind"]:
        case "lora":
            return (module["alpha"] / module["rank"]) * (x @ p["a"] @ p["b"])
        case "bitfit":
            return p["bias"]
        case "lnfit":
            return p["scale"] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        case "low_rank_adapter":
            hidden = gelu(x @ p["down_left"] @ p["down_right"] + p["down_bias"])
            return hidden @ p["up_left"] @ p["up_right"] + p["up_bias"]
        case _:
            return gelu(x @ p["down"] + p["down_bias"]) @ p["up"] + p["up_bias"]


def attach(model, modules, parameters):
    """Wraps the forward functions at the modules' positions."""
    places = {}
    for module in modules:
        places.setdefault(module["position"], []).append(module)
    for position, here in places.items():
        place = model.get_submodule(position)
        parallel = [m for m in here if m["kind"] in ("lora", "lnfit", "parallel_adapter")]
        sequential = [m for m in here if m not in parallel]

        def forward(x, *args, inner=place.forward, parallel=parallel, sequential=sequential, **kwargs):
            out = inner(x, *args, **kwargs)
            y, rest = (out[0], out[1:]) if isinstance(out, tuple) else (out, None)
            y = y + sum(delta(m, parameters[name_of(m)], x) for m in parallel)
            y = y + sum(delta(m, parameters[name_of(m)], y) for m in sequential)
            return y if rest is None else (y, *rest)

        place.forward = forward


def name_of(module):
    return f"{module['position']}.{module['kind']}"


def deltas(folder, inputs, draw):
    found = cases(load(folder).config.is_gated_act)
    base = load(folder)
    parameters = {name_of(module): make_parameters(base, module, draw) for module in found["mixed"]}
    flat = {f"{at}.{name}": tensor for at, tensors in parameters.items() for name, tensor in tensors.items()}
    tensors, before = {**inputs, **flat}, base(**inputs).logits
    for case, modules in found.items():
        model = load(folder)
        attach(model, modules, parameters)
        out = model(**inputs)
        tensors[f"{case}/logits"] = out.logits
        change = (out.logits - before).abs().max().item()
        assert change > 0.1, f"{case} changes the logits by {change} only"
        print(f"  {case}: {len(modules)} modules move the logits by up to {change:.2f}")
        if case == "mixed":
            out.loss.backward()
            new, gaps = greedy(model, inputs["input_ids"], inputs["attention_mask"])
            assert gaps.min() > 0.01, f"{gaps.min()}: take another delta_seed"
            tensors |= {"mixed/loss": out.loss, "mixed/greedy_ids": new}
            tensors |= {f"mixed/gradient/{name}": parameter.grad for name, parameter in flat.items()}
    peft_lora(folder, found["lora"], parameters, inputs, tensors["lora/logits"])
    return tensors, found


def peft_lora(folder, modules, parameters, inputs, logits):
    """Saves the case `lora` by PEFT and compares PEFT's own logits with ours."""
    from peft import LoraConfig, get_peft_model

    out = folder / "peft-lora"
    shutil.rmtree(out, ignore_errors=True)
    positions = [module["position"] for module in modules]
    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, lora_alpha=16, lora_dropout=0.0, target_modules=positions)
    model = get_peft_model(load(folder), config).eval()
    with torch.no_grad():
        for position in positions:
            place, p = model.get_submodule(f"base_model.model.{position}"), parameters[f"{position}.lora"]
            place.lora_A["default"].weight.copy_(p["a"].T)
            place.lora_B["default"].weight.copy_(p["b"].T)
        difference = (model(**inputs).logits - logits).abs().max().item()
    assert difference < 5e-5, difference
    print(f"  peft-lora: differs from the case lora by {difference:.1e}")
    model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    settings = json.loads((out / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = folder.name
    settings["target_modules"] = sorted(settings["target_modules"])  # a set, saved in an order of its own
    write_json(out / "adapter_config.json", settings)
