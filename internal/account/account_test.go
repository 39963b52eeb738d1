package account

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const passwd = `root:x:0:0:root:/root:/bin/sh
# a comment
broken:x:12
app:x:1000:1001:The App,,,:/srv/app:/bin/sh
homeless:x:1002:1002:::/bin/sh
nis:x:not-a-number:0:::
+::::::
`

const group = `root:x:0:
app:x:1001:
web:x:33:nginx,app
audio:x:29:app
again:x:33:app
other:x:50:apple
`

func files(t *testing.T) (passwdPath, groupPath string) {
	passwdPath, groupPath = filepath.Join(t.TempDir(), "passwd"), filepath.Join(t.TempDir(), "group")
	for path, text := range map[string]string{passwdPath: passwd, groupPath: group} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return passwdPath, groupPath
}

func TestLookupUser(t *testing.T) {
	file, _ := files(t)
	app := User{Name: "app", UID: 1000, GID: 1001, Home: "/srv/app"}
	for text, want := range map[string]User{
		"app": app, "1000": app,
		"root":     {Name: "root", Home: "/root"},
		"homeless": {Name: "homeless", UID: 1002, GID: 1002, Home: "/"},
		"4711":     {UID: 4711, Home: "/"},
	} {
		if got, err := lookupUser(file, text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "nobody", "nis", "broken", "-1", "4294967295", "4294967296"} {
		if got, err := lookupUser(file, text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
	if got, err := lookupUser("/nonexistent", "12"); err != nil || got.UID != 12 {
		t.Error(got, err)
	}
	if _, err := lookupUser("/nonexistent", "app"); err == nil {
		t.Error("found in a file that does not exist")
	}
}

func TestGroups(t *testing.T) {
	passwdPath, file := files(t)
	app, err := lookupUser(passwdPath, "app")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := groups(file, app); err != nil || !slices.Equal(got, []int{1001, 33, 29}) {
		t.Error(got, err)
	}
	if got, err := groups("/nonexistent", app); err != nil || !slices.Equal(got, []int{1001}) {
		t.Error(got, err)
	}
	if got, err := groups(file, User{UID: 5}); err != nil || !slices.Equal(got, []int{0}) {
		t.Error(got, err)
	}
	for text, want := range map[string]int{"web": 33, "77": 77} {
		if got, err := lookupGroup(file, text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	if _, err := lookupGroup(file, "nogroup"); err == nil {
		t.Error("found a group that is not there")
	}
}
