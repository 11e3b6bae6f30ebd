"""What each of two processes does for test_distributed; imported by every process it starts."""

import datetime
import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from minivl.models.clip import Clip
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT
from minivl.training import distributed


def build() -> Clip:
    words = {"vocab_size": 12, "width": 8, "depth": 1, "heads": 2, "max_length": 5}
    pictures = {"image_size": 8, "patch_size": 4, "width": 12, "depth": 1, "heads": 3}
    return Clip(ViT(**pictures), Bert(**words, norm="pre"), embed_dim=6).double()


def learn(module, model, batch) -> dict:
    """Loss and every gradient."""
    module.zero_grad()
    loss = module(batch)["contrastive"]
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return {"loss": loss.detach(), "gradients": gradients}


def gathered(rank: int) -> dict:
    """Rows of both, and what happens to a gradient that another function was given as well."""
    rows = torch.full((2, 3), float(rank + 1), dtype=torch.float64, requires_grad=True)
    neighbour = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    beside = neighbour * 2
    gather = distributed.Gather()
    joined = gather(rows)
    gradient = torch.arange(12.0, dtype=torch.float64).reshape(4, 3) * (10**rank)
    given = gradient.clone()
    (joined + beside).backward(gradient)
    return {
        "joined": joined.detach(),
        "rank": gather.rank,
        "rows": rows.grad,
        "neighbour": neighbour.grad,
        "gradient unchanged": torch.equal(gradient, given),
    }


def work(rank: int, folder: str) -> None:
    """One of two processes: its half of the batch, its votes."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
        timeout=datetime.timedelta(seconds=90),
    )  # fmt: skip
    os.environ["WORLD_SIZE"] = "2"
    distributed.init()  # Having met already, they do not meet again.
    given = torch.load(f"{folder}/given.pt")
    model = build()
    model.load_state_dict(given["weights"])
    batch = {key: value.chunk(2)[rank] for key, value in given["batch"].items()}
    ddp = DistributedDataParallel(model)
    answer = {"gathered": gathered(rank)}
    for name, gather in (("local", None), ("global", distributed.Gather())):
        model.gather = gather
        answer[name] = learn(ddp, model, batch)
    answer["votes"] = [distributed.any_rank(flag) for flag in (rank == 0, rank == 1, False, True)]
    answer["who"] = (distributed.rank(), distributed.world_size(), distributed.is_main())
    distributed.barrier()
    torch.save(answer, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
