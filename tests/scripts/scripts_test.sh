#!/bin/bash
# The scripts say what they do, refuse what they do not understand, and count what they were given.
# Argument: source root.
set -u

cd "$1" || exit 1
passed=0
failed=0

# expect STATUS PATTERN COMMAND...: its exit status, and a pattern somewhere in what it prints.
expect() {
    local status=$1 pattern=$2 output rc
    shift 2
    output=$("$@" 2>&1 </dev/null)
    rc=$?
    if [ "$rc" = "$status" ] && echo "$output" | grep -qE -- "$pattern"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n  ended with %s, not %s; or "%s" is not in:\n%s\n' "$*" "$rc" "$status" "$pattern" "$output"
    fi
}

for script in scripts/test scripts/quickstart scripts/coverage; do
    [ -x "$script" ] || continue
    expect 0 '^usage: ' "$script" --help
    expect 2 "unknown argument '--nonsense'" "$script" --nonsense
done
expect 2 "no stage 'nonsense'" scripts/test --stage nonsense
expect 2 'needs a value' scripts/test --stage
expect 2 'need a number' scripts/test --jobs many
expect 2 'need a number' scripts/test --patience 0
expect 2 "no folder 'nonsense'" scripts/test --histories nonsense
expect 2 'need a number' scripts/coverage --jobs many
expect 2 'usage: ' scripts/install-packages

# Neither root nor sudo: the list, and no attempt.
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for program in sh awk grep dirname env cat; do
    ln -s "$(command -v "$program")" "$bin/$program"
done
expect 1 'no dpkg' env PATH="$bin" scripts/install-packages build
expect 1 'meson' env PATH="$bin" scripts/install-packages build
expect 0 '^$' env PATH="$bin" TRIREME_NO_INSTALL=1 scripts/install-packages build
printf '#!/bin/sh\nexit 1\n' >"$bin/dpkg-query"
printf '#!/bin/sh\necho 1000\n' >"$bin/id"
printf '#!/bin/sh\nexit 1\n' >"$bin/sudo"
chmod +x "$bin"/dpkg-query "$bin"/id "$bin"/sudo
expect 1 'neither root nor a user with sudo' env PATH="$bin" scripts/install-packages build

# Every package is in one line with its group and its reason.
expect 0 '^0$' awk '!/^#/ && NF && (NF < 3 || $2 !~ /^(build|run|test)$/) { bad++ } END { print bad + 0 }' \
    scripts/packages

# Counting.
cat >"$bin/log.xml" <<XML
<testsuites><testsuite name="a"><testcase name="1"/><testcase name="2"><failure message="x"/></testcase>
</testsuite><testsuite name="b"><testcase name="3"><skipped message="no root"/></testcase><testcase name="4"/>
<testcase name="5"><skipped message="not applicable: one-sided"/></testcase></testsuite>
</testsuites>
XML
expect 0 '^2 1 1$' scripts/count-cases "$bin/log.xml"
expect 0 'SKIPPED  3: no root' scripts/count-cases "$bin/log.xml"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
