package upgrade

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/testproc"
)

func TestMain(m *testing.M) {
	if ShimRequested() {
		RunShim()
	}
	testproc.Main(map[string]func([]string) int{"dying shim": helperDyingShim})
	os.Exit(m.Run())
}

// helperDyingShim starts a program by a shim whose runtime has to give up for want of memory, with a standard error that
// nobody reads. What comes of it goes to standard output.
func helperDyingShim([]string) int {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK); err != nil {
		fmt.Println(err)
		return 1
	}
	for page := make([]byte, 4096); ; {
		if _, err := unix.Write(pipe[1], page); errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	if err := errors.Join(unix.SetNonblock(pipe[1], false), unix.Dup3(pipe[1], 2, 0)); err != nil {
		fmt.Println(err)
		return 1
	}
	const little = 64 << 20
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: little, Max: little}); err != nil {
		fmt.Println(err)
		return 1
	}
	p := Program{Args: []string{"/bin/true"}, Env: os.Environ(), Dir: Dir()}
	_, err := p.Start(Launch{FDs: []int{0}})
	fmt.Println("answer:", err)
	if !errors.Is(err, syscall.EAGAIN) {
		return 1
	}
	return 0
}

// At the pids limit a shim dies the same way.
func TestShimThatDiesWhereNobodyReadsStandardError(t *testing.T) {
	testproc.NotEmulated(t, "limit of the address space that leaves room for the emulator")
	in := testproc.Start(t, testproc.Options{}, testproc.Self("dying shim"))
	code := in.Wait()
	if said := in.Stdout(); code != 0 || !strings.Contains(said, "the exec shim died") {
		t.Errorf("code %d: %s", code, said)
	}
}
