// Command gendocs writes everything about the settings and commands that stands outside the program: the OPTIONS and
// COMMANDS of the man page, the table in the README, the shell completions. They come from the tables that --help
// prints, so that none can disagree with the binary.
//
//	go run ./scripts/gendocs          write the files
//	go run ./scripts/gendocs -check   fail, and name the files, where that would change any
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/graceinit/graceinit/internal/config"
)

func main() {
	check := flag.Bool("check", false, "change nothing; exit with 1 if a file is out of date")
	root := flag.String("C", ".", "the repository's `directory`")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintf(os.Stderr, "gendocs: %v\n", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	flags, err := readFlags()
	if err != nil {
		return err
	}
	var manual bytes.Buffer
	config.WriteManOptions(&manual)
	var stale []string
	for _, f := range []struct {
		path    string
		content func(old string) (string, error)
	}{
		{"docs/graceinit.8.md", between("options", manual.String())},
		{"docs/graceinit.8.md", between("commands", commandsManual())},
		{"README.md", between("settings", settingsTable(flags))},
		{"completions/graceinit.bash", whole(bashCompletion(flags))},
		{"completions/_graceinit", whole(zshCompletion(flags))},
		{"completions/graceinit.fish", whole(fishCompletion(flags))},
	} {
		path := filepath.Join(root, f.path)
		old, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		text, err := f.content(string(old))
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		switch {
		case text == string(old):
		case check:
			stale = append(stale, f.path)
		default:
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				return err
			}
			fmt.Println("gendocs: wrote", f.path)
		}
	}
	if stale != nil {
		return fmt.Errorf("out of date (run `make docs`): %s", strings.Join(stale, ", "))
	}
	return nil
}

// whole replaces a file.
func whole(text string) func(string) (string, error) {
	return func(string) (string, error) { return text, nil }
}

// between replaces what stands between <!-- name --> and <!-- /name -->.
func between(name, text string) func(string) (string, error) {
	return func(old string) (string, error) {
		from, to := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		head, rest, ok := strings.Cut(old, from)
		if !ok {
			return "", fmt.Errorf("there is no line %q", strings.TrimSpace(from))
		}
		_, tail, ok := strings.Cut(rest, to)
		if !ok {
			return "", fmt.Errorf("there is no line %q", to)
		}
		return head + from + "\n" + strings.TrimSpace(text) + "\n\n" + to + tail, nil
	}
}

// cliFlag is a line of the settings table.
type cliFlag struct {
	long, short, arg string
	help, deflt      string
}

// manHeading and manDefault find what the completion table lacks in the man page's options.
var (
	manHeading = regexp.MustCompile(`^\*\*-(.)\*\*, \*\*--([a-z-]+)\*\*`)
	manDefault = regexp.MustCompile(` \(default ([^()]+)\)\.$`)
)

// readFlags reads the settings table through what internal/config writes of it.
func readFlags() ([]cliFlag, error) {
	var table, manual bytes.Buffer
	config.WriteCompletions(&table)
	config.WriteManOptions(&manual)
	shorts, defaults, heading := map[string]string{}, map[string]string{}, ""
	for line := range strings.Lines(manual.String()) {
		line = strings.TrimSpace(line)
		if m := manHeading.FindStringSubmatch(line); m != nil {
			shorts[m[2]] = m[1]
		}
		if _, after, ok := strings.Cut(line, "**--"); ok && !strings.HasPrefix(line, ":") {
			heading, _, _ = strings.Cut(after, "**")
		}
		if m := manDefault.FindStringSubmatch(line); m != nil {
			defaults[heading] = m[1]
		}
	}
	var list []cliFlag
	for line := range strings.Lines(table.String()) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("cannot read the settings table: %q", line)
		}
		list = append(list, cliFlag{long: f[0], short: shorts[f[0]], arg: f[1], help: f[2], deflt: defaults[f[0]]})
	}
	return list, nil
}

// settingsTable is the README's: every setting with its flag, its default and what it does.
func settingsTable(flags []cliFlag) string {
	var b strings.Builder
	b.WriteString("| flag | default | |\n|---|---|---|\n")
	for _, f := range flags {
		name := "`--" + f.long
		if f.short != "" {
			name = "`-" + f.short + "` " + name
		}
		if f.arg != "" {
			name += " " + f.arg
		}
		fmt.Fprintf(&b, "| %s` | %s | %s |\n", name, f.deflt, strings.ReplaceAll(f.help, "|", `\|`))
	}
	return b.String()
}
