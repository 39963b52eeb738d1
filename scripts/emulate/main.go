// Emulate runs a command with arm64 programs under qemu: the command itself, and whatever it starts.
//
//	GOARCH=arm64 go test -exec /path/to/emulate ./...
//
// The kernel is told of the emulator in a user namespace of the command's own (binfmt_misc, Linux 6.7), so that the
// machine stays as it is: an arm64 program cannot run elsewhere, which other tests want. The ids of users are the same
// in there.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	inside = "GRACEINIT_EMULATE_INSIDE" // set where this program is in the namespaces already
	misc   = "/proc/sys/fs/binfmt_misc"

	// An ELF file of 64 bits, little endian, executable or shared, for machine 183 (include/uapi/linux/elf-em.h).
	magic = `\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`
	mask  = `\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`
)

// unable is the exit status where this machine cannot do it, as in scripts/test.
const unable = 77

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "emulate:", err)
	}
	os.Exit(status)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("usage: emulate COMMAND [ARGUMENT...]")
	}
	if os.Getenv(inside) != "" {
		return unable, become(args)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	ids := []syscall.SysProcIDMap{{Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings:                ids,
		GidMappings:                ids,
		GidMappingsEnableSetgroups: true,
		Pdeathsig:                  syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return unable, fmt.Errorf("cannot run %q in a user namespace, which needs root: %w", args, err)
	}
	return 0, nil
}

// become registers the emulator and executes the command. It returns only if it cannot.
func become(args []string) error {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		return fmt.Errorf("no emulator (Debian: qemu-user-static): %w", err)
	}
	if err := unix.Mount("none", misc, "binfmt_misc", 0, ""); err != nil {
		return fmt.Errorf("cannot mount binfmt_misc in a user namespace, which needs Linux 6.7: %w", err)
	}
	// O: the emulator gets an open file, so that a program without a path (memfd_create(2)) runs too. C: the
	// program's credentials count. F: the emulator is opened now, and found in other root directories too.
	rule := ":arm64:M::" + magic + ":" + mask + ":" + qemu + ":POCF"
	if err := os.WriteFile(misc+"/register", []byte(rule), 0); err != nil {
		return fmt.Errorf("cannot register the emulator: %w", err)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	if err := os.Unsetenv(inside); err != nil {
		return err
	}
	return fmt.Errorf("cannot execute %s: %w", path, unix.Exec(path, args, os.Environ()))
}
