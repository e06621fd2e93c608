#!/usr/bin/env bash
# A Slurm of the caller's own on this machine: two nodes (or one, where slurmd cannot be started twice), two cores and two
# GPUs each that are none, in a folder of its own. Needs root, and Debian's packages slurm-wlm and munge.
#
#   slurm.sh start DIR     prints the path for SLURM_CONF
#   slurm.sh node DIR N    starts the daemon of node N (1, 2) again, after a kill
#   slurm.sh stop DIR
set -euo pipefail
what=$1 L=$2
PATH=$PATH:/usr/sbin
host=$(hostname -s)
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

case $what in
start)
    mkdir -p "$L/state" "$L/spool1" "$L/spool2" "$L/dev" "$L/munge"
    chmod 755 "$L" "$L/munge"
    head -c 1024 /dev/urandom >"$L/munge/key"
    chmod 600 "$L/munge/key"
    munged --force --socket="$L/munge/socket" --key-file="$L/munge/key" --pid-file="$L/munge/pid" \
        --log-file="$L/munge/log" --seed-file="$L/munge/seed"
    for gpu in 0 1; do mknod "$L/dev/gpu$gpu" c 1 3; done
    nodes=${NODES:-2}
    cat >"$L/slurm.conf" <<CONF
ClusterName=vitx
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$L/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmctldPidFile=$L/slurmctld.pid
SlurmdPidFile=$L/slurmd.%n.pid
SlurmctldLogFile=$L/slurmctld.log
SlurmdLogFile=$L/slurmd.%n.log
StateSaveLocation=$L/state
SlurmdSpoolDir=$L/spool.%n
SlurmctldPort=$(port)
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=1
KillWait=5
SlurmdTimeout=10
MinJobAge=60
GresTypes=gpu
CONF
    for n in $(seq $nodes); do
        name=$([ $nodes = 1 ] && echo "$host" || echo "vitx$n")
        echo "NodeName=$name NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port) CPUs=2 RealMemory=2000 Gres=gpu:2 State=UNKNOWN"
        echo "NodeName=$name Name=gpu File=$L/dev/gpu[0-1]" >>"$L/gres.conf"
        mkdir -p "$L/spool.$name"
    done >>"$L/slurm.conf"
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP" >>"$L/slurm.conf"
    export SLURM_CONF=$L/slurm.conf
    slurmctld
    for n in $(seq $nodes); do
        if [ $nodes = 1 ]; then slurmd; else slurmd -N "vitx$n"; fi
    done
    for _ in $(seq 600); do
        if [ "$(sinfo -h -N -t idle -o %N 2>>"$L/sinfo.log" | wc -l)" = $nodes ]; then
            echo "$SLURM_CONF"
            exit 0
        fi
        sleep 0.2
    done
    sinfo >&2 || true
    tail -n 20 "$L"/*.log >&2
    exit 1
    ;;
node)
    export SLURM_CONF=$L/slurm.conf
    slurmd -N "vitx$3"
    ;;
stop)
    for pid in "$L"/slurmd.*.pid "$L/slurmctld.pid" "$L/munge/pid"; do
        if [ -f "$pid" ]; then kill "$(cat "$pid")" 2>/dev/null || true; fi
    done
    ;;
esac
