"""Numbers that the search is held to, from the peers' `gate_vectors.py` and `delta.py` (a folder beside this project).

  gates.json                               100 random cases of the gate (method.md section 3) in float64
  tiny-v1.1/second-order.safetensors       one second-order structural gradient over the space `mix`, by double backward in float64

    python tests/reference/search.py --peers ../shared/peers
"""

import argparse
import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(sys.path.pop(0))  # this folder behind the libraries, whose names files here may bear

import torch
from safetensors.torch import save_file
from transformers import T5ForConditionalGeneration


def gate_cases(gate_vectors, count):
    """Random inputs of several sizes, temperatures, budgets and spreads; alpha is exact in float32, as a search keeps it."""
    draw = torch.Generator().manual_seed(2206)
    uniform = lambda low, high: low + (high - low) * torch.rand((), generator=draw).item()
    for seed in range(count):
        n = 2 + seed % 9
        tau, beta = round(uniform(0.3, 2.0), 3), round(uniform(0.3, 2.0), 3)
        given = gate_vectors.random_input(n, seed, uniform(0.02, 0.9), uniform(0.1, 4.0))
        given["alpha"] = torch.tensor(given["alpha"], dtype=torch.float32).double().tolist()
        found = gate_vectors.evaluate(given, tau, beta)
        kept = {name: found[name] for name in ("zeta", "p", "z", "dalpha", "greedy", "clamped")}
        yield {"tau": tau, "beta": beta, **given, **kept}


def second_order(peers, folder):
    """dL_alpha/dz and its second-order part, d/dz (dL_delta/dtheta · v), at v = dL_alpha/dtheta' and theta' = theta - xi g."""
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    model.eval().requires_grad_(False)
    specs = peers["spaces"].mix_space(model)
    deltas = peers["delta"].Deltas(model, specs)
    draw = torch.Generator().manual_seed(17)
    size = sum(spec.size for spec in specs)
    theta = (torch.randn(size, generator=draw) * 0.1).double()
    z = torch.rand(len(specs), generator=draw).double() * 0.8 + 0.1
    xi = 0.05
    ids = lambda rows, length: torch.randint(3, model.config.vocab_size, (rows, length), generator=draw)
    batches = [(ids(4, 9), ids(4, 3)), (ids(4, 7), ids(4, 3))]

    def loss(theta, z, batch):
        deltas.bind(theta, z)
        source, labels = batch
        return model(input_ids=source, attention_mask=torch.ones_like(source), labels=labels, use_cache=False).loss

    theta, z = theta.requires_grad_(), z.requires_grad_()
    delta_loss = loss(theta, z, batches[0])
    (g,) = torch.autograd.grad(delta_loss, theta, create_graph=True)
    ahead = (theta - xi * g).detach().requires_grad_()
    structural_loss = loss(ahead, z, batches[1])
    v, direct = torch.autograd.grad(structural_loss, (ahead, z))
    (second,) = torch.autograd.grad((g * v).sum(), z)
    tensors = {
        "theta": theta, "z": z, "xi": torch.tensor([xi]), "v": v, "direct": direct, "second": second,
        "losses": torch.stack([delta_loss, structural_loss]),
    }  # fmt: skip
    tensors = {name: tensor.detach().float() for name, tensor in tensors.items()}
    for name, (source, labels) in zip(("delta", "structural"), batches):
        tensors |= {f"{name}.sources": source.float(), f"{name}.targets": labels.float()}
    assert all(math.isfinite(tensor.sum().item()) for tensor in tensors.values())
    return tensors


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=pathlib.Path, default=HERE)
    arguments.add_argument("--peers", type=pathlib.Path, default=HERE.parents[2] / "shared/peers")
    arguments = arguments.parse_args()
    if not (arguments.peers / "gate_vectors.py").exists():
        sys.exit(f"{arguments.peers} has no gate_vectors.py: give the peers' folder with --peers")
    sys.path.append(str(arguments.peers))
    peers = {name: __import__(name) for name in ("gate_vectors", "spaces", "delta")}
    torch.set_num_threads(1)
    cases = [json.dumps(case) for case in gate_cases(peers["gate_vectors"], 100)]
    (arguments.out / "gates.json").write_text("[\n" + ",\n".join(cases) + "\n]\n")
    variant = arguments.out / "tiny-v1.1"
    variant.mkdir(exist_ok=True)
    save_file(second_order(peers, HERE / "tiny-v1.1"), variant / "second-order.safetensors")


if __name__ == "__main__":
    main()
