package ping

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSilence pings a host that ignores echo requests: this one, in a network namespace of its own.
func TestSilence(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its network namespace
		defer close(done)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		if err := exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
			done <- err
			return
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0o600); err != nil {
			done <- err
			return
		}
		start := time.Now()
		if took, err := Echo(t.Context(), netip.MustParseAddr("127.0.0.1"), 1200*time.Millisecond); !errors.Is(err, ErrSilent) || time.Since(start) < time.Second {
			t.Errorf("got %s, %v after %s", took, err, time.Since(start))
		}
		if took, err := byProgramFor(t, 300*time.Millisecond); !errors.Is(err, ErrSilent) {
			t.Errorf("by program: got %s, %v", took, err)
		}
	}()
	for err := range done {
		t.Skip("no network namespace of its own: ", err)
	}
}
