# shellcheck shell=sh
# For the setup scripts, which source it: installs Debian packages. The caller has unable, which tells why it cannot go on.

# missing PACKAGE...: those that are not installed.
missing() {
	for p in "$@"; do
		case $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true) in
		"install ok installed") ;;
		*) echo "$p" ;;
		esac
	done
}

updated=
update() {
	[ -n "$updated" ] || apt-get update -q || unable "apt-get update failed"
	updated=yes
}

# add_packages PACKAGE...: installs what is missing.
add_packages() {
	# shellcheck disable=SC2046 # lists
	set -- $(missing "$@")
	[ $# -gt 0 ] || return 0
	echo "$(basename "$0"): installing $*"
	update
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" || unable "apt-get install failed"
}
