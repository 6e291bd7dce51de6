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
export MASTER_ADDR=10.0.0.1
export MASTER_PORT=29400
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
exec /opt/openmpi/bin/mpirun \
    -np 16 \
    --host host1:8,host2:8 \
    --map-by ppr:8:node \
    --bind-to none \
    --allow-run-as-root \
    --mca btl_tcp_if_include 10.0.0.0/24 \
    --prtemca prte_if_include 10.0.0.0/24 \
    --prtemca oob_tcp_keepalive_time 10 \
    --prtemca oob_tcp_keepalive_intvl 10 \
    --prtemca oob_tcp_keepalive_probes 3 \
    --prtemca plm_ssh_args \
    '-F /etc/mpi/ssh_config -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 -o ControlPath=none' \
    -x MASTER_ADDR \
    -x MASTER_PORT \
    -x NCCL_DEBUG \
    -x OMP_NUM_THREADS \
    -x PYTHONSAFEPATH \
    -x PYTHONUNBUFFERED \
    -x RUNNER_ATTEMPT \
    -x RUNNER_NONCE \
    -x RUNNER_PEERS \
    -x RUNNER_RENDEZVOUS \
    -x RUNNER_RUN /venv/bin/python \
    -m runner.rank \
    --log-dir /runs/onerec-1.7b/stage1/logs/attempt-1 -- \
    -m onerec /runs/onerec-1.7b/stage1/config.json
