"""What each of two processes does for test_distributed_flava; all that it starts import this."""

import datetime

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from minivl.models.flava import Flava, MultimodalEncoder
from minivl.nn.bert import Bert
from minivl.nn.vit import ViT
from minivl.training import distributed


class Deaf(distributed.Gather):
    """Joins rows as it should, but sends no gradient back to the others."""

    def __call__(self, x):
        joined = super().__call__(x.detach())
        own = slice(self.rank * len(x), (self.rank + 1) * len(x))
        return torch.cat([joined[: own.start], x, joined[own.stop :]])


FORMS = {"global": distributed.Gather(), "deaf": Deaf(), "local": None}


def build() -> Flava:
    words = {"vocab_size": 12, "width": 8, "depth": 1, "heads": 2, "max_length": 5, "norm": "pre"}
    pictures = {"image_size": 8, "patch_size": 4, "width": 12, "depth": 1, "heads": 3}
    multimodal = MultimodalEncoder(10, 1, 2)
    return Flava(ViT(**pictures), Bert(**words), multimodal, embed_dim=6, vocab_size=7).double()


def choose(model: Flava, options: dict[str, str]) -> None:
    """Set options of the model; those that are not named, to what they are by default."""
    usual = {"without_pairs": "nothing", "itm_negatives": "given", "text_pool": "cls"}
    for name, value in (usual | options).items():
        setattr(model, name, value)


def learn(module, model, batch) -> dict:
    """Each loss, and every gradient of their sum."""
    module.zero_grad()
    losses = module(batch)
    sum(losses.values()).backward()
    return {
        "losses": {name: loss.detach() for name, loss in losses.items()},
        "gradients": {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in model.named_parameters()
        },
    }


def work(rank: int, folder: str) -> None:
    """One of two processes: its half of every batch, with each way to join the halves."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
        timeout=datetime.timedelta(seconds=90),
    )  # fmt: skip
    given = torch.load(f"{folder}/given.pt")
    model = build()
    model.load_state_dict(given["weights"])
    ddp = DistributedDataParallel(model, find_unused_parameters=True)
    answer = {}
    for case, (batch, options) in given["cases"].items():
        choose(model, options)
        own = {key: value.chunk(2)[rank] for key, value in batch.items()}
        for form, gather in FORMS.items():
            model.gather = gather
            answer[case, form] = learn(ddp, model, own)
    torch.save(answer, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
