package timeserver

import (
	"context"
	"errors"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
)

type reply = stepstest.TimeReply

// serve starts a server on loopback. change alters the n-th answer, from 1, or returns false for none.
func serve(t *testing.T, change func(n int, r *reply) bool) (address string, asked *atomic.Int32) {
	t.Helper()
	server, err := stepstest.NewTimeServer(change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server.Address(), &server.Asked
}

func TestAsk(t *testing.T) {
	for _, c := range []struct {
		name    string
		by      time.Duration // by which the server's clock is ahead
		limit   time.Duration
		verdict Verdict
		samples int
	}{
		{"right", 0, time.Second, Within, 1},
		{"20 minutes behind", 20 * time.Minute, time.Second, Beyond, 2},
		{"20 minutes ahead", -20 * time.Minute, time.Second, Beyond, 2},
		{"a limit that is smaller than the uncertainty", 0, time.Millisecond, Unclear, samplesMost},
		{"near the limit", time.Second, time.Second, Unclear, samplesMost},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, _ := serve(t, func(_ int, r *reply) bool { r.Shift(c.by); return true })
			client := Client{Limit: c.limit}
			a, err := client.Ask(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			if off := a.Ahead + c.by; off.Abs() > 100*time.Millisecond {
				t.Errorf("it is ahead by %s, want %s", a.Ahead, -c.by)
			}
			if got := a.Judge(c.limit); got != c.verdict || a.Samples != c.samples || a.Stratum != 2 || a.Uncertainty < 1900*time.Microsecond {
				t.Errorf("verdict %d: %+v", got, a)
			}
		})
	}
}

// TestBestSample holds that of several samples the one with the least delay counts.
func TestBestSample(t *testing.T) {
	address, _ := serve(t, func(n int, r *reply) bool {
		if n != 2 { // this answer is delayed on its way back
			time.Sleep(60 * time.Millisecond)
		}
		return true
	})
	client := Client{Limit: 4 * time.Millisecond}
	a, err := client.Ask(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if a.Delay > 50*time.Millisecond || a.Ahead.Abs() > 25*time.Millisecond {
		t.Errorf("got %+v", a)
	}
}

func TestUnusableAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(n int, r *reply) bool
		kind   Kind
		said   string
		asked  int32
	}{
		{"none", func(int, *reply) bool { return false }, Silent, `^no answer$`, attempts},
		{"kiss of death", func(_ int, r *reply) bool { r.Stratum, r.RefID = 0, "RATE"; return true }, Refused, `kiss of death "RATE".*asked too often`, 1},
		{"kiss of death without a word", func(_ int, r *reply) bool { r.Stratum, r.RefID = 0, "\x00\x01\xff\x7f"; return true }, Refused, `^[ -~]+$`, 1},
		{"not yet", func(_ int, r *reply) bool { r.Stratum, r.RefID, r.Leap = 0, "INIT", 3; return true }, Unsynchronised, `does not know the time itself yet`, attempts},
		{"leap indicator 3", func(_ int, r *reply) bool { r.Leap = 3; return true }, Unsynchronised, `leap indicator 3`, attempts},
		{"stratum 16", func(_ int, r *reply) bool { r.Stratum = 16; return true }, Unsynchronised, `stratum 16`, attempts},
		{"stratum 255", func(_ int, r *reply) bool { r.Stratum = 255; return true }, Unsynchronised, `stratum 255`, attempts},
		{"not synchronised for days", func(_ int, r *reply) bool { r.Reference = r.Sent.Add(-72 * time.Hour); return true }, Unsynchronised, `synchronised last on`, attempts},
		{"dispersion", func(_ int, r *reply) bool { r.RootDispersion = 20 * time.Second; return true }, Unsynchronised, `less certain of the time than 16 s`, attempts},
		{"forged", func(_ int, r *reply) bool { r.Origin++; return true }, Invalid, `does not repeat the number in the question`, attempts},
		{"a client's packet", func(_ int, r *reply) bool { r.Mode = 3; return true }, Invalid, `not that of a server`, attempts},
		{"short", func(_ int, r *reply) bool { r.Length = 47; return true }, Invalid, `shorter than a packet`, attempts},
		{"empty", func(_ int, r *reply) bool { r.Length = 0; return true }, Invalid, `shorter than a packet`, attempts},
		{"an impossible poll interval", func(_ int, r *reply) bool { r.Poll = 100; return true }, Invalid, `poll interval or its precision is not possible`, attempts},
		{"no time", func(_ int, r *reply) bool { r.Sent = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC); return true }, Invalid, `has no time`, attempts},
		{"backwards", func(_ int, r *reply) bool { r.Received = r.Sent.Add(time.Hour); return true }, Invalid, `before it had the question`, attempts},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address, asked := serve(t, c.change)
			client := Client{Limit: time.Second}
			a, err := client.Ask(t.Context(), address)
			failed := (*Error)(nil)
			if !errors.As(err, &failed) || failed.Kind != c.kind || !regexp.MustCompile(c.said).MatchString(failed.Said) || failed.Server != address {
				t.Fatalf("got %+v, %v", a, err)
			}
			if asked.Load() != c.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), c.asked)
			}
		})
	}
}

