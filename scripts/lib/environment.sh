# Sourced by every script: finds the project and makes its environment, `.venv`, on first use.
#
# With uv from uv.lock; without uv by `python3 -m venv` and pip, held to the same versions. Made again when pyproject.toml or
# uv.lock change. POMONA_BACKEND=cpu|cuda overrides the choice of MLX's Linux back end. All talk goes to standard error.

unset CDPATH
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
environment=$root/.venv
python=$environment/bin/python
lock=$root/.venv.lock

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

# ensure_environment run|dev: afterwards $python can run Pomona (and, with `dev`, the checks and tests).
ensure_environment() {
    local level=$1
    is_fresh "$level" && return
    take_lock
    is_fresh "$level" || make_environment "$level"
    drop_lock
}

is_fresh() { # the tools of `dev` include those of `run`
    local level
    [ -x "$python" ] || return 1
    for level in "$1" dev; do
        [ "$(cat "$environment/.made-for-$level" 2>/dev/null)" = "$(fingerprint)" ] && return
    done
    return 1
}

fingerprint() { (cd "$root" && printf '%s ' "${POMONA_BACKEND:-auto}" && cksum pyproject.toml uv.lock | tr '\n' ' '); }

make_environment() {
    local level=$1 extras log=$root/.venv.log
    check_system
    [ -e "$environment/.made-for-dev" ] && level=dev # once wanted, kept
    extras=$(backend)
    [ "$level" = dev ] && extras="${extras:+$extras }dev"
    [ "$(cat "$environment/.backend" 2>/dev/null || backend)" = "$(backend)" ] || rm -rf "$environment"
    rm -f "$environment"/.made-for-*
    say "Pomona: preparing its environment in .venv (needed once, and after an update; a minute or two) ..."
    # `$extras` is split on purpose: it is a list of words.
    if command -v uv >/dev/null; then make_with_uv $extras; else make_with_pip $extras; fi >"$log" 2>&1 || fail_with_log "$log"
    backend >"$environment/.backend"
    fingerprint >"$environment/.made-for-$level"
    rm -f "$log"
    say "Pomona: ready."
}

make_with_uv() {
    local arguments=() extra
    for extra in "$@"; do arguments+=(--extra "$extra"); done
    [ -n "${CI:-}" ] && arguments+=(--locked)
    (cd "$root" && UV_PROJECT_ENVIRONMENT=$environment uv sync --no-progress ${arguments[@]+"${arguments[@]}"}) # bash 3 calls an empty array unset
}

make_with_pip() {
    local extras=$* constraints=$root/.venv.constraints pip
    "$python" -c '' 2>/dev/null || "$(find_python)" -m venv --clear "$environment" || return
    "$python" -c 'import pip' 2>/dev/null || "$python" -m ensurepip || return
    "$python" "$root/scripts/lib/constraints.py" "$root/uv.lock" >"$constraints" || return
    pip=("$python" -m pip --disable-pip-version-check --no-input)
    (cd "$root" && "${pip[@]}" install --progress-bar off --constraint "$constraints" --editable ".[${extras// /,}]")
    local result=$?
    rm -f "$constraints"
    return $result
}

fail_with_log() {
    local log=$1
    tail -n 40 "$log" >&2
    drop_lock
    die "Pomona: the environment could not be made; the last lines of $log are above. Mend the cause and run the command again."
}

# Which of MLX's back ends this machine needs, as the name of an extra; nothing on macOS, where Metal is built in.
backend() {
    [ "$(uname -s)" = Linux ] || return 0
    if [ -n "${POMONA_BACKEND:-}" ]; then
        echo "$POMONA_BACKEND"
    elif [ "$(driver_major)" -ge 580 ]; then # the oldest driver that runs CUDA 13
        echo cuda
    else
        echo cpu
    fi
}

driver_major() {
    local version
    version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1)
    case $version in [0-9]*.*) echo "${version%%.*}" ;; *) echo 0 ;; esac
}

check_system() {
    case "${POMONA_BACKEND:-cpu}" in cpu | cuda) ;; *) stop "POMONA_BACKEND is '$POMONA_BACKEND'; it can be cpu or cuda. Unset it to let Pomona choose." ;; esac
    case "$(uname -s) $(uname -m)" in
    "Linux x86_64" | "Linux aarch64") check_glibc ;;
    "Darwin arm64") [ "$(sw_vers -productVersion | cut -d. -f1)" -ge 14 ] || stop "Pomona needs macOS 14 or later, because MLX does." ;;
    *) stop "Pomona runs on Linux (x86-64, arm64) and on Macs with Apple silicon; this is $(uname -s) $(uname -m)." ;;
    esac
    command -v uv >/dev/null || [ -x "$python" ] || find_python >/dev/null
}

check_glibc() {
    local version
    version=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
    [ -n "$version" ] || stop "Pomona needs a Linux with glibc (Debian 12, Ubuntu 22.04 or later): MLX has no packages for others."
    [ "${version#*.}" -ge 35 ] || stop "Pomona needs glibc 2.35 or later (Debian 12, Ubuntu 22.04), because MLX does; this system has $version."
}

find_python() {
    local name found="" version
    for name in python3 python3.13 python3.12 python3.11; do
        version=$("$name" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null) || continue
        [ "$version" = True ] || continue
        found=$name
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    [ -n "$found" ] && stop "Pomona found $found, but without its venv module. On Debian or Ubuntu: sudo apt-get install python3-venv"
    stop "Pomona needs Python 3.11 or later, found as python3, python3.13, python3.12 or python3.11 - or uv, which brings its own." \
        "See https://docs.astral.sh/uv/ or https://www.python.org/downloads/."
}

stop() {
    drop_lock
    die "$@"
}

# One maker at a time. The lock is a symbolic link whose target is the holder's process id: made in one step, on macOS too.
take_lock() {
    local told=""
    until ln -s "$$" "$lock" 2>/dev/null; do
        [ -w "$root" ] || die "Pomona cannot write to $root, where its environment goes. Clone it to a folder of your own."
        remove_stale_lock
        [ -n "$told" ] || say "Pomona: waiting for another process that prepares the environment (if there is none, remove $lock*) ..."
        told=yes
        sleep 0.2
    done
    trap drop_lock EXIT
    trap 'exit 130' INT TERM HUP
}

remove_stale_lock() { # under a lock of its own, so that nobody removes a lock taken a moment ago
    local holder
    ln -s "$$" "$lock.check" 2>/dev/null || return 0
    holder=$(readlink "$lock") && ! kill -0 "$holder" 2>/dev/null && rm -f "$lock"
    rm -f "$lock.check"
}

drop_lock() {
    [ "$(readlink "$lock" 2>/dev/null)" = "$$" ] && rm -f "$lock"
    trap - EXIT INT TERM HUP
}
