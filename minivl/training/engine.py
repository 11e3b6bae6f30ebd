"""The one training loop: every stage of every paper runs through `train`."""

import contextlib
import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from minivl.errors import UserError
from minivl.objectives import joint
from minivl.training import checkpoint, distributed
from minivl.training import state as states
from minivl.training.device import computing
from minivl.training.faults import (
    check_finite,
    check_skipped,
    disk_errors,
    last_good,
    memory_errors,
    told_where,
)
from minivl.training.loader import StepData
from minivl.training.monitor import OWN_FIELDS, TIMINGS, Monitor, clock, say
from minivl.training.optim import (
    clip_gradient,
    fill_idle,
    gradient_norm,
    learning_rate,
    set_learning_rate,
    set_scheduled,
)
from minivl.training.randomness import seed_everything
from minivl.training.recipe import Stage
from minivl.training.run import Run, append_line, read_lines
from minivl.training.session import Session, about, begin
from minivl.training.stop import StopFlag, Stopped, stop_on_signal

Values = dict[str, float]
RESERVED = {*OWN_FIELDS, *TIMINGS}  # of a line in metrics.jsonl


def train(stages: Stage | Sequence[Stage], run: Run, *, resume: bool = False) -> Run:
    """Train the stages in order, writing everything into the run's folder.

    Ctrl-C or SIGTERM saves and raises Stopped, a SystemExit with code 0. With resume, training
    goes on from the newest intact checkpoint, with the very numbers it would have had.
    """
    stages = _checked(stages)
    distributed.init()
    with contextlib.ExitStack() as stack:
        stack.enter_context(disk_errors(run))
        if distributed.is_main():
            stack.enter_context(run.hold(resume))
        distributed.barrier()
        stop = stack.enter_context(stop_on_signal())
        if run.finished:
            _tell(f"{run.folder} is finished: nothing to resume")
            return run
        first, going_on_from = resume_point(stages, run)
        run.last_checkpoint = going_on_from
        distributed.barrier()
        for stage in stages[first:]:
            train_stage(stage, run, stop, going_on_from)
            going_on_from = None
        if distributed.is_main():
            run.finish(summary(stages, run))
        distributed.barrier()
    return run


def train_stage(stage: Stage, run: Run, stop: StopFlag, going_on_from: Any = None) -> None:
    """The five jobs of a stage, each a call: schedule, step, log, evaluate, save."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(memory_errors(stage.training))
        session = begin(stage, run, going_on_from)
        stack.enter_context(computing(stage.training, session.device))
        loader = stack.enter_context(session.loader())
        monitor = stack.enter_context(_monitor(session))
        for data in loader:
            schedule(session)
            values = train_step(session, data)
            log(session, monitor, data, values)
            watch_if_due(session, monitor)
            improved = evaluate_if_due(session, monitor)
            stopping = distributed.any_rank(stop.requested)
            save_if_due(session, monitor, now=improved or stopping)
            if stopping:
                _say_goodbye(session, monitor)
                raise Stopped
        monitor.close()
        distributed.barrier()
        evaluate(session)
        draw(session)


def schedule(session: Session) -> None:
    """Set what the coming step is to use: seed, learning rate, all that is scheduled."""
    state = session.state
    seed_everything(session.run.seed, state.stage, state.step, "step", distributed.rank())
    set_learning_rate(state.optimizer, learning_rate(state.step, session.stage.training))
    set_scheduled(session.model, state.optimizer, scheduled(session, state.step))


def scheduled(session: Session, step: int) -> Values:
    """Every quantity that follows a schedule of the stage, at a step counted from 0."""
    return {name: value(step) for name, value in session.stage.schedules.items()}


def train_step(session: Session, data: StepData) -> Values:
    """One optimiser step; the mean over all processes of each loss, and the gradient's norm."""
    stage, state = session.stage, session.state
    state.optimizer.zero_grad(set_to_none=True)
    where = f"stage {stage.name}, step {state.step + 1}, stream {data.stream.name}"
    with told_where(where, last_good(session.run)):
        losses = backward(session, data)
    norm = gradient_norm(session.model)
    values, corrupt = _agree(losses | {"grad_norm": norm}, len(data.skipped))
    check_finite(values, session.model, where, last_good(session.run))
    clip_gradient(session.model, stage.training, norm)
    if stage.training.idle == "decayed":
        fill_idle(session.model)
    if hasattr(session.model, "before_step"):
        session.model.before_step(state.step)
    state.optimizer.step()
    if hasattr(session.model, "after_step"):
        with torch.no_grad():
            session.model.after_step()
    state.step += 1
    state.samples_read += data.stream.batch_size + corrupt
    if corrupt:
        name = data.stream.name
        state.skipped[name] = state.skipped.get(name, 0) + corrupt
    return values


