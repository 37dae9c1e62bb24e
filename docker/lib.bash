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
    [[ -d $dir ]] || mkdir -m 700 "$dir" 2>/dev/null || true
    # In a shared temporary directory somebody else may have taken the name first.
    [[ -O $dir && ! -L $dir ]] || die "$dir belongs to another user." "Remove it, or set TMPDIR."
    printf '%s\n' "$dir"
}

# lock NAME: waits until no other script here holds NAME, and holds it until this one ends.
lock() {
    has flock || return 0
    local dir fd
    dir=$(state_dir)
    exec {fd}>"$dir/$1.lock"
    flock --nonblock "$fd" || {
        say "waiting for the lock \"$1\": another run on this machine holds it"
        flock "$fd"
    }
}

# Runs what may leave a daemon behind: it would inherit our locks and hold them for ever, and also any
# pipe whose end our caller waits for.
without_inherited_files() (
    for fd in "/proc/$BASHPID/fd/"*; do
        fd=${fd##*/}
        # 255 is bash's own and ends with it.
        ((fd <= 2 || fd == 255)) || exec {fd}>&-
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

install_packages_as_root() {
    update_package_lists
    (
        lock apt
        export DEBIAN_FRONTEND=noninteractive
        twice without_inherited_files apt-get -qq -y --no-install-recommends \
            -o DPkg::Lock::Timeout=300 install "$@"
    )
}

# unpack_package NAME FOLDER: the files of a package of the distribution, without installing it.
unpack_package() {
    has apt-get && has dpkg-deb || die "missing here: $1" "Install it with this system's own means."
    local work
    work=$(mktemp -d)
    say "fetching $1"
    (
        cd "$work"
        chmod 755 .
        apt-get -qq download "$1" 2>/dev/null || {
            update_package_lists >/dev/null 2>&1
            twice apt-get -qq download "$1"
        }
        dpkg-deb --extract ./*.deb unpacked
    )
    rm -rf "$2"
    mv "$work/unpacked" "$2"
    rm -rf "$work"
}

# In a subshell, which gives the lock back when it ends. The lock is ours since "apt-get update" fails
# at once when another one runs. A source that cannot be reached is no reason to stop: what is wanted
# may well be in the others.
update_package_lists() (
    lock apt
    twice without_inherited_files apt-get -qq update || true
)

# shellcheck disable=SC2034  # base and images use it
readonly BASE_IMAGE=write-behind-standin-base:latest

# fingerprint PATH...: of what a stand-in is made from. A stand-in carries it as a label, so one made
# from older files is known.
fingerprint() (
    cd "$here" || return
    find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16
)

has_image() {
    docker image inspect "$1" >/dev/null 2>&1
}

# label IMAGE NAME: prints the label, nothing when it has none.
label() {
    docker image inspect --format "{{with .Config.Labels}}{{index . \"$2\"}}{{end}}" "$1"
}

# is_current_standin IMAGE PATH...
is_current_standin() {
    has_image "$1" && [[ $(label "$1" standin.files) == "$(fingerprint "${@:2}")" ]]
}
