# shellcheck shell=sh
# Sourced: Debian packages of any suite and architecture, fetched beside this machine's own apt, whose
# state and configuration are not touched. The mirror and the keys are those of the host's own sources.

# private_apt_sources SUITE: the host's sources of Debian, as they would be written for SUITE.
private_apt_sources() {
    . /etc/os-release
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -f "$file" ]; then grep -E "^deb .* $VERSION_CODENAME(-updates|-security)? " "$file" || true; fi
    done | sed "s/ $VERSION_CODENAME/ $1/" >"$APT/$1.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v RS= -v suite="(^|\n)Suites:[^\n]* ?$VERSION_CODENAME" '$0 ~ suite {print $0 "\n"}' "$file"
    done | sed "/^Suites:/s/$VERSION_CODENAME/$1/g" >"$APT/$1.sources"
    if [ -s "$APT/$1.sources" ]; then
        echo "$APT/$1.sources"
    elif [ -s "$APT/$1.list" ]; then
        echo "$APT/$1.list"
    else
        echo "no apt source of Debian $VERSION_CODENAME in /etc/apt/sources.list or sources.list.d" >&2
        return 1
    fi
}

# private_apt SUITE ARCH COMMAND...: apt-get with directories of its own in $APT, its lists up to date.
private_apt() {
    apt_suite=$1 apt_arch=$2
    shift 2
    apt_dir=$APT/$apt_suite-$apt_arch
    if [ ! -e "$apt_dir/updated" ]; then
        mkdir -p "$apt_dir/lists/partial" "$apt_dir/archives/partial" "$apt_dir/none"
        : >"$apt_dir/status"
        apt_sources=$(private_apt_sources "$apt_suite") || return 1
        cat >"$apt_dir/apt.conf" <<END
Dir::State "$apt_dir";
Dir::State::status "$apt_dir/status";
Dir::Cache "$apt_dir";
Dir::Etc::sourcelist "$apt_sources";
Dir::Etc::sourceparts "$apt_dir/none";
APT::Architecture "$apt_arch";
APT::Architectures "$apt_arch";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "5";
END
        APT_CONFIG=$apt_dir/apt.conf apt-get -qq update || return 1
        : >"$apt_dir/updated"
    fi
    APT_CONFIG=$apt_dir/apt.conf apt-get -qq "$@"
}
