"""What each of two processes does for test_distributed_unit; all that it starts import this."""

import datetime

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minivl.models.unit import Unit, UnitTask
from minivl.models.unit_encoders import UnitImageEncoder, UnitTextEncoder
from minivl.nn.bert import Bert
from minivl.training import distributed

TASKS = (
    UnitTask("boxes", "boxes", classes=3, queries=4, attributes=5),
    UnitTask("claim", "answer", classes=3, queries=2, text=True),
)


class Cells(nn.Module):
    """The least that can stand in a backbone's place."""

    channels = 6

    def __init__(self):
        super().__init__()
        self.cells = nn.Conv2d(3, 6, kernel_size=4, stride=4)

    def forward(self, image):
        return self.cells(image)


def build() -> Unit:
    words = {"vocab_size": 12, "width": 8, "depth": 1, "heads": 2, "max_length": 5}
    image_encoder = UnitImageEncoder(Cells(), width=8, depth=1, heads=2, tasks=2)
    text_encoder = UnitTextEncoder(Bert(**words), tasks=2)
    return Unit(image_encoder, text_encoder, TASKS, width=8, depth=2, heads=2).double().eval()


def learn(module, model, batch) -> dict:
    """Each loss, and the gradient of each."""
    answer = {"losses": {}, "gradients": {}}
    for name in model(batch):
        module.zero_grad()
        loss = module(batch)[name]
        loss.backward()
        answer["losses"][name] = loss.detach()
        answer["gradients"][name] = {
            part: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for part, p in model.named_parameters()
        }
    return answer


def half(batch, rank) -> dict:
    """A process's share of a batch."""
    return {
        key: value.chunk(2)[rank] if torch.is_tensor(value) else value
        for key, value in batch.items()
    }


def work(rank: int, folder: str) -> None:
    """One of two processes: its half of every batch."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
        timeout=datetime.timedelta(seconds=90),
    )  # fmt: skip
    given = torch.load(f"{folder}/given.pt")
    model = build()
    model.load_state_dict(given["weights"])
    model.gather = distributed.Gather()
    # Tasks take turns, and each leaves parts of the model out.
    module = DistributedDataParallel(model, find_unused_parameters=True)
    answers = [learn(module, model, half(batch, rank)) for batch in given["batches"]]
    torch.save(answers, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
