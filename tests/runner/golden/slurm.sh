#!/usr/bin/env bash
# Step stage1, attempt 1. Run it by hand to do the same again.
set -euo pipefail
cd /work
unset ${!PET_@}
unset ${!TORCHELASTIC_@}
unset ${!OMPI_COMM_WORLD_@}
unset ${!PMIX_RANK@}
unset ${!PMIX_NAMESPACE@}
unset ${!PMIX_SERVER_@}
unset GROUP_RANK LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT RANK SLURM_STEP_ID WORLD_SIZE
export OMP_NUM_THREADS=1
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export RUNNER_ATTEMPT=1
export RUNNER_NONCE=unique
export RUNNER_PEERS=10.0.0.1,10.0.0.2
export RUNNER_RENDEZVOUS=/runs/movielens/stage1/logs/attempt-1/rendezvous.json
export RUNNER_RUN=/runs/movielens
rm -f /runs/movielens/stage1/logs/attempt-1/rendezvous.json /runs/movielens/control/stop.json
exec /venv/bin/python \
    -m runner.slurm.step unique.540a8a28a405 -- /usr/bin/srun \
    --job-name=unique.540a8a28a405 \
    --nodes=2 \
    --ntasks=16 \
    --ntasks-per-node=8 \
    --distribution=block \
    --cpu-bind=none \
    --mpi=none \
    --overlap \
    --input=none \
    --export=ALL \
    --kill-on-bad-exit=1 \
    --wait=0 /venv/bin/python \
    -m runner.rank \
    --log-dir /runs/movielens/stage1/logs/attempt-1 -- \
    -m onerec /runs/movielens/stage1/config.json