// TestLostPacket holds that one lost or forged packet does not matter.
func TestLostPacket(t *testing.T) {
	for name, first := range map[string]func(*reply) bool{
		"lost":   func(*reply) bool { return false },
		"forged": func(r *reply) bool { r.Origin = 1; return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := serve(t, func(n int, r *reply) bool { return n > 1 || first(r) })
			client := Client{Limit: time.Second}
			if a, err := client.Ask(t.Context(), address); err != nil || a.Judge(time.Second) != Within {
				t.Errorf("got %+v, %v", a, err)
			}
		})
	}
}

// TestOtherAges holds that the rollover of 2036 is read (RFC 5905 section 6), and that the clock of a server that was just
// started, in 1970, is far from ours.
func TestOtherAges(t *testing.T) {
	for _, now := range []time.Time{time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC), time.Date(2036, 2, 7, 6, 28, 17, 0, time.UTC), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(1970, 1, 1, 0, 0, 5, 0, time.UTC)} {
		t.Run(now.Format(time.DateOnly+" 150405"), func(t *testing.T) {
			t.Parallel()
			address, _ := serve(t, func(_ int, r *reply) bool {
				r.Received, r.Sent, r.Reference = now, now, now
				return true
			})
			client := Client{Limit: time.Second}
			a, err := client.Ask(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			if want := time.Until(now); (a.Ahead+want).Abs() > time.Minute || a.Judge(time.Second) != Beyond {
				t.Errorf("ahead by %s, want %s", a.Ahead, -want)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := conn.LocalAddr().String()
	_ = conn.Close()
	client := Client{}
	if _, err := client.Ask(t.Context(), address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

// TestContextEnds holds that Ask ends with its context, and names its cause.
func TestContextEnds(t *testing.T) {
	address, _ := serve(t, func(int, *reply) bool { return false })
	cause := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
	start := time.Now()
	client := Client{}
	if _, err := client.Ask(ctx, address); err == nil || time.Since(start) > time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

// TestNextAddress holds that another address of the name is asked when one does not answer, and which.
func TestNextAddress(t *testing.T) {
	address, _ := serve(t, nil)
	_, port, _ := net.SplitHostPort(address)
	var reached []string
	client := Client{Limit: time.Second, ConnectTo: map[string]string{"pool.test:123": "pool.test:" + port}, Reached: func(to []string) { reached = to },
		LookUp: func(_ context.Context, host string) ([]string, error) {
			if host != "pool.test" {
				return nil, &net.DNSError{Name: host, IsNotFound: true}
			}
			return []string{"127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.4"}, nil
		}}
	a, err := client.Ask(t.Context(), "pool.test")
	if err != nil || a.Server != address || strings.Join(reached, " ") != "127.0.0.2 127.0.0.3 127.0.0.1" {
		t.Errorf("got %+v, %v, reached %q", a, err, reached)
	}
	if _, err := client.Ask(t.Context(), "gone.test"); !errors.As(err, new(*net.DNSError)) {
		t.Errorf("got %v", err)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		ahead, uncertain, limit time.Duration
		want                    Verdict
	}{
		{900, 50, 1000, Within}, {-900, 50, 1000, Within}, {900, 100, 1000, Within}, {900, 101, 1000, Unclear}, {1000, 1, 1000, Unclear},
		{1050, 50, 1000, Unclear}, {1051, 50, 1000, Beyond}, {-1051, 50, 1000, Beyond}, {0, 2000, 1000, Unclear}, {0, 0, 0, Within},
	} {
		if got := (&Answer{Ahead: c.ahead, Uncertainty: c.uncertain}).Judge(c.limit); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestKernel(t *testing.T) {
	k := ReadKernel()
	if k.Known != (k.String() != "") || k.MostError < 0 {
		t.Errorf("got %+v", k)
	}
	t.Log(k)
}

// FuzzAnswer holds that any packet is an answer with sensible values or an error with words, and never blocks.
func FuzzAnswer(f *testing.F) {
	now := time.Now()
	f.Add((&reply{Stratum: 1, RefID: "GPS\x00", Mode: 4, Length: 48, Reference: now, Received: now, Sent: now}).Packet(), true)
	f.Add((&reply{RefID: "DENY", Mode: 4, Length: 48, Reference: now, Received: now, Sent: now}).Packet(), true)
	f.Add([]byte{}, false)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	f.Fuzz(func(t *testing.T, packet []byte, repeats bool) {
		if len(packet) > 2000 {
			return
		}
		done := make(chan struct{})
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second)) // a question that is not sent
		go func() {
			defer close(done)
			question := make([]byte, 100)
			if _, from, err := conn.ReadFrom(question); err == nil {
				if repeats && len(packet) >= 32 {
					copy(packet[24:32], question[40:48])
				}
				_, _ = conn.WriteTo(packet, from)
			}
		}()
		a, err := sample(t.Context(), conn.LocalAddr().String())
		<-done
		failed := (*Error)(nil)
		switch {
		case err == nil && (a.Uncertainty < 0 || a.Delay < 0 || a.Stratum < 1 || a.Stratum > 15):
			t.Errorf("got %+v", a)
		case err != nil && (!errors.As(err, &failed) || failed.Said == "" || strings.ContainsFunc(failed.Said, func(r rune) bool { return r < ' ' })):
			t.Errorf("got %v", err)
		}
	})
}

// late is a context whose deadline is over, and which has not noticed yet.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestDeadlineIsOver(t *testing.T) {
	if answer, err := new(Client).Ask(late{t.Context()}, "127.0.0.1:1"); answer != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v", answer, err)
	}
}
