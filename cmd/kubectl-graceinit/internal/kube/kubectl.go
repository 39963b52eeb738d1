// Package kube asks and changes a cluster through kubectl, so that the caller's context, credentials and rights are the
// ones that count.
package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Kubectl runs kubectl.
type Kubectl struct {
	Path   string   // the program
	Global []string // arguments of every call: --context, --namespace, ...
	// Quick bounds a call that is answered at once: all but exec.
	Quick time.Duration
}

// call is one run of kubectl.
type call struct {
	args  []string
	stdin *os.File
	line  func(line []byte) // gets every line of standard output as it comes; without it all is returned
}

func (k *Kubectl) run(ctx context.Context, c call) ([]byte, error) {
	args := append(append([]string{}, k.Global...), c.args...)
	cmd := exec.CommandContext(ctx, k.Path, args...)
	var output bytes.Buffer
	var errors tail
	cmd.Stdout, cmd.Stderr = &output, &errors
	if c.line != nil {
		cmd.Stdout = &lines{each: c.line}
	}
	if c.stdin != nil {
		cmd.Stdin = c.stdin
	}
	ownGroup(cmd)
	cmd.WaitDelay = 2 * time.Second // for what holds its output open, a credential plugin for example
	err := cmd.Run()
	if err == nil {
		return output.Bytes(), nil
	}
	failed := &Error{Args: c.args, Code: cmd.ProcessState.ExitCode(), Stderr: errors.String(), Err: err}
	if cause := context.Cause(ctx); cause != nil {
		failed.Err, failed.Code = cause, -1
	}
	return output.Bytes(), failed
}

// quick runs a call that is answered at once, or not at all.
func (k *Kubectl) quick(ctx context.Context, args ...string) ([]byte, error) {
	if k.Quick > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, k.Quick, fmt.Errorf("kubectl has not answered within %s", k.Quick))
		defer cancel()
	}
	return k.run(ctx, call{args: args})
}

// Error is a run of kubectl that failed.
type Error struct {
	Args   []string
	Code   int    // exit code, -1 where it did not exit by itself
	Stderr string // what it said
	Err    error
}

func (e *Error) Error() string {
	if errors.Is(e.Err, exec.ErrNotFound) || errors.Is(e.Err, fs.ErrNotExist) {
		return fmt.Sprintf("%v: install kubectl, or name it by --kubectl PATH", e.Err)
	}
	said := strings.TrimSpace(e.Stderr)
	if e.Code == 1 && Unreachable(e) && !strings.Contains(said, terminated) {
		// The lines before are what it has tried. Many a cause is another cluster than the one that was meant.
		said = said[strings.LastIndexByte(said, '\n')+1:]
		if noCluster.MatchString(said) {
			said += "\n(set KUBECONFIG, --kubeconfig or --context)"
		}
	}
	if e.Code < 0 || said == "" {
		said = strings.TrimSpace(fmt.Sprintf("%v\n%s", e.Err, said))
	}
	return fmt.Sprintf("kubectl %s: %s", abridge(e.Args), said) + e.foreign()
}

// noCluster is how kubectl says that it knows no cluster, or that none answers.
var noCluster = regexp.MustCompile(`(?i)connection to the server|unable to connect|dial tcp|no configuration|invalid configuration|` +
	`context .* does not exist|stat .*: no such file|i/o timeout|no such host`)

// serviceAccount is who was refused, and where.
var serviceAccount = regexp.MustCompile(`User "system:serviceaccount:([^:"]+):([^"]+)" .*in the namespace "([^"]+)"`)

// foreign is a hint at why a service account has no rights: its RoleBinding names the namespace that it is of, and
// a manifest's may be another than the one that it was applied in.
func (e *Error) foreign() string {
	who := serviceAccount.FindStringSubmatch(e.Stderr)
	if who == nil || !Reason(e, "Forbidden") {
		return ""
	}
	return fmt.Sprintf("\n(the ServiceAccount %s is of namespace %s: does a RoleBinding in namespace %s name it, with subjects[].namespace: %s?)",
		who[2], who[1], who[3], who[1])
}

func (e *Error) Unwrap() error { return e.Err }

