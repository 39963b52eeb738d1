package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// The parts of CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/) that a static Go program needs. Neither a time
// nor a random serial number is in it.
type bill struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type     string          `json:"type"`
	Ref      string          `json:"bom-ref"`
	Name     string          `json:"name"`
	Version  string          `json:"version,omitempty"`
	Licenses []licenseChoice `json:"licenses,omitempty"`
	PURL     string          `json:"purl,omitempty"`
	Hashes   []hash          `json:"hashes,omitempty"`
}

type licenseChoice struct {
	License license `json:"license"`
}

type license struct {
	ID string `json:"id"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// licenses of what may be linked in, as SPDX names them. A new dependency has to be added here by a person who has
// read its license.
var licenses = map[string]string{
	"github.com/graceinit/graceinit":       "Apache-2.0",
	"github.com/kelseyhightower/envconfig": "MIT",
	"github.com/sirupsen/logrus":           "MIT",
	"golang.org/x/sys":                     "BSD-3-Clause",
	"std":                                  "BSD-3-Clause",

	// Of the exporter and the kubectl plugin.
	"github.com/beorn7/perks":                               "MIT",
	"github.com/cespare/xxhash/v2":                          "MIT",
	"github.com/graceinit/graceinit/cmd/graceinit-exporter": "Apache-2.0",
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit":  "Apache-2.0",
	"github.com/munnerz/goautoneg":                          "BSD-3-Clause",
	"github.com/prometheus/client_golang":                   "Apache-2.0",
	"github.com/prometheus/client_model":                    "Apache-2.0",
	"github.com/prometheus/common":                          "Apache-2.0",
	"github.com/prometheus/procfs":                          "Apache-2.0",
	"github.com/spf13/cobra":                                "Apache-2.0",
	"github.com/spf13/pflag":                                "BSD-3-Clause",
	"golang.org/x/term":                                     "BSD-3-Clause",
	"google.golang.org/protobuf":                            "BSD-3-Clause",
}

// billOfMaterials lists what is linked into the binaries. They must agree about it.
func billOfMaterials(version string, binaries []string) ([]byte, error) {
	var b bill
	for i, path := range binaries {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		one, err := describe(info, version)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if i == 0 {
			b = one
		} else if !slices.EqualFunc(one.Components, b.Components, func(x, y component) bool { return x.Ref == y.Ref }) {
			return nil, fmt.Errorf("%s and %s are not made of the same modules", path, binaries[0])
		}
	}
	for _, path := range binaries {
		sum, err := checksum(path)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(path)
		b.Components = append(b.Components, component{Type: "file", Ref: "file:" + name, Name: name,
			Hashes: []hash{{Algorithm: "SHA-256", Content: sum}}})
	}
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}

// describe lists the modules of one binary, and the standard library.
func describe(info *buildinfo.BuildInfo, version string) (bill, error) {
	self, err := module("application", info.Main.Path, version)
	if err != nil {
		return bill{}, err
	}
	b := bill{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{Component: self}}
	add := func(path, version string) error {
		c, err := module("library", path, version)
		b.Components = append(b.Components, c)
		return err
	}
	if err := add("std", strings.TrimPrefix(info.GoVersion, "go")); err != nil {
		return bill{}, err
	}
	for _, d := range info.Deps {
		is := d.Version
		switch {
		case d.Replace == nil:
		case d.Replace.Path == "../..": // a companion's graceinit is of the same release
			is = version
		case d.Replace.Path == "./bin/slim/envconfig": // without a part of it, but that version all the same
		default:
			return bill{}, fmt.Errorf("%s is replaced by %s", d.Path, d.Replace.Path)
		}
		if err := add(d.Path, is); err != nil {
			return bill{}, err
		}
	}
	all := dependency{Ref: self.Ref}
	for _, c := range b.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{all}
	return b, nil
}

func module(kind, path, version string) (component, error) {
	id, ok := licenses[path]
	if !ok {
		return component{}, fmt.Errorf("no license is known of %s (scripts/release/bill.go)", path)
	}
	purl := "pkg:golang/" + path + "@" + version
	return component{Type: kind, Ref: purl, Name: path, Version: version, PURL: purl,
		Licenses: []licenseChoice{{license{ID: id}}}}, nil
}
