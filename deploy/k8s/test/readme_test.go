package test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// A page is a README with its directory.
type page struct{ dir, text string }

func readme(t *testing.T) page {
	t.Helper()
	return page{dir: filepath.Join(deploy, "k8s"), text: read(t, deploy, "k8s", "README.md")}
}

var (
	linkTo  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```\n")
	asked   = regexp.MustCompile(`(?:^|\s)-[kf] (\S+)`)
	hint    = regexp.MustCompile(`(?m)^<!-- lab:.*$`)
	hints   = regexp.MustCompile("(?m)^<!-- lab: (exit=[0-9]+|skip=.+) -->\n```console\n")
)

// deadLinks returns the links that lead nowhere.
func (p page) deadLinks() []string {
	var list []string
	for _, link := range linkTo.FindAllStringSubmatch(fenced.ReplaceAllString(p.text, ""), -1) {
		target, anchor, _ := strings.Cut(link[1], "#")
		if strings.Contains(target, "://") {
			continue
		}
		file := filepath.Join(p.dir, target)
		text := p.text
		if target != "" {
			info, err := os.Stat(file)
			if err != nil {
				list = append(list, link[1])
				continue
			}
			if info.IsDir() {
				file = filepath.Join(file, "README.md")
			}
			if content, err := os.ReadFile(file); err == nil {
				text = string(content)
			}
		}
		if anchor != "" && !slices.Contains(anchors(text), anchor) {
			list = append(list, link[1])
		}
	}
	return list
}

// anchors returns the names that GitHub gives the headings of a page.
func anchors(text string) []string {
	var list []string
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, h[1])
		list = append(list, name)
	}
	return list
}

// unmentioned returns the files that neither they nor a directory of theirs are linked to.
func (p page) unmentioned(files []string) []string {
	var list []string
	for _, file := range files {
		mentioned := false
		for at := file; at != "."; at = path.Dir(at) {
			mentioned = mentioned || strings.Contains(p.text, "]("+at+")") || strings.Contains(p.text, "]("+at+"/)")
		}
		if !mentioned {
			list = append(list, file)
		}
	}
	return list
}

// commands returns the commands of the console blocks.
func (p page) commands() []string {
	var list []string
	for _, block := range fenced.FindAllString(p.text, -1) {
		if !strings.HasPrefix(block, "```console\n") {
			continue
		}
		for line := range strings.Lines(block) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				list = append(list, strings.TrimSpace(command))
			}
		}
	}
	return list
}

// missing returns what the commands are to apply and is not there.
func (p page) missing() []string {
	var list []string
	for _, command := range p.commands() {
		for _, file := range asked.FindAllStringSubmatch(command, -1) {
			if _, err := os.Stat(filepath.Join(p.dir, file[1])); err != nil && strings.HasPrefix(command, "kubectl") {
				list = append(list, file[1])
			}
		}
	}
	return list
}

// unlabelled returns what is to be called untested and is not, in the same line.
func (p page) unlabelled(untested []string) []string {
	return slices.DeleteFunc(slices.Clone(untested), func(name string) bool {
		for line := range strings.Lines(p.text) {
			if strings.Contains(line, "]("+name) && strings.Contains(line, label) {
				return true
			}
		}
		return false
	})
}

