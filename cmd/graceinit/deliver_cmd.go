package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/commands"
	"github.com/graceinit/graceinit/internal/config"
	"github.com/graceinit/graceinit/internal/control"
	"github.com/graceinit/graceinit/internal/signals"
)

// deliverCommand brings the app of another container a new executable, and then is the init of its own container: it
// idles there, also after a refusal, since a container that ends would make its pod unready.
func deliverCommand(a *commands.Args) int {
	idle := !a.Has("if-absent") && !a.Has("once")
	switch {
	case len(a.Operands) < 2:
		return usageError(a.Command, errors.New("an argument is missing: TARGET"))
	case len(a.Operands) > 2 && !idle:
		return usageError(a.Command, errors.New("a COMMAND is for when the delivery does not end with its exit code"))
	}
	inherited := signals.ReadInherited()
	received, err := signals.Subscribe() // PID 1 gets no SIGTERM that it does not catch (pid_namespaces(7))
	if err != nil {
		complain(a.Command, err)
		return codeError
	}
	then := []string{"graceinit", "--pause"}
	if command := a.Operands[2:]; len(command) > 0 {
		then = append([]string{"graceinit", "--"}, command...)
	}
	inv, err := config.Load(then)
	if err != nil {
		return usageError(a.Command, err)
	}

	go received.Deliver()
	d := newDelivery(a)
	ended := make(chan error, 1)
	go func() { ended <- d.carryOut() }()
	for waiting := true; waiting; {
		select {
		case s := <-received.C:
			if s := syscall.Signal(s); s == syscall.SIGTERM || s == syscall.SIGINT {
				// The upgrade goes on. What is staged says to the next delivery that this one has not ended.
				return 128 + int(s)
			}
		case err = <-ended:
			waiting = false
		}
	}
	if err != nil {
		d.Reason = err.Error()
		complain(a.Command, fmt.Errorf("%s: %w", d.Result, err))
		leaveTerminationMessage(inv.Settings.TerminationLog, fmt.Sprintf("delivery of %s %s: %v", d.Source, d.Result, err),
			newLogger(&inv.Settings, os.Stderr))
	}
	text, err := json.Marshal(map[string]any{"delivery": &d.Delivery})
	if err == nil {
		_, err = os.Stdout.Write(append(text, '\n'))
	}
	if err != nil {
		complain(a.Command, err)
	}
	if !idle {
		return d.ExitCode
	}
	_ = os.Setenv("GRACEINIT_CONTROL", "off") // the socket there is the other init's
	os.Args = then
	return run(inherited, received, nil)
}

// delivery is the way of an executable to the app.
type delivery struct {
	control.Delivery
	args   *commands.Args
	path   string // the target, links resolved
	staged string // beside it, and renamed to it in the end
	asked  bool   // the init has got the request
}

func newDelivery(a *commands.Args) *delivery {
	d := &delivery{args: a}
	d.Source, d.Target = a.Operands[0], a.Operands[1]
	d.Result, d.ExitCode = control.ResultRefused, control.CodeRefused
	d.path = d.Target
	if path, err := filepath.EvalSymlinks(d.Target); err == nil {
		d.path = path
	}
	dir, base := filepath.Split(d.path)
	d.staged = dir + "." + base + ".staged"
	return d
}

// carryOut returns why the delivery was refused or has failed.
func (d *delivery) carryOut() error {
	noFile := fmt.Errorf("%s is no file that could be replaced", d.Target)
	if strings.HasSuffix(d.path, "/") {
		return noFile
	}
	unlock, err := d.lock()
	if errors.Is(err, os.ErrNotExist) {
		return d.explain(err)
	}
	if err != nil {
		return err
	}
	defer unlock()
	target, err := os.Stat(d.path)
	switch {
	case err == nil && !target.Mode().IsRegular():
		return noFile
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	seed := d.args.Has("if-absent")
	if d.SHA256, err = hashFile(d.Source); err != nil {
		return err
	}
	if want := strings.ToLower(d.args.Value("sha256")); want != "" && want != d.SHA256 {
		return fmt.Errorf("the SHA-256 of %s is %s, not %s", d.Source, d.SHA256, want)
	}
	// What is staged was left by a delivery that was cut off: nobody knows what the app runs, until one ends well.
	_, err = os.Lstat(d.staged)
	cutOff := err == nil
	if target != nil && (seed || !cutOff && d.isThere()) {
		d.Result, d.ExitCode = control.ResultUnchanged, control.CodeDone
		if !seed {
			return nil
		}
		d.SHA256, err = hashFile(d.path) // of what is there
		return err
	}
	if err := d.stage(); err != nil {
		return d.explain(err)
	}
	if seed {
		d.ExitCode = control.CodeDone
	} else if err := d.upgrade(); err != nil {
		if unknown := d.asked && d.ExitCode == control.CodeNoInit; !cutOff && !unknown {
			_ = os.Remove(d.staged)
		}
		return err
	}
	if err := os.Rename(d.staged, d.path); err != nil {
		d.Result, d.ExitCode = control.ResultFailed, control.CodeFailed
		return fmt.Errorf("the app runs it, but a restart of its container will not: %w", err)
	}
	d.Result = control.ResultDelivered
	return nil
}

func (d *delivery) explain(err error) error {
	return fmt.Errorf("cannot stage %s: %w (the volume that is shared with the app belongs there)", d.staged, err)
}

// lock waits until no other delivery to the same directory is under way.
func (d *delivery) lock() (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { dir.Close() }, nil
		}
		if errors.Is(err, unix.EWOULDBLOCK) && d.args.Has("once") {
			err = errors.New("another delivery is in progress")
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			dir.Close()
			return nil, err
		}
		if !told {
			complain(d.args.Command, errors.New("waiting: another delivery is in progress"))
		}
		time.Sleep(turn)
	}
}

