# Helpers shared by the scripts in this directory; sourced, never run.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here

# One line of progress, named after the script that prints it.
say() {
    printf '[%s] %s\n' "${0##*/}" "$*"
}

# What went wrong, each following argument a line on how to mend it, and the end of the script.
die() {
    printf '[%s] error: %s\n' "${0##*/}" "$1" >&2
    shift
    (($# == 0)) || printf '    %s\n' "$@" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# limited SECONDS COMMAND...: ends the command after that time, where the system can do that.
limited() {
    if has timeout; then
        timeout "$@"
    else
        shift
        "$@"
    fi
}

# Runs a command that uses the network, and once more when it fails: mirrors hiccup.
twice() {
    "$@" || {
        sleep 3
        "$@"
    }
}

engine_answers() {
    has docker && limited 20 docker info >/dev/null 2>&1
}

# Prints the directory for logs, locks and half-built things. It belongs to the machine, not to the
# checkout: two checkouts share one Docker engine and so must share the locks too.
state_dir() {
    local dir="${TMPDIR:-/tmp}/write-behind-docker-$EUID"
    mkdir -p -m 700 "$dir"
    # In a shared temporary directory somebody else may have taken the name first.
    [[ -O $dir && ! -L $dir ]] || die "$dir belongs to another user." "Remove it, or set TMPDIR."
    printf '%s\n' "$dir"
}

lock_fds=()

# lock NAME: waits until no other script here holds NAME, and holds it until this one ends.
lock() {
    has flock || return 0
    local dir fd
    dir=$(state_dir)
    exec {fd}>"$dir/$1.lock"
    lock_fds+=("$fd")
    flock --nonblock "$fd" || {
        say "waiting for the lock \"$1\": another run on this machine holds it"
        flock "$fd"
    }
}

# Runs what may leave a daemon behind: every process inherits our locks, and a daemon that did would
# hold them for ever.
without_locks() (
    for fd in "${lock_fds[@]}"; do
        exec {fd}>&-
    done
    exec "$@"
)

# Installs the distribution's packages named, or says how to.
install_packages() {
    if ! has apt-get; then
        die "missing here: $*" "Those are Debian's names; install them with this system's own means."
    fi
    if ((EUID != 0)); then
        die "missing here: $*" "Run: sudo apt-get update && sudo apt-get install $*"
    fi
    local log
    log="$(state_dir)/apt.log"
    say "installing $*"
    install_packages_as_root "$@" >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        die "apt-get could not install: $*" "The whole log is in $log."
    }
}

# In a subshell, which gives the lock back when it ends. The lock is ours since "apt-get update"
# fails at once when another one runs.
install_packages_as_root() (
    lock apt
    export DEBIAN_FRONTEND=noninteractive
    twice without_locks apt-get -qq update &&
        twice without_locks apt-get -qq -y --no-install-recommends \
            -o DPkg::Lock::Timeout=300 install "$@"
)