// sum is the arithmetic of a grace period, as it is written on the page.
func sum(t times) string {
	return fmt.Sprintf("%d + %d + %d + %d + %d = **%d**", seconds(t.preStop), seconds(t.drainDelay), seconds(t.stop),
		seconds(t.kill), seconds(reserve), seconds(t.sum()))
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func TestReadme(t *testing.T) {
	p := readme(t)
	for _, link := range p.deadLinks() {
		t.Errorf("the link %s leads nowhere", link)
	}
	var files []string
	err := fs.WalkDir(os.DirFS(p.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name == "test":
			return fs.SkipDir
		case strings.HasPrefix(name, "hello-"): // made by images.md, and ignored by git
		case !entry.IsDir() && name != "README.md":
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range p.unmentioned(files) {
		t.Errorf("%s is not mentioned", file)
	}
	if n := len(p.commands()); n < 20 {
		t.Errorf("it has %d commands only: are they still found?", n)
	}
	for _, file := range p.missing() {
		t.Errorf("there is no %s to apply", file)
	}
	if found, good := len(hint.FindAllString(p.text, -1)), len(hints.FindAllString(p.text, -1)); found != good {
		t.Errorf("%d of %d hints to the lab are understood, and before a console block", good, found)
	}
	if n := strings.Count(p.text, "\n"); n > 285 {
		t.Errorf("it has %d lines: nobody reads that in two minutes", n)
	}

	var untested []string
	for _, file := range files {
		if strings.HasSuffix(file, ".yaml") && strings.Contains(read(t, p.dir, file), label) {
			if path.Dir(file) != "openkruise" {
				file = path.Dir(file)
			}
			untested = append(untested, file)
		}
	}
	if len(untested) == 0 {
		t.Error("nothing is labelled as untested any more")
	}
	for _, name := range p.unlabelled(untested) {
		t.Errorf("it does not say of %s that it is %q", name, label)
	}

	picture := read(t, p.dir, "grace.svg")
	for _, file := range []string{bakedFile, injectedFile, payloadFile} {
		actual, err := timesOf(initsOf(*workloadOf(load(t, file)[0]))[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []times{actual, {stop: stopTimeout, kill: killTimeout}} {
			if !strings.Contains(p.text, sum(shown)) {
				t.Errorf("the sum %s of %s is not in the table", sum(shown), file)
			}
			words := fmt.Sprintf("%d + %d + %d + %d = %d s", seconds(shown.drainDelay), seconds(shown.stop), seconds(shown.kill),
				seconds(reserve), seconds(shown.sum()))
			if !strings.Contains(picture, words) {
				t.Errorf("the sum %s of %s is not in the picture", words, file)
			}
		}
	}
}

// Each check of the page finds what it is for.
func TestReadmeChecksFindSomething(t *testing.T) {
	const console = "```console\n$ kubectl apply -k base/nowhere\n$ kubectl apply -k base/baked\nshown -k base/shown\n```\n"
	p := page{dir: filepath.Join(deploy, "k8s"), text: "# A `b`: c\n[a](base/baked/deployment.yaml) [b](base/nowhere.yaml) [c](#nowhere) " +
		"[d](#a-b-c) [e](../../README.md#use) [f](../../README.md#unused) [g](https://example.com/x)\n" + console +
		"[x](overlays/image-volume/), decode-checked only\n[y](overlays/native-sidecar/) is fine\n"}
	if got, want := p.deadLinks(), []string{"base/nowhere.yaml", "#nowhere", "../../README.md#unused"}; !slices.Equal(got, want) {
		t.Errorf("dead links: %q, not %q", got, want)
	}
	files := []string{"base/baked/deployment.yaml", "base/baked/service.yaml", "overlays/image-volume/deployment.yaml"}
	if got, want := p.unmentioned(files), files[1:2]; !slices.Equal(got, want) {
		t.Errorf("unmentioned: %q, not %q", got, want)
	}
	if got := p.commands(); len(got) != 2 {
		t.Errorf("commands: %q", got)
	}
	if got, want := p.missing(), []string{"base/nowhere"}; !slices.Equal(got, want) {
		t.Errorf("missing: %q, not %q", got, want)
	}
	if got, want := p.unlabelled([]string{"overlays/image-volume", "overlays/native-sidecar"}), []string{"overlays/native-sidecar"}; !slices.Equal(got, want) {
		t.Errorf("unlabelled: %q, not %q", got, want)
	}
	for text, good := range map[string]bool{
		"<!-- lab: exit=2 -->\n```console\n":               true,
		"<!-- lab: skip=no such kubelet -->\n```console\n": true,
		"<!-- lab: exit=two -->\n```console\n":             false,
		"<!-- lab: exits=2 -->\n```console\n":              false,
		"<!-- lab: exit=2 -->\n\n```console\n":             false,
	} {
		if hints.MatchString(text) != good || !hint.MatchString(text) {
			t.Errorf("the hint %q is understood: %t", text, !good)
		}
	}
	if got := sum(times{0, 5 * time.Second, stopTimeout, killTimeout}); got != "0 + 5 + 25 + 3 + 2 = **35**" {
		t.Errorf("sum: %s", got)
	}
}
