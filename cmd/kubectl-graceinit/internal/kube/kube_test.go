package kube

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func pod(name, set string) Pod {
	p := Pod{Meta: Meta{Name: name}}
	if set != "" {
		p.Meta.OwnerReferences = []Owner{{Kind: "Something"}, {Kind: "StatefulSet", Name: set, Controller: true}}
	}
	return p
}

func TestSort(t *testing.T) {
	pods := []Pod{pod("web-2", "web"), pod("b", ""), pod("web-10", "web"), pod("web-x", ""), pod("api-0", "api"), pod("web-1", "web"),
		pod("api-1", "api"), pod("a-9", ""), pod("a-10", "")}
	Sort(pods)
	var got []string
	for _, p := range pods {
		got = append(got, p.Meta.Name)
	}
	want := []string{"a-10", "a-9", "api-1", "api-0", "b", "web-10", "web-2", "web-1", "web-x"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAppContainer(t *testing.T) {
	wrapped := []string{"/opt/graceinit", "--", "/app"}
	for _, c := range []struct {
		name, annotation string
		containers       []Container
		want, path       string // no container: an error
	}{
		{"named app", "", []Container{{Name: "x"}, {Name: "app"}}, "app", "/graceinit"},
		{"annotated", "x", []Container{{Name: "x", Command: wrapped}, {Name: "app"}}, "x", "/opt/graceinit"},
		{"annotated in vain", "gone", []Container{{Name: "x"}, {Name: "app"}}, "app", "/graceinit"},
		{"wrapped", "", []Container{{Name: "x"}, {Name: "y", Command: wrapped}, {Name: "payload", Command: wrapped}}, "y", "/opt/graceinit"},
		{"the only one", "", []Container{{Name: "x", Command: []string{"/sh"}}, {Name: "payload"}}, "x", "/graceinit"},
		{"two", "", []Container{{Name: "x"}, {Name: "y"}}, "", ""},
		{"two wrapped", "", []Container{{Name: "x", Command: wrapped}, {Name: "y", Command: wrapped}}, "", ""},
	} {
		p := Pod{Spec: PodSpec{Containers: c.containers}}
		p.Meta.Annotations = map[string]string{defaultContainer: c.annotation}
		got, err := p.AppContainer("payload")
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if err == nil && p.Graceinit(got) != c.path {
			t.Errorf("%s: graceinit is at %s", c.name, p.Graceinit(got))
		}
	}
}

func TestLines(t *testing.T) {
	var got []string
	l := lines{each: func(line []byte) { got = append(got, string(line)) }}
	for _, piece := range []string{"a", "b\nc\n", "", "\nd"} {
		if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []string{"ab", "c", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := l.Write(make([]byte, maxLine)); err == nil {
		t.Error("a line without an end is taken")
	}
}

func TestTail(t *testing.T) {
	var kept tail
	for range 3 {
		if _, err := kept.Write([]byte(strings.Repeat("x", maxTail-3) + "end")); err != nil {
			t.Fatal(err)
		}
	}
	if kept.Len() != maxTail || !strings.HasSuffix(kept.String(), "end") {
		t.Errorf("%d bytes", kept.Len())
	}
}

// script makes a kubectl of a shell script.
func script(t *testing.T, text string) *Kubectl {
	path := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Kubectl{Path: path, Quick: time.Minute}
}

func TestErrors(t *testing.T) {
	_, err := script(t, `echo 'Error from server (Forbidden): pods is forbidden' >&2; exit 1`).Pod(t.Context(), "x")
	if !Reason(err, "Forbidden") || Reason(err, "NotFound") || Unreachable(err) || Unsupported(err) {
		t.Errorf("%v", err)
	}
	if _, executed := ExitCode(err); executed {
		t.Error("a refusal of the server is taken for an exit code")
	}
	_, err = script(t, `echo 'error: v1, Kind=Pod does not support dry-run' >&2; exit 1`).Pod(t.Context(), "x")
	if !Unsupported(err) || !Unreachable(err) {
		t.Errorf("%v", err)
	}
	err = script(t, `echo said; echo 'command terminated with exit code 3' >&2; exit 3`).Exec(t.Context(), "x", "app", nil, func([]byte) {}, "true")
	if code, executed := ExitCode(err); code != 3 || !executed {
		t.Errorf("%v: %d, %v", err, code, executed)
	}
	_, err = (&Kubectl{Path: "/none/kubectl"}).Pod(t.Context(), "x")
	if !Unreachable(err) || !strings.Contains(err.Error(), "/none/kubectl") {
		t.Errorf("%v", err)
	}
	_, err = script(t, `echo 'Error from server (Forbidden): pods is forbidden: User "system:serviceaccount:default:upgrader" cannot list resource "pods" in API group "" in the namespace "shop"' >&2; exit 1`).Pod(t.Context(), "x")
	if err == nil || !strings.Contains(err.Error(), "a RoleBinding in namespace shop name it, with subjects[].namespace: default?") {
		t.Errorf("%v", err)
	}
	_, err = script(t, `echo '{"kind":'`).Pod(t.Context(), "x")
	if err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("%v", err)
	}
}

// What kubectl has started does not outlive it, and a pipe that is held open holds up nobody.
func TestCancel(t *testing.T) {
	dir := t.TempDir()
	k := script(t, `sleep 1000 & echo $! >`+dir+`/pid.new; mv `+dir+`/pid.new `+dir+`/pid; wait`)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the reason")
	go func() {
		for { // until it has begun
			if _, err := os.Stat(dir + "/pid"); err == nil {
				cancel(why)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := k.Pod(ctx, "x")
	if !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	text, err := os.ReadFile(dir + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what kubectl has started lives on")
		}
	}
	k = script(t, "sleep 1000")
	k.Quick = 10 * time.Millisecond
	if _, err := k.Pod(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "not answered within 10ms") {
		t.Errorf("%v", err)
	}
}
