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
unset GROUP_RANK LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT RANK WORLD_SIZE
export NCCL_DEBUG=WARN
export OMP_NUM_THREADS=2
export PYTHONSAFEPATH=1
export PYTHONUNBUFFERED=1
export RUNNER_ATTEMPT=1
export RUNNER_NONCE=unique
export RUNNER_RENDEZVOUS=/runs/onerec-1.7b/stage1/logs/attempt-1/rendezvous.json
export RUNNER_RUN=/runs/onerec-1.7b
rm -f /runs/onerec-1.7b/stage1/logs/attempt-1/rendezvous.json /runs/tiny/control/stop.json
exec /opt/openmpi/bin/mpirun \
    -np 16 \
    --hostfile /etc/mpi/hostfile \
    --map-by ppr:8:node \
    --bind-to none \
    --allow-run-as-root \
    -x NCCL_DEBUG=WARN \
    -x OMP_NUM_THREADS=2 \
    -x PYTHONSAFEPATH=1 \
    -x PYTHONUNBUFFERED=1 \
    -x RUNNER_ATTEMPT=1 \
    -x RUNNER_NONCE=unique \
    -x RUNNER_RENDEZVOUS=/runs/onerec-1.7b/stage1/logs/attempt-1/rendezvous.json \
    -x RUNNER_RUN=/runs/onerec-1.7b /venv/bin/python \
    -m runner.rank \
    --log-dir /runs/onerec-1.7b/stage1/logs/attempt-1 -- \
    -m onerec /runs/onerec-1.7b/stage1/config.json