// abridge leaves out what makes a line unreadable: long values, as a patch is one, and digests.
func abridge(args []string) string {
	short := make([]string, len(args))
	for i, a := range args {
		if len(a) > 60 {
			a = a[:40] + "…"
		}
		short[i] = a
	}
	return strings.Join(short, " ")
}

// kubectl tells why a call has failed in words only. These are of its code since 1.0: the first is the text of
// a metav1.Status with its reason in brackets, the second what it says when the command in the container has ended.
const (
	fromServer = "Error from server"
	terminated = "command terminated with exit code"
)

// Reason tells whether the API server refused the call for that reason: Forbidden, NotFound, Conflict.
func Reason(err error, reason string) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(e.Stderr, fromServer+" ("+reason+")")
}

// Unreachable tells whether there was no answer from a cluster: kubectl is missing, has no such context, or finds nobody.
func Unreachable(err error) bool {
	var e *Error
	return errors.As(err, &e) && !strings.Contains(e.Stderr, fromServer)
}

// Unsupported tells whether this kubectl, or its idea of the server, cannot do the call at all.
func Unsupported(err error) bool {
	var e *Error
	return errors.As(err, &e) && !strings.Contains(e.Stderr, fromServer) && e.Code == 1
}

// ExitCode returns the exit code of a command that was executed in a container, and whether it came to that.
func ExitCode(err error) (int, bool) {
	if err == nil {
		return 0, true
	}
	var e *Error
	if !errors.As(err, &e) || e.Code < 0 || !strings.Contains(e.Stderr, terminated) {
		return 0, false
	}
	return e.Code, true
}

// get decodes what kubectl prints as JSON. It prints nothing where there is nothing (--ignore-not-found).
func (k *Kubectl) get(ctx context.Context, into any, args ...string) (found bool, err error) {
	text, err := k.quick(ctx, append(append([]string{"get"}, args...), "-o", "json")...)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return false, err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return false, fmt.Errorf("kubectl get %s: what it prints is not understood: %w", abridge(args), err)
	}
	return true, nil
}

// Patch patches an object, strategically: lists of containers are merged by name. With dryRun the server only checks.
func (k *Kubectl) Patch(ctx context.Context, kind, name string, patch any, dryRun bool) error {
	text, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	args := []string{"patch", kind, name, "--type", "strategic", "-p", string(text), "-o", "name"}
	if dryRun {
		args = append(args, "--dry-run=server")
	}
	_, err = k.quick(ctx, args...)
	return err
}

// errEnough ends a call of which enough was read.
var errEnough = errors.New("enough was read")

// Logs reads what a container has written, from the beginning, until line has enough.
func (k *Kubectl) Logs(ctx context.Context, pod, container string, line func([]byte) (enough bool)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, k.Quick, fmt.Errorf("kubectl has not ended within %s", k.Quick))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	over := false
	_, err := k.run(ctx, call{args: []string{"logs", pod, "-c", container}, line: func(text []byte) {
		if !over && line(text) {
			over = true
			stop(errEnough)
		}
	}})
	if over {
		return nil
	}
	return err
}

// Exec executes a command in a container.
func (k *Kubectl) Exec(ctx context.Context, pod, container string, stdin *os.File, line func([]byte), command ...string) error {
	args := []string{"exec", pod, "-c", container}
	if stdin != nil {
		args = append(args, "-i")
	}
	_, err := k.run(ctx, call{args: append(append(args, "--"), command...), stdin: stdin, line: line})
	return err
}

// tail keeps the end of what is written to it.
type tail struct{ bytes.Buffer }

const maxTail = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	n, err := t.Buffer.Write(p)
	if extra := t.Len() - maxTail; extra > 0 {
		t.Next(extra)
	}
	return n, err
}

// lines cuts what is written to it into lines.
type lines struct {
	each func([]byte)
	rest []byte
}

// maxLine bounds a line: a status has a few hundred bytes, and some for each listener.
const maxLine = 1 << 20

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, complete := bytes.Cut(l.rest, []byte("\n"))
		if !complete {
			break
		}
		l.each(line)
		l.rest = rest
	}
	if len(l.rest) > maxLine {
		return 0, fmt.Errorf("a line of more than %d bytes: %w", maxLine, io.ErrShortBuffer)
	}
	return len(p), nil
}