def backward(session: Session, data: StepData) -> dict[str, torch.Tensor]:
    """Gradients of the loss averaged over the micro-batches; the averaged losses, by name."""
    sums: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(data.batches, start=1):
        with _synchronised(session.module, number == len(data.batches)):
            with session.autocast:
                losses = session.module(batch)
            losses = _chosen(losses, data)
            total = joint.joint_loss(losses, session.stage.loss_weights)
            (total / len(data.batches)).backward()
        for name, loss in (losses | {"loss": total}).items():
            sums[name] = sums.get(name, 0) + loss.detach()
    return {name: value / len(data.batches) for name, value in sums.items()}


def _chosen(losses: dict[str, torch.Tensor], data: StepData) -> dict[str, torch.Tensor]:
    names = data.stream.losses or tuple(losses)
    unknown = set(names) - set(losses)
    if unknown or not names or RESERVED.intersection(names):
        raise UserError(
            f"stream {data.stream.name} feeds the losses {', '.join(names) or '(none)'}, "
            f"the model returned {', '.join(losses) or 'none'}",
            f"name losses that the model returns, and none of {', '.join(sorted(RESERVED))}",
        )
    return {name: losses[name] for name in names}


def _synchronised(module: torch.nn.Module, last: bool) -> contextlib.AbstractContextManager:
    """Gradients cross between processes once a step, with the last micro-batch."""
    return contextlib.nullcontext() if last or not hasattr(module, "no_sync") else module.no_sync()


def _agree(tensors: dict[str, torch.Tensor], corrupt: int) -> tuple[Values, int]:
    """Scalars as floats, averaged over the processes, and their corrupt samples together.

    The only moment of a step that waits for the device. A NaN anywhere is a NaN everywhere.
    """
    dtype = torch.promote_types(tensors["loss"].dtype, torch.float32)
    vector = torch.stack([v.detach().to(dtype) for v in tensors.values()])
    vector = torch.cat([vector, vector.new_tensor([corrupt])])
    if distributed.world_size() > 1:
        torch.distributed.all_reduce(vector)
        vector[:-1] /= distributed.world_size()
    *values, corrupt = vector.tolist()
    return dict(zip(tensors, values, strict=True)), round(corrupt)


def log(session: Session, monitor: Monitor, data: StepData, values: Values) -> None:
    """Count the step's time and samples; write a line when one is due."""
    state, stage = session.state, session.stage
    seconds = time.perf_counter() - data.started
    state.seconds += seconds
    state.seconds_waited += data.seconds_waited
    step = {"stage": stage.name, "step": state.step, "stream": data.stream.name}
    rates = {"lr": learning_rate(state.step - 1, stage.training)}
    rates |= scheduled(session, state.step - 1)
    record = step | {"loss": values["loss"]} | values | rates
    if monitor.due(state.step):
        record |= {name: float(v) for name, v in getattr(session.model, "monitors", {}).items()}
    monitor.log(record, data.stream.batch_size, seconds, data.seconds_waited)
    for sample in data.skipped:
        line = {"stream": data.stream.name, "where": sample.where, "why": sample.why}
        append_line(session.run.skipped_file, step | line)
    check_skipped(state.skipped, state.samples_read, stage.training.max_bad_fraction)


def watch_if_due(session: Session, monitor: Monitor) -> None:
    """Note how learning goes after steps 1, 2, 4, 8, ... and the last."""
    stage, step = session.stage, session.state.step
    due = step & (step - 1) == 0 or session.finished
    if stage.watch is None or not due or not distributed.is_main():
        return
    with monitor.pause():
        seen = _in_eval_mode(session, stage.watch)
    append_line(session.run.watched_file, {"stage": stage.name, "step": step} | seen)


def evaluate_if_due(session: Session, monitor: Monitor) -> bool:
    """Evaluate every so many steps (the last is evaluated at the end); whether it is the best."""
    every = session.stage.training.evaluate_every
    if not every or session.state.step % every or session.finished:
        return False
    with monitor.pause():
        return evaluate(session)


def evaluate(session: Session) -> bool:
    """Merge the stage's evaluation into eval.json; whether it is the best so far."""
    stage, state = session.stage, session.state
    if stage.evaluate is None or not distributed.is_main():
        return False
    metrics = _in_eval_mode(session, stage.evaluate)
    session.run.update_evaluation(metrics)
    if stage.best is None or not stage.training.evaluate_every:
        return False
    if stage.best not in metrics:
        raise UserError(
            f"stage {stage.name} judges by {stage.best}, its evaluation gave {', '.join(metrics)}",
            "name one of these as the stage's best",
        )
    value = session.run.evaluation()[stage.best]["value"]
    if state.best is not None and value <= state.best["value"]:
        return False
    state.best = {"checkpoint": f"step-{state.step}", "step": state.step, "value": value}
    if session.finished:  # the last checkpoint is written before the last evaluation
        checkpoint.point(session.folder / checkpoint.BEST, state.best["checkpoint"])
    return True


