#!/bin/bash
# Run small as a job of Slurm. The runner submits it; by hand, from this folder: sbatch sbatch.sh
#SBATCH --job-name=small
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --partition=gpu,big
#SBATCH --account=lab
#SBATCH --qos=high
#SBATCH --time=2-00:00:00
#SBATCH --gpus-per-node=a100:8
#SBATCH --cpus-per-task=12
#SBATCH --mem=900G
#SBATCH --constraint=a100&nvlink
#SBATCH --reservation=night
#SBATCH --output=slurm.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@630
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --exclude=node[7-9]
#SBATCH --mail-type=END
cd '/my work' || exit 2
export PYTHONPATH='/a b:$HOME'
# in place of this shell, so that Slurm's signals reach it; what it ends with, the job ends with
exec /venv/bin/python -m runner resume /runs/small --requeue
