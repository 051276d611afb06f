#!/bin/bash
# What the tool ends with and prints. Arguments: trireme-lin, the folder of histories.
set -u

tool=$1
data=$2
passed=0
failed=0

# expect STATUS PATTERN ARGUMENT...: the exit status, and a pattern somewhere in what is printed.
expect() {
    local status=$1 pattern=$2 output rc
    shift 2
    output=$("$tool" "$@" 2>&1 <"$input")
    rc=$?
    if [ "$rc" = "$status" ] && echo "$output" | grep -qE -- "$pattern"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n  ended with %s, not %s; or "%s" is not in:\n%s\n' "$*" "$rc" "$status" "$pattern" "$output"
    fi
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
input=/dev/null
good=$data/register_good_cas_one.txt
bad=$data/register_bad_stale.txt

expect 0 '^usage: ' --help
expect 0 '^  counter ' --help
expect 0 ': linearizable \(model register, 4 operations, 1 keys, ' "$good"
expect 1 ': not linearizable \(model register, 3 operations, 1 keys, 1 not linearizable' "$bad"
expect 1 '^No order explains:$' "$bad"
expect 1 ': linearizable' "$bad" "$good"
expect 3 ': unknown, gave up \(.*, 1 given up' --steps 1 "$good"
expect 2 'no history was named' --model kv
expect 2 'a value is missing after --svg' --svg
expect 2 'no model frob' --model frob "$good"
expect 2 'no option --frob' --frob 1 "$good"
expect 2 'not a number: many' --memory-mib many "$good"
expect 2 'nowhere: No such file' "$folder/nowhere"
expect 2 'cannot write ' --svg "$folder/nowhere/a.svg" "$bad"
input=$folder/input
echo 'frob get k nil 1 2' >"$input"
expect 2 '-: line 1: not a number: frob' -
printf '1 get k nil 1 2\n\0' >"$input"
expect 2 'not a text' -
echo '1 add c 1 1 1 2' >"$input"
expect 0 'model counter, 1 operations' --model counter -

expect 1 'stuck at' --svg "$folder/a.svg" "$bad"
if grep -q '^</svg>$' "$folder/a.svg"; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    echo "FAILED: no picture"
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
