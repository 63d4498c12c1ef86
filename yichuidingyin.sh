#!/bin/sh
# One hammer sets the tone: installs what is missing, then leads from a model to an API that answers.
#
#   ./yichuidingyin.sh          asks a few questions, trains, serves
#   ./yichuidingyin.sh --demo   shows the whole journey on the embedded model
#
# Works from any folder, through links, with a terminal or without. Nothing outside .venv is touched.
set -eu

# Follow links by hand: `readlink -f` is not everywhere.
self=$0
while [ -L "$self" ]; do
    target=$(readlink -- "$self")
    case $target in
        /*) self=$target ;;
        *) self=$(dirname -- "$self")/$target ;;
    esac
done
root=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd -P)

case ${SWIFT_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}} in
    [zZ][hH]*) language=zh ;;
    *) language=en ;;
esac

usage() {
    if [ "$language" = zh ]; then
        cat <<'END'
用法：yichuidingyin.sh [--demo] [选项]

  不带选项      逐项提问，每项都有默认值；然后训练并启动 API
  --model       模型的名字或文件夹          --dataset   数据集的名字或文件
  --task        任务                        --method    sft、dpo …
  --strategy    并行策略                    --port      API 的端口
  --yes         不再提问，其余都用默认值
  --demo        用内置模型走完全程：训练、评分、合并、服务、提问
END
    else
        cat <<'END'
usage: yichuidingyin.sh [--demo] [options]

  no options    asks one question after the other, each with a default; then trains and serves
  --model       name or folder of a model   --dataset   name or file of the data
  --task        what is learned             --method    sft, dpo, ...
  --strategy    how the work is spread      --port      port of the API
  --yes         ask nothing: defaults for all the rest
  --demo        the whole journey on the embedded model: train, score, merge, serve, ask
END
    fi
}

verb=guide
for word in "$@"; do
    case $word in
        -h | --help) usage; exit 0 ;;
        --demo) verb=demo ;;
    esac
done

if [ -f "$root/tools/setup.sh" ]; then
    sh "$root/tools/setup.sh" run </dev/null
    swift=$root/.venv/bin/swift
elif command -v swift-cli >/dev/null 2>&1; then
    swift=swift-cli # the script alone, as in the home of a container image that has swift
else
    echo "yichuidingyin.sh: $root does not hold swift's source, and no swift is installed" >&2
    exit 3
fi

# Hand on every word but --demo, in order.
count=$#
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    [ "$word" = --demo ] || set -- "$@" "$word"
    count=$((count - 1))
done
exec "$swift" "$verb" "$@"
