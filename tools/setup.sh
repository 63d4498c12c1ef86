#!/bin/sh
# Makes .venv beside this folder's parent and installs swift into it: `sh tools/setup.sh [run|dev]`.
#
#   run   what swift needs to work
#   dev   that, and the tools of development (the default)
#
# What is done is skipped; what was interrupted is repaired. Without a GPU torch comes as its CPU
# build, never as gigabytes of CUDA. Exit 3: this machine lacks something, and the text says what.
#
#   PYTHON           the Python to begin with (3.11 or newer)
#   TORCH            which torch
#   TORCH_CPU_INDEX  where its CPU build is, when pip's own configuration has none
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=$root/.venv
wanted=${1:-dev}
TORCH=${TORCH:-torch==2.13.0}
TORCH_CPU_INDEX=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_REQUIRE_VIRTUALENV=0

case ${SWIFT_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}} in
    [zZ][hH]*) language=zh ;;
    *) language=en ;;
esac

say() { # say ENGLISH CHINESE
    if [ "$language" = zh ]; then printf '%s\n' "$2"; else printf '%s\n' "$1"; fi
}

fail() { # fail ENGLISH CHINESE: the machine's owner can mend it
    say "setup: $1" "安装：$2" >&2
    exit 3
}

find_python() {
    for candidate in "${PYTHON:-}" python3.14 python3.13 python3.12 python3.11 python3; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        printf '%s\n' "$candidate"
        return
    done
    fail "no Python 3.11 or newer was found; install one, or name it: PYTHON=/path/python3" \
        "没有找到 Python 3.11 或更新的版本；请安装，或指明：PYTHON=/path/python3"
}

python() { "$venv/bin/python" "$@"; }

# On a terminal pip shows its bars; elsewhere it is silent, and our own lines tell.
pip() {
    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then python -m pip "$@"; else python -m pip -qq --no-color "$@"; fi
}

make_venv() {
    say "[1/3] making .venv" "[1/3] 正在创建 .venv"
    base=$(find_python)
    [ ! -e "$venv" ] || { [ -f "$venv/pyvenv.cfg" ] || [ ! -s "$venv/bin/python" ]; } \
        || fail "$venv is no virtual environment; move it away" "$venv 不是虚拟环境；请移走"
    rm -rf "$venv"
    if "$base" -c 'import ensurepip' 2>/dev/null && "$base" -m venv "$venv" >/dev/null; then
        return
    fi
    # Debian splits ensurepip off into a package of its own; pip can be had from pip's own index.
    rm -rf "$venv"
    "$base" -m venv --without-pip "$venv" && wheel=$(python "$root/tools/fetch_pip.py" "$venv") \
        && python "$wheel/pip" -q install --no-deps --no-index "$wheel" && rm -f "$wheel" && return
    version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "$base cannot make a virtual environment; on Debian: apt-get install python$version-venv" \
        "$base 不能创建虚拟环境；在 Debian 上：apt-get install python$version-venv"
}

# pip writes INSTALLER and RECORD last: a package without them is half there, and pip would
# believe that it is whole.
drop_halves() {
    for info in "$venv"/lib/python*/site-packages/*.dist-info; do
        [ -d "$info" ] || continue
        if [ ! -s "$info/INSTALLER" ] || [ ! -s "$info/RECORD" ]; then rm -rf "$info"; fi
    done
    rm -rf "$venv"/lib/python*/site-packages/~*
}

has_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; }

# The tool of another vendor, where there is one.
other_device() {
    for tool in npu-smi amd-smi rocm-smi xpu-smi; do
        if command -v "$tool" >/dev/null 2>&1; then echo "$tool"; return 0; fi
    done
    return 1
}

# Whether what pip would install is no CUDA build: it asks for none of CUDA's own packages.
configured_is_cpu() {
    plan=$venv/.torch.json
    python -m pip -q install --dry-run --no-deps --ignore-installed --report "$plan" "$TORCH" \
        >/dev/null 2>&1 || return 1
    python - "$plan" <<'PYTHON'
import json, sys
torch = json.load(open(sys.argv[1], encoding="utf-8"))["install"][0]["metadata"]
linux = sys.platform == "linux"
needs = " ".join(torch.get("requires_dist", [])).lower()
sys.exit(linux and ("nvidia" in needs or "cuda" in needs))
PYTHON
}

install_torch() {
    if tool=$(other_device); then
        say "[2/3] $tool is here: docs/hardware.md tells which build of torch uses its devices" \
            "[2/3] 检测到 $tool：哪个版本的 torch 能使用这些设备，见 docs/hardware.md"
    fi
    if has_gpu; then
        say "[2/3] installing $TORCH for this machine's GPU" "[2/3] 正在安装 $TORCH（用于本机的 GPU）"
        pip install "$TORCH"
    elif configured_is_cpu; then
        say "[2/3] installing the CPU build of $TORCH" "[2/3] 正在安装 $TORCH 的 CPU 版"
        pip install --no-deps "$TORCH"
    else
        say "[2/3] installing the CPU build of $TORCH from $TORCH_CPU_INDEX" \
            "[2/3] 正在从 $TORCH_CPU_INDEX 安装 $TORCH 的 CPU 版"
        # What torch needs comes with swift, from the usual index.
        pip install --no-deps --index-url "$TORCH_CPU_INDEX" "$TORCH"
    fi || fail "torch could not be installed; pip's words above say why" \
        "torch 安装失败；原因见上面 pip 的输出"
}

install_swift() {
    if [ "$wanted" = dev ]; then what="$root[dev]"; else what=$root; fi
    say "[3/3] installing swift and what it needs" "[3/3] 正在安装 swift 及其依赖"
    pip install -e "$what" || fail "swift could not be installed; pip's words above say why" \
        "swift 安装失败；原因见上面 pip 的输出"
}

# A stamp says from which list of dependencies it was installed, and where (scripts in .venv hold its
# path, so a folder that was moved is mended too).
mark="$(cksum <"$root/pyproject.toml") $root"
if [ "$(cat "$venv/.ready-$wanted" 2>/dev/null)" = "$mark" ] && python -c '' 2>/dev/null; then
    exit 0
fi

if [ -d "$venv" ] && python -c '' 2>/dev/null; then drop_halves; fi
python -m pip --version >/dev/null 2>&1 || make_venv
rm -f "$venv"/.ready-*
python -m pip show -q torch >/dev/null 2>&1 || install_torch
install_swift
rm -f "$venv/.torch.json"
"$venv/bin/swift" --version
for done in run "$wanted"; do # what development needs holds what running needs
    printf '%s' "$mark" >"$venv/.ready.new"
    mv "$venv/.ready.new" "$venv/.ready-$done"
done
