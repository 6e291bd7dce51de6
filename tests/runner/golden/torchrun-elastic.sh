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
export NCCL_DEBUG=WARN
export OMP_NUM_THREADS=2
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export RUNNER_ATTEMPT=1
export RUNNER_NONCE=unique
export RUNNER_PEERS=10.0.0.1,10.0.0.2
export RUNNER_RENDEZVOUS=/runs/onerec-1.7b/stage1/logs/attempt-1/rendezvous.json
export RUNNER_RUN=/runs/onerec-1.7b
rm -f /runs/onerec-1.7b/stage1/logs/attempt-1/rendezvous.json /runs/tiny/control/stop.json
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
/venv/bin/torchrun \
    --nnodes 1:4 \
    --rdzv-backend c10d \
    --rdzv-endpoint 10.0.0.1:29400 \
    --rdzv-id unique \
    --rdzv-conf is_host=true,join_timeout=600 \
    --local-addr 10.0.0.1 \
    --nproc-per-node 8 \
    --max-restarts 0 \
    --log-dir /runs/onerec-1.7b/stage1/logs/attempt-1/torchrun \
    -m runner.rank \
    --log-dir /runs/onerec-1.7b/stage1/logs/attempt-1 -- \
    -m onerec /runs/onerec-1.7b/stage1/config.json &
/venv/bin/python \
    -m runner.lost_host -- ssh \
    -n \
    -o BatchMode=yes \
    -o ConnectTimeout=10 \
    -o ServerAliveInterval=10 \
    -o ServerAliveCountMax=3 \
    -o ControlPath=none host2 -- 'cd /work && exec env NCCL_DEBUG=WARN OMP_NUM_THREADS=2 PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 RUNNER_ATTEMPT=1 RUNNER_NONCE=unique RUNNER_PEERS=10.0.0.1,10.0.0.2 RUNNER_RENDEZVOUS=/runs/onerec-1.7b/stage1/logs/attempt-1/rendezvous.json RUNNER_RUN=/runs/onerec-1.7b /venv/bin/python -m runner.tether "$PPID" -- /venv/bin/torchrun --nnodes 1:4 --rdzv-backend c10d --rdzv-endpoint 10.0.0.1:29400 --rdzv-id unique --rdzv-conf is_host=false,join_timeout=600 --local-addr 10.0.0.2 --nproc-per-node 8 --max-restarts 0 --log-dir /runs/onerec-1.7b/stage1/logs/attempt-1/torchrun -m runner.rank --log-dir /runs/onerec-1.7b/stage1/logs/attempt-1 -- -m onerec /runs/onerec-1.7b/stage1/config.json' &
for job in $(jobs -p); do wait "$job"; done
