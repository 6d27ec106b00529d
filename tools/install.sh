#!/usr/bin/env bash
# Installs what sorairo needs on this machine, each step only when it is missing:
#
#   tools/install.sh [packages] [venv] [engine] [dev] [az]     (without words: packages venv engine)
#
# packages  Debian packages, with apt-get (through sudo when not root)
# venv      .venv with sorairo in it, from this folder
# engine    the newest Kubernetes and the programs around it: wheels from $SORAIRO_WHEELS or dist/, else built
# dev       what tests need, in the same .venv
# az        the Azure CLI, in a place of its own (400 MB): $XDG_CACHE_HOME/sorairo/az
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/sorairo"
wheels="${SORAIRO_WHEELS:-dist}"

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() {
    printf '\033[31m✗\033[0m %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '  → %s\n' "$2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        say "as root, through sudo: $*"
        sudo "$@"
    else
        return 1
    fi
}

# install_packages NAME…: those that dpkg does not know as installed.
install_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null || {
        say "no Debian packages here; if something is missing, these are its names: $*"
        return 0
    }
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    say "installing ${missing[*]}"
    local hint="apt-get install -y ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >&2 && return 0
    # A fresh machine has no package lists yet, or old ones.
    as_root apt-get update -q >&2 || fail "cannot install ${missing[*]}" "as root: $hint"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >&2 ||
        fail "cannot install ${missing[*]}" "as root: $hint"
}

packages() {
    # nft and ip live where an ordinary user's PATH does not go.
    PATH="$PATH:/usr/sbin:/sbin"
    local names
    mapfile -t names < <(cat tools/apt-packages.txt engine/apt-packages.txt | grep -v python3-venv)
    install_packages "${names[@]}"
}

# The newest interpreter that will do.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && {
            command -v "$candidate"
            return 0
        }
    done
    return 1
}

# make_venv FOLDER
make_venv() {
    if [ -x "$1/bin/python" ]; then
        "$1/bin/python" -m pip --version >/dev/null 2>&1 && return 0
        "$1/bin/python" -m ensurepip >/dev/null 2>&1 && return 0
    fi
    local python version
    python=$(find_python) || {
        install_packages python3 python3-venv
        python=$(find_python) || fail "sorairo needs Python 3.11 or newer" "install one, or name it: PYTHON=/path make up"
    }
    # Debian splits venv and ensurepip off.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        install_packages "python$version-venv"
    fi
    say "making $1 with $("$python" --version)"
    "$python" -m venv "$1" || fail "cannot make a virtual environment with $python" "install its venv module"
}

# pip_install FOLDER ARGUMENT…
pip_install() {
    local folder=$1
    shift
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore "$@" >&2
}

# once NAME FILE… -- COMMAND…: run a command unless it was run since the files last changed.
once() {
    local name=$1 files=() stamp sum
    shift
    while [ "$1" != -- ]; do
        files+=("$1")
        shift
    done
    shift
    stamp=.venv/.sorairo-$name
    sum=$(cat "${files[@]}" | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] && return 0
    "$@"
    printf '%s\n' "$sum" >"$stamp"
}

venv() {
    make_venv .venv
    once installed pyproject.toml -- install_sorairo
}
install_sorairo() {
    say "installing sorairo in .venv"
    pip_install .venv --editable .
}

dev() {
    make_venv .venv
    once dev pyproject.toml -- install_dev
    once installed pyproject.toml -- true
}
install_dev() {
    say "installing what tests need"
    pip_install .venv --editable '.[dev]'
}

engine() {
    shopt -s nullglob
    local ready=("$wheels"/sorairo_kubernetes_*.whl "$wheels"/sorairo_cloud_provider-*.whl)
    local around=("$wheels"/sorairo_engine-*.whl "$wheels"/sorairo_images-*.whl "$wheels"/sorairo_kubelogin-*.whl)
    shopt -u nullglob
    if [ ${#ready[@]} -gt 0 ] && [ ${#around[@]} -ge 3 ]; then
        once wheels <(printf '%s\n' "${ready[@]}" "${around[@]}") -- install_wheels "${ready[@]}" "${around[@]}"
        return
    fi
    say "the engine: built once, the first time takes some twenty minutes on two cores"
    # Tests choose between versions, and between cloud controllers: they ask for all of them.
    .venv/bin/python engine/build.py ${SORAIRO_MINORS:+--all} ${SORAIRO_WITH:+--with "$SORAIRO_WITH"} \
        --install .venv/bin/python >&2 ||
        fail "the engine was not built" "the log is named above; then again: make up"
}
install_wheels() {
    say "installing the engine from $wheels"
    pip_install .venv --no-deps --force-reinstall "$@"
}

az() {
    [ -z "${SORAIRO_NO_AZ:-}" ] || return 0
    command -v az >/dev/null && return 0
    [ -x "$cache/az/bin/az" ] && "$cache/az/bin/python" -c 'import azure.cli.core' 2>/dev/null && return 0
    local wanted
    wanted=$(sed -n 's/^az = \["\(.*\)"\]/\1/p' pyproject.toml)
    mkdir -p "$cache"
    make_venv "$cache/az"
    say "installing $wanted in $cache/az (400 MB, some minutes)"
    pip_install "$cache/az" "$wanted"
}

[ $# -gt 0 ] || set -- packages venv engine
for part in "$@"; do
    case $part in
    packages | venv | engine | dev | az) "$part" ;;
    *) fail "no part '$part'" "one of: packages venv engine dev az" ;;
    esac
done
