// Command release finishes a directory with built binaries: it asserts that each is what a release promises (the
// right architecture, static, stripped, small, without a path of the machine that built it), and writes the bill
// of materials (CycloneDX) and the checksums. What it writes depends on its input only, so that a rebuild compares
// equal.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// maxSize is promised of the init. Its companions may be as large as they need.
const maxSize = 3_300_000

func main() {
	version := flag.String("version", "devel", "the `version` of the release")
	check := flag.Bool("check", false, "only assert, of the binaries given, and write nothing")
	flag.Parse()
	var err error
	if *check {
		for _, path := range flag.Args() {
			err = errors.Join(err, inspect(path, ""))
		}
	} else {
		err = run(flag.Arg(0), *version)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

func run(dir, version string) error {
	for _, program := range []string{"graceinit", "graceinit-exporter", "kubectl-graceinit"} {
		var binaries []string
		for _, arch := range []string{"amd64", "arm64"} {
			path := filepath.Join(dir, program+"-linux-"+arch)
			if err := inspect(path, arch); err != nil {
				return err
			}
			binaries = append(binaries, path)
		}
		others, err := filepath.Glob(filepath.Join(dir, program+"-darwin-*"))
		if err != nil {
			return err
		}
		bill, err := billOfMaterials(version, append(binaries, others...))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, program+".cdx.json"), bill, 0o644); err != nil {
			return err
		}
	}
	return writeSums(dir)
}

// machines are the names that ELF headers have for ours.
var machines = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// inspect asserts what is promised of a binary. An empty arch is any.
func inspect(path, arch string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	var wrong []error
	if have := machines[f.Machine]; arch != "" && have != arch {
		wrong = append(wrong, fmt.Errorf("it is for %s, not %s", have, arch))
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			wrong = append(wrong, fmt.Errorf("it is not static: it has a %s header", p.Type))
		}
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB || strings.HasPrefix(s.Name, ".debug") || strings.HasPrefix(s.Name, ".zdebug") {
			wrong = append(wrong, fmt.Errorf("it is not stripped: it has a section %s", s.Name))
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	limit := maxSize
	if !strings.HasPrefix(filepath.Base(path), "graceinit-linux-") && filepath.Base(path) != "graceinit" {
		limit = math.MaxInt
	}
	if len(text) > limit {
		wrong = append(wrong, fmt.Errorf("it has %d bytes, more than %d", len(text), maxSize))
	}
	for _, private := range []string{os.Getenv("HOME"), workingDirectory()} {
		if len(private) > len("/root") && bytes.Contains(text, []byte(private)) {
			wrong = append(wrong, fmt.Errorf("it contains the path %s of this machine", private))
		}
	}
	if info, err := buildinfo.ReadFile(path); err != nil {
		wrong = append(wrong, fmt.Errorf("cannot read its build information: %w", err))
	} else if got := setting(info, "CGO_ENABLED"); got != "0" {
		wrong = append(wrong, fmt.Errorf("it was built with CGO_ENABLED=%s", got))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s: %w", path, errors.Join(wrong...))
	}
	fmt.Printf("release: %s: static, stripped, %d bytes\n", path, len(text))
	return nil
}

func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

func workingDirectory() string {
	dir, _ := os.Getwd() // without one there is nothing to look for
	return dir
}

// writeSums writes SHA256SUMS of everything in the directory, in the form of sha256sum(1).
func writeSums(dir string) error {
	const name = "SHA256SUMS"
	var sums bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == name {
			return err
		}
		sum, err := checksum(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		fmt.Fprintf(&sums, "%s  %s\n", sum, relative)
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), sums.Bytes(), 0o644)
}

func checksum(path string) (string, error) {
	text, err := os.ReadFile(path)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}
