import os
import subprocess
import sys

from compress.run.world import World


def test_alone_it_agrees_with_itself_without_torch():
    code = (
        "import sys; from compress.run.world import World; w = World(); "
        "print(w.agree({'a': 1}), w.main, 'torch' in sys.modules)"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)

    assert done.stdout.strip() == "{'a': 1} True False"


def test_every_process_hears_what_rank_0_said(tmp_path):
    code = (
        "from compress.run.world import World; import torch.distributed as dist\n"
        "w = World()\n"
        "heard = [w.agree({'from': w.rank, 'name': 'ä'}), w.agree(None if w.rank else [1, 2, 3])]\n"
        "open(__import__('sys').argv[1] + f'/{w.rank}', 'w').write(repr(heard)); dist.destroy_process_group()"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0",
               "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", str(script), str(tmp_path)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=100)

    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == "[{'from': 0, 'name': 'ä'}, [1, 2, 3]]"
    assert repr(World()) == "World(rank 0 of 1)"
