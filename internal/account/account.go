// Package account looks up users and groups in /etc/passwd and /etc/group (passwd(5), group(5)). os/user would do the
// same, with package os/exec's weight and, in a build with cgo, by NSS; in a container the two files are all there is.
package account

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// User is a line of /etc/passwd.
type User struct {
	Name string // empty for a number that is not in /etc/passwd
	UID  int
	GID  int    // primary group
	Home string // never empty
}

// LookupUser finds a user by name or number. A number needs no entry: as Docker's USER has it, the group is then 0
// and the home directory /.
func LookupUser(text string) (User, error) { return lookupUser(passwdFile, text) }

// LookupGroup finds a group's number by its name; a number is taken as it is.
func LookupGroup(text string) (int, error) { return lookupGroup(groupFile, text) }

// Groups returns the user's groups as initgroups(3) sets them: the primary one, then every one whose members name
// the user.
func Groups(u User) ([]int, error) { return groups(groupFile, u) }

func lookupUser(file, text string) (User, error) {
	uid, isNumber := number(text)
	entries, err := read(file, 7)
	if err != nil && !isNumber {
		return User{}, fmt.Errorf("cannot look up user %q (a number needs no file): %w", text, err)
	}
	for _, e := range entries {
		u, ok := userOf(e)
		if ok && (isNumber && u.UID == uid || !isNumber && u.Name == text) {
			return u, nil
		}
	}
	if !isNumber {
		return User{}, fmt.Errorf("no user %q in %s (a number needs no entry)", text, file)
	}
	return User{UID: uid, Home: "/"}, nil
}

func userOf(entry []string) (User, bool) {
	uid, uidOK := number(entry[2])
	gid, gidOK := number(entry[3])
	home := entry[5]
	if home == "" {
		home = "/"
	}
	return User{Name: entry[0], UID: uid, GID: gid, Home: home}, uidOK && gidOK
}

func lookupGroup(file, text string) (int, error) {
	if gid, ok := number(text); ok {
		return gid, nil
	}
	entries, err := read(file, 4)
	if err != nil {
		return 0, fmt.Errorf("cannot look up group %q (a number needs no file): %w", text, err)
	}
	for _, e := range entries {
		if gid, ok := number(e[2]); ok && e[0] == text {
			return gid, nil
		}
	}
	return 0, fmt.Errorf("no group %q in %s (a number needs no entry)", text, file)
}

func groups(file string, u User) ([]int, error) {
	entries, err := read(file, 4)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // images from scratch have none
		return nil, fmt.Errorf("cannot find the groups of user %q: %w", u.Name, err)
	}
	gids := []int{u.GID}
	for _, e := range entries {
		gid, ok := number(e[2])
		member := u.Name != "" && slices.Contains(strings.Split(e[3], ","), u.Name)
		if ok && member && !slices.Contains(gids, gid) {
			gids = append(gids, gid)
		}
	}
	return gids, nil
}

// read returns the lines that have so many fields. Others (comments, NIS's "+") are none of ours.
func read(file string, fields int) ([][]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var entries [][]string
	for _, line := range strings.Split(string(text), "\n") {
		if e := strings.Split(line, ":"); len(e) == fields {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// number reads a uid or gid. 4294967295 is none: setuid(2) and chown(2) take it for "leave as it is".
func number(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int(n), err == nil && n != 1<<32-1
}
