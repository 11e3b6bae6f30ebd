"""What each of two processes does for test_distributed_albef; all that it starts import this."""

import datetime

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from minivl.models.albef import Albef
from minivl.nn.bert import Bert
from minivl.nn.fusion import FusionEncoder
from minivl.nn.vit import ViT
from minivl.training import distributed


def build(**options) -> Albef:
    words = {"vocab_size": 12, "width": 8, "depth": 1, "heads": 2, "max_length": 5, "norm": "pre"}
    pictures = {"image_size": 8, "patch_size": 4, "width": 12, "depth": 1, "heads": 3}
    fusion = FusionEncoder(8, 1, 2, context_width=12, norm="pre")
    options = {"embed_dim": 6, "queue_size": 8, "momentum": 0.9} | options
    return Albef(ViT(**pictures), Bert(**words), fusion, **options).double().train()


def learn(module, model, batch, seed) -> dict:
    """Losses, every gradient of their sum, and what the step leaves behind of twin and queues."""
    module.zero_grad()
    torch.manual_seed(seed)
    losses = module(batch)
    sum(losses.values()).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {
        "losses": {name: loss.detach() for name, loss in losses.items()},
        "gradients": {name: p.grad.clone() for name, p in trained.items()},
        "state": {
            name: value.clone()
            for name, value in model.state_dict().items()
            if name.startswith("momentum_encoder.") or "queue" in name
        },
    }


def descend(model, gradients) -> None:
    """A plain step, so that the twin has something to follow."""
    with torch.no_grad():
        for name, gradient in gradients.items():
            model.get_parameter(name).sub_(gradient, alpha=0.1)


def work(rank: int, folder: str) -> None:
    """One of two processes: its half of every batch, three steps a case."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
        timeout=datetime.timedelta(seconds=90),
    )  # fmt: skip
    given = torch.load(f"{folder}/given.pt")
    answer = {}
    for case, (options, batches) in given["cases"].items():
        for broadcast in (True, False):
            model = build(**options)
            model.load_state_dict(given["weights"], strict=False)
            model.gather = distributed.Gather()
            ddp = DistributedDataParallel(model, broadcast_buffers=broadcast)
            for step, batch in enumerate(batches):
                own = {key: value.chunk(2)[rank] for key, value in batch.items()}
                answer[case, broadcast, step] = learn(ddp, model, own, 2 * step + rank)
                descend(model, answer[case, broadcast, step]["gradients"])
    torch.save(answer, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
