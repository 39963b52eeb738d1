package minisign

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func golden(t testing.TB, name string) string { return read(t, filepath.Join("testdata", name)) }

// verify is what the init does with a key, a signature and a file.
func verify(key, signature, file string) (comment string, err error) {
	k, err := ParsePublicKey(key)
	if err != nil {
		return "", err
	}
	s, err := ParseSignature(signature)
	if err != nil {
		return "", err
	}
	signed := []byte(file)
	if s.Prehashed {
		h := NewDigest()
		_, _ = h.Write(signed)
		signed = h.Sum()
	}
	return s.Comment, k.Verify(s, signed)
}

// The files in testdata were made by minisign 0.11.
func TestSignaturesOfMinisign(t *testing.T) {
	key, program := golden(t, "key.pub"), golden(t, "program")
	for name, want := range map[string]string{
		"program.minisig": "timestamp:1795357830 version 1.2.3",
		"legacy.minisig":  "the old kind",
	} {
		signature := golden(t, name)
		for _, k := range []string{key, strings.SplitN(key, "\n", 3)[1], strings.ReplaceAll(key, "\n", "\r\n")} {
			if comment, err := verify(k, signature, program); err != nil || comment != want {
				t.Errorf("%s with key %q: %q, %v", name, k, comment, err)
			}
		}
		if _, err := verify(key, signature, program+" "); err == nil || !strings.Contains(err.Error(), "not that of this file") {
			t.Errorf("%s of a changed file: %v", name, err)
		}
		if _, err := verify(key, strings.Replace(signature, want, "version 9", 1), program); err == nil || !strings.Contains(err.Error(), "comment") {
			t.Errorf("%s with a changed comment: %v", name, err)
		}
	}
	_, err := verify(key, golden(t, "other.minisig"), program)
	if err == nil || !strings.Contains(err.Error(), "was made with key") {
		t.Errorf("another key: %v", err)
	}
	// The id is the one that minisign prints into the comments.
	id := strings.Fields(golden(t, "key.pub"))[5]
	if err != nil && !strings.Contains(err.Error(), "not with "+id) {
		t.Errorf("%v: the key is not called %s", err, id)
	}
}

// Nothing in a signature can be changed but its untrusted comment.
func TestEveryByteCounts(t *testing.T) {
	key, program, signature := golden(t, "key.pub"), golden(t, "program"), golden(t, "program.minisig")
	begin := strings.Index(signature, "\n") + 1
	for i := begin; i < len(signature)-1; i += 7 {
		changed := []byte(signature)
		changed[i] ^= 1
		if _, err := verify(key, string(changed), program); err == nil {
			t.Errorf("byte %d of the signature does not count: %q", i, changed)
		}
	}
}

func TestRefusedKeys(t *testing.T) {
	line := strings.SplitN(golden(t, "key.pub"), "\n", 3)[1]
	for _, text := range []string{
		"", "\n", "RWQ", "untrusted comment: x", line + "\n" + line, line[1:], line + "=", line[:55] + "\n", "A" + line[1:],
		"comment\n" + line, "-----BEGIN PUBLIC KEY-----", " " + line,
	} {
		if _, err := ParsePublicKey(text); err == nil || !strings.HasPrefix(err.Error(), "not a minisign public key") {
			t.Errorf("ParsePublicKey(%q): %v", text, err)
		}
	}
}

func TestRefusedSignatures(t *testing.T) {
	good := golden(t, "program.minisig")
	lines := strings.SplitAfter(good, "\n")
	for _, text := range []string{
		"", good[10:], lines[0] + lines[1], good + "more\n", strings.Repeat("\n", 4), strings.Replace(good, "RU", "RX", 1),
		lines[0] + lines[3] + lines[2] + lines[3], lines[0] + lines[1] + lines[2] + lines[1], lines[2] + lines[1] + lines[0] + lines[3],
	} {
		if _, err := ParseSignature(text); err == nil || !strings.HasPrefix(err.Error(), "not a minisign signature") {
			t.Errorf("ParseSignature(%q): %v", text, err)
		}
	}
}

// minisign itself signs files of many sizes.
func TestAgainstMinisign(t *testing.T) {
	program, err := exec.LookPath("minisign")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("minisign is not installed")
		}
		t.Skip("SKIPPED: minisign is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		c := exec.Command(program, args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("minisign %q: %v\n%s", args, err, out)
		}
	}
	run("-G", "-W", "-p", "key.pub", "-s", "key.sec")
	key := read(t, filepath.Join(dir, "key.pub"))
	for _, size := range []int{0, 1, 127, 128, 129, 100000} {
		for _, kind := range []string{"-H", "-l"} {
			file := strings.Repeat("x", size)
			name := "file" + strconv.Itoa(size) + kind
			if err := os.WriteFile(filepath.Join(dir, name), []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			run("-S", kind, "-s", "key.sec", "-t", "comment of "+name, "-m", name)
			comment, err := verify(key, read(t, filepath.Join(dir, name+".minisig")), file)
			if err != nil || comment != "comment of "+name {
				t.Errorf("%s: %q, %v", name, comment, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"key.pub", "program.minisig", "legacy.minisig"} {
		f.Add(golden(f, name))
	}
	key, err := ParsePublicKey(golden(f, "key.pub"))
	if err != nil {
		f.Fatal(err)
	}
	program, good := golden(f, "program"), golden(f, "program.minisig")
	_, trustedPart, _ := strings.Cut(strings.TrimSpace(good), "\n")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParsePublicKey(text); (k == nil) == (err == nil) {
			t.Errorf("ParsePublicKey(%q) = %v, %v", text, k, err)
		}
		s, err := ParseSignature(text)
		if err != nil {
			return
		}
		signed := []byte(program)
		if s.Prehashed {
			h := NewDigest()
			_, _ = h.Write(signed)
			signed = h.Sum()
		}
		if key.Verify(s, signed) == nil && s.Prehashed && !strings.Contains(strings.ReplaceAll(text, "\r", ""), trustedPart) {
			t.Errorf("another text is a signature of the program, too: %q", text)
		}
	})
}
