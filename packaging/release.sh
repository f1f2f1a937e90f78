#!/usr/bin/env bash
# make release VERSION=X.Y.Z: sets the version, commits it, and puts what people download into target/release-X.Y.Z: the .deb,
# the source, a software bill of materials (CycloneDX) and their checksums. It tags and publishes nothing; RELEASING.md
# says what comes before and after. What fails before the commit leaves the checkout as it was.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

die() { # STATUS MESSAGE HINT
  printf 'release: error: %s\nrelease: hint: %s\n' "$2" "$3" >&2
  exit "$1"
}

version=${1:-}
out=target/release-$version
export PATH="$PWD/target/test-tools/cargo/bin:$PATH" LC_ALL=C

check() {
  local tool changes
  [[ $version =~ ^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}$ ]] || die 2 "VERSION is \"$version\"" "make release VERSION=0.2.0"
  changes=$(git status --porcelain)
  [ -z "$changes" ] || die 1 "the checkout has changes that are not committed" "git status"
  [ -z "$(git tag --list "$version")" ] || die 6 "there is a tag $version" "a release is never made twice: give the next version"
  grep --quiet --line-regexp --fixed-strings "## $version (unreleased)" CHANGELOG.md ||
    die 1 "CHANGELOG.md has no \"## $version (unreleased)\"" "write what changed for users"
  [ ! -e "$out" ] || die 6 "$out exists" "remove it"
  for tool in cargo-deb cargo-cyclonedx; do
    command -v "$tool" >/dev/null || die 2 "$tool is missing" "cargo install --locked $tool"
  done
  command -v dpkg-shlibdeps >/dev/null || die 2 "dpkg-shlibdeps is missing" "apt-get install dpkg-dev"
}

# Every place that names the version or the day.
set_version() {
  local old day
  old=$(sed --quiet '0,/^version = /s/^version = "\(.*\)"$/\1/p' Cargo.toml)
  [ -n "$old" ] || die 1 "Cargo.toml has no version" "its [package] begins with name and version"
  day=$(date --utc +%F)
  sed --in-place "0,/^version = /s/^version = .*/version = \"$version\"/" Cargo.toml
  # Only the lines of pgv itself.
  sed --in-place "/^name = \"pgv\"$/{n;s/^version = .*/version = \"$version\"/}" Cargo.lock
  sed --in-place "s/^## $version (unreleased)$/## $version ($day)/" CHANGELOG.md
  sed --in-place "s/^\.Dd .*/.Dd $(date --utc '+%B %-d, %Y')/" man/*.[1-8]
  sed --in-place "s/pgv_${old//./\\.}-1_/pgv_$version-1_/g" README.md
  {
    printf 'pgv (%s-1) unstable; urgency=medium\n\n' "$version"
    printf "  * What is new is in /usr/share/doc/pgv/NEWS.md.\n\n"
    printf ' -- The pgv authors <pgv@localhost>  %s\n\n' "$(date --utc --rfc-email)"
    cat packaging/changelog
  } >target/changelog
  mv target/changelog packaging/changelog
}

restore_checkout() {
  local status=$?
  # The check has seen a clean checkout, so nothing but the version is lost.
  git checkout --quiet -- . || true
  rm --recursive --force "$out" "pgv-$version.cdx.json"
  exit "$status"
}

build() {
  make deb
  mkdir "$out"
  cp "target/debian/pgv_$version-1_"*.deb "$out/"
  # Written beside Cargo.toml, wherever it is told to.
  cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename "pgv-$version.cdx"
  # Where it was built is nobody's business.
  sed "s|path+file://$PWD#|path+file:///pgv-$version#|" "pgv-$version.cdx.json" >"$out/pgv-$version.cdx.json"
  rm "pgv-$version.cdx.json"
  grep --quiet '"bomFormat": *"CycloneDX"' "$out/pgv-$version.cdx.json" || die 1 "there is no bill of materials in $out" "cargo cyclonedx --help"
}

check
mkdir -p target
trap restore_checkout EXIT
set_version
build
git add --update
git commit --quiet --message="Release $version"
trap - EXIT
git archive --format=tar --prefix="pgv-$version/" HEAD | gzip --no-name -9 >"$out/pgv-$version.tar.gz"
(cd "$out" && sha256sum -- * >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
ls -l "$out"
echo "release: $version is committed and built in $out; next: RELEASING.md, after the build"