// turn is how often it is tried again to have one's turn.
const turn = 200 * time.Millisecond

// isThere reports whether the target is the source already.
func (d *delivery) isThere() bool {
	sum, err := hashFile(d.path)
	return err == nil && sum == d.SHA256
}

// stage copies the source to where it can be renamed to the target. What was staged before stays until it is complete.
func (d *delivery) stage() error {
	from, err := os.Open(d.Source)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = writeExecutable(d.staged, d.staged+".new", from)
	return err
}

// upgrade asks for an upgrade to what is staged, and shows how it goes.
func (d *delivery) upgrade() error {
	question := control.Ask{Op: control.OpUpgrade, Binary: true, SHA256: d.SHA256}
	binary, err := os.Open(d.staged)
	if err != nil {
		return err
	}
	defer binary.Close()
	if question.Signature, err = readSignature(d.Source, d.args.Value("signature")); err != nil {
		return err
	}
	if question.Signature != "" { // an init that asks for one asks for a file which cannot change
		memfd, err := newMemfd(d.Source)
		if err != nil {
			return err
		}
		defer memfd.Close()
		if err := fillMemfd(memfd, binary, d.SHA256); err != nil {
			return err
		}
		binary = memfd
	}
	for {
		client, err := d.await()
		if err == nil {
			err = client.Send(question, int(binary.Fd()))
		}
		if err != nil {
			d.ExitCode = control.CodeNoInit
			return err
		}
		d.asked = true
		d.Upgrade, d.ExitCode, err = attend(d.args, client, os.Stderr)
		client.Close()
		if d.Upgrade != nil || d.ExitCode != control.CodeRefused || d.args.Has("once") || !d.busy() {
			return d.judge(err)
		}
		// Somebody else's upgrade has begun since we looked.
	}
}

// judge says how the upgrade that was attended has ended.
func (d *delivery) judge(err error) error {
	if d.ExitCode == control.CodeDone || d.ExitCode == control.CodeForced {
		return nil
	}
	if d.ExitCode != control.CodeRefused {
		d.Result = control.ResultFailed
	}
	if err == nil {
		err = errors.New(d.Upgrade.Reason)
	}
	return err
}

// await connects to the init when that can begin an upgrade: its container may be starting, or an upgrade to what was
// delivered before be in progress, and what comes now is what is wanted.
func (d *delivery) await() (*control.Client, error) {
	for told := ""; ; {
		client, err := connect(d.args)
		if d.args.Has("once") {
			return client, err
		}
		switch {
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED):
		case err != nil:
			return nil, err
		case !d.busy():
			return client, nil
		default:
			client.Close()
			err = errors.New("another upgrade is in progress")
		}
		if told != err.Error() {
			told = err.Error()
			complain(d.args.Command, fmt.Errorf("waiting: %w", err))
		}
		time.Sleep(turn)
	}
}

// busy reports whether the init has an upgrade in progress.
func (d *delivery) busy() bool {
	line, _ := askOnce(d.args, control.Ask{Op: control.OpStatus})
	return line.Status != nil && line.Status.Upgrade != nil
}

// hashFile returns a file's SHA-256 in hexadecimal.
func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = copyFile(hash, file, nil)
	return fmt.Sprintf("%x", hash.Sum(nil)), err
}
