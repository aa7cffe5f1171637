#!/bin/sh
# Makes the git repository that the agent works on out of plain files, and packs it as a bundle: make-bundle.sh PROJECT BUNDLE
set -eu
project=$(realpath "$1")
bundle=$(realpath -m "$2")
repository=$(mktemp -d)
export GIT_AUTHOR_NAME="A developer" GIT_AUTHOR_EMAIL=developer@example.com GIT_AUTHOR_DATE="2026-01-05T09:00:00Z"
export GIT_COMMITTER_NAME="A developer" GIT_COMMITTER_EMAIL=developer@example.com GIT_COMMITTER_DATE="2026-01-05T09:00:00Z"
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null

commit() {
  message=$1
  shift
  for path in "$@"; do
    mkdir -p "$repository/$(dirname "$path")"
    cp -r "$project/$path" "$repository/$path"
  done
  git -C "$repository" add --all
  git -C "$repository" commit --quiet --message "$message"
}

git init --quiet --initial-branch main "$repository"
commit "Count words" README.md textkit/__init__.py textkit/words.py
commit "Wrap, indent and number lines" textkit/lines.py
commit "Make slugs of titles" textkit/slugs.py
commit "Test what is there" tests
git -C "$repository" bundle create --quiet "$bundle" main
rm -rf "$repository"
