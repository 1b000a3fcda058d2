package ping

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEcho(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		took, err := Echo(t.Context(), netip.MustParseAddr(address), 3*time.Second)
		if err != nil || took <= 0 || took > time.Second {
			t.Errorf("%s: got %s, %v", address, took, err)
		}
	}
}

func TestByProgram(t *testing.T) {
	took, err := byProgramFor(t, 3*time.Second)
	if err != nil || took <= 0 {
		t.Errorf("got %s, %v", took, err)
	}
	for _, c := range []struct {
		exitCode       int
		stdout, stderr string
		took           time.Duration
		err            string
	}{
		{0, "64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.045 ms\n", "", 45 * time.Microsecond, ""},
		{0, "64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time<1 ms\n", "", time.Millisecond, ""},
		{1, "1 packets transmitted, 0 received, 100% packet loss\n", "", 0, "no answer"},
		{2, "", "ping: socket: Operation not permitted\n", 0, `ping returned exit code 2: "ping: socket: Operation not permitted\n"`},
		{0, "", "", 0, `ping returned exit code 0: ""`},
	} {
		took, err := readProgram(c.exitCode, c.stdout, c.stderr)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if took != c.took || said != c.err {
			t.Errorf("%d %q: got %s, %q", c.exitCode, c.stdout, took, said)
		}
	}
	if _, err := readProgram(1, "time=1 ms", ""); !errors.Is(err, ErrSilent) {
		t.Errorf("an answer and a failure: got %v", err)
	}
}

// byProgramFor pings 127.0.0.1 with the machine's ping.
func byProgramFor(t *testing.T, patience time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return byProgram(ctx, netip.MustParseAddr("127.0.0.1"))
}

func FuzzReplyTo(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 2, 0, 3, 't', 'o', 'k', 'e', 'n'}, false)
	f.Add([]byte{129, 0, 0, 0, 1, 2, 0, 3, 't', 'o', 'k', 'e', 'n'}, true)
	f.Fuzz(func(t *testing.T, packet []byte, is6 bool) {
		if seq, ours := replyTo(packet, is6, []byte("token")); ours && (seq < 0 || len(packet) < 8+len("token")) {
			t.Errorf("%x answers request %d", packet, seq)
		}
	})
}