def _in_eval_mode(session: Session, function: Any) -> Any:
    seed_everything(session.run.seed, session.stage.name, session.state.step, "evaluate")
    session.model.eval()
    try:
        with torch.no_grad():
            return function(session.model, session.device)
    finally:
        session.model.train()


def save_if_due(session: Session, monitor: Monitor, *, now: bool) -> None:
    """Save every so many steps, at the last one, and when asked to."""
    step = session.state.step
    due = now or session.finished or step % session.stage.training.checkpoint_every == 0
    if due and distributed.is_main():
        with monitor.pause():
            save(session)


def save(session: Session) -> None:
    """Write a checkpoint, then delete those that are no longer kept."""
    state = session.state
    session.run.last_checkpoint = states.save(state, session.folder, about(session.run))
    best = state.best["checkpoint"] if state.best else None
    if best:
        checkpoint.point(session.folder / checkpoint.BEST, best)
    checkpoint.prune(session.folder, session.stage.training.keep_checkpoints, best)


def draw(session: Session) -> None:
    """Save the stage's figures as pictures."""
    if session.stage.figures is None or not distributed.is_main():
        return
    session.run.figures.mkdir(exist_ok=True)
    whose = {"Stage": session.stage.name}  # the report orders pictures by it
    function = session.stage.figures
    if session.stage.watch is not None:
        lines = read_lines(session.run.watched_file)
        watched = [line for line in lines if line["stage"] == session.stage.name]
        function = partial(function, watched=watched)
    for name, figure in _in_eval_mode(session, function).items():
        figure.savefig(session.run.figures / f"{name}.png", metadata=whose)


def resume_point(stages: Sequence[Stage], run: Run) -> tuple[int, Any]:
    """The stage to go on with and its checkpoint; everything written later is cut away."""
    first, found = 0, None
    for number, stage in reversed(list(enumerate(stages))):
        found = checkpoint.newest(run.checkpoints / stage.name, _tell)
        if found is not None:
            first = number
            break
    done = {stage.name: stage.training.steps for stage in stages[:first]}
    if found is not None:
        done[stages[first].name] = int(found.name.removeprefix("step-"))
    if distributed.is_main():
        checkpoint.remove_leftovers(run.checkpoints)
        run.rewind(lambda line: line["step"] <= done.get(line["stage"], 0))
    return first, found


def summary(stages: Sequence[Stage], run: Run) -> dict[str, Any]:
    """What each stage took, for summary.json."""
    result = {}
    for stage in stages:
        path = checkpoint.newest(run.checkpoints / stage.name)
        state = json.loads((path / checkpoint.STATE).read_text())
        seconds = max(state["seconds"], 1e-9)
        result[stage.name] = {
            "steps": state["step"],
            "seconds": round(seconds, 2),
            "samples_per_second": round(state["samples_read"] / seconds, 2),
            "data_wait_share": round(state["seconds_waited"] / seconds, 4),
            "samples_read": state["samples_read"],
            "skipped": state["skipped"],
        }
        line = result[stage.name]
        say(
            f"{stage.name} trained {line['steps']:,} steps in {clock(seconds)}, "
            f"{line['samples_per_second']:,.0f} samples/s, waiting for data "
            f"{line['data_wait_share']:.0%} of it, {sum(state['skipped'].values())} samples skipped"
        )
    return {"stages": result}


def _checked(stages: Stage | Sequence[Stage]) -> list[Stage]:
    stages = [stages] if isinstance(stages, Stage) else list(stages)
    names = [stage.name for stage in stages]
    if not stages or len(set(names)) < len(names):
        raise UserError(f"stages must be named, each differently: {names}", "rename one")
    for stage in stages:
        stage.training.check()
    return stages


def _monitor(session: Session) -> Monitor:
    training = session.stage.training
    steps = range(session.state.step, training.steps)
    quiet = not distributed.is_main()
    return Monitor(session.run, session.stage.name, steps, training.log_every, quiet=quiet)


def _say_goodbye(session: Session, monitor: Monitor) -> None:
    monitor.say(f"stopped after step {session.state.step}, saved {session.run.last_checkpoint}")
    monitor.say(f"go on with: {session.run.resume_command}")


def _tell(text: str) -> None:
    if distributed.is_main():
        say(text)
