#!/bin/bash
# Run small as a job of Slurm. The runner submits it; by hand, from this folder: sbatch sbatch.sh
#SBATCH --job-name=small
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --output=slurm.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@630
#SBATCH --requeue
cd '/my work' || exit 2
export PYTHONPATH='/a b:$HOME'
# in place of this shell, so that Slurm's signals reach it; what it ends with, the job ends with
exec /venv/bin/python -m runner resume '/my runs/it'"'"'s $(here)
id/small' --requeue
