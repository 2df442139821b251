"""`load_tokens` with torch: tensors, DataLoader workers, and torchdata's StatefulDataLoader. Skipped where torch is not."""

import importlib.util

import pytest

from asyncdl import load_tokens
from asyncdl.errors import ConfigError
from tests.support.packed import numbers, packed

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata and a newer torch
]


@pytest.fixture
def folder(tmp_path):
    return packed(tmp_path / "tok-4", {"s": [[3, 3, 5], [4], [9, 1]]})


def load(folder, **options):
    return load_tokens(folder, **{"batch_size": 2, "seed": 1, "as_torch": True} | options)


def seen(batches):
    return [numbers(batch) for batch in batches]


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed")
def test_asking_for_torch_where_it_is_not_is_told(folder):
    with pytest.raises(ConfigError, match="torch is not installed") as error:
        load(folder)
    assert error.value.hint


@needs_torch
def test_tensors_are_what_the_losses_of_torch_take(folder):
    import torch

    for batch in load(folder, batch_size=5):
        assert all((values.dtype, values.shape) == (torch.int64, (5, 4)) for values in batch.values())
        logits = torch.zeros(5, 4, 200)
        loss = torch.nn.functional.cross_entropy(logits.view(-1, 200), batch["labels"].view(-1))
        assert loss.isfinite()


@needs_torch
def test_tensors_hold_what_the_arrays_hold(folder):
    assert seen(load(folder)) == seen(load(folder, as_torch=False))


@needs_torch
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_data_loader_workers_give_what_one_process_gives(folder, n_workers, method):
    from torch.utils.data import DataLoader

    loader = load(folder)
    first, second = seen(loader), seen(loader)
    loader.set_epoch(0)
    batches = DataLoader(loader, batch_size=None, num_workers=n_workers, multiprocessing_context=method)
    assert len(batches) == len(loader)
    assert seen(batches) == first
    loader.set_epoch(1)
    assert seen(batches) == second


@needs_torch
@pytest.mark.parametrize("n_workers", [0, 2, 3])
def test_a_data_loader_resumes_from_the_count_of_batches(folder, n_workers):
    from torch.utils.data import DataLoader

    loader = load(folder)
    alone = seen(loader)
    loader.set_epoch(0)
    for n_taken in (0, 1, 4, len(alone)):
        resumed = load(folder)
        resumed.load_state_dict(loader.state_dict(n_taken))
        assert seen(DataLoader(resumed, batch_size=None, num_workers=n_workers)) == alone[n_taken:]


@needs_torch
@pytest.mark.parametrize("n_workers", [0, 1, 2, 3])
def test_a_stateful_data_loader_resumes_at_every_batch(folder, n_workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    alone = seen(load(folder))
    for n_taken in range(len(alone) + 1):
        stopped = stateful(load(folder), batch_size=None, num_workers=n_workers)
        running = iter(stopped)
        taken = [numbers(next(running)) for _ in range(n_taken)]
        resumed = stateful(load(folder), batch_size=None, num_workers=n_workers)
        resumed.load_state_dict(stopped.state_dict())
        assert taken + seen(resumed) == alone
