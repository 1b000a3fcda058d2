//go:build linux

package stack_test

import (
	"context"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

var (
	skewGauge = regexp.MustCompile(`mail_clock_skew_seconds\{hop="[a-z_0-9]+"\} (\S+)`)
	hopGauge  = regexp.MustCompile(`mail_hop_seconds\{hop="([a-z_0-9]+)"\} (\S+)`)
)

// TestClockSkew has Dovecot's clock be wrong: that is told, and no hop is said to have taken any of it.
func TestClockSkew(t *testing.T) {
	s := need(t)
	if err := stack.SkewUsable(); err != nil {
		t.Skip(err)
	}
	logs(t, "dovecot")
	config := filepath.Join(s.Dir, "stepwatch.yml")
	steps := []string{send587, read993, "no hop took longer than 5s"}
	for _, by := range []time.Duration{-90 * time.Second, 40 * time.Second} {
		t.Run(by.String(), func(t *testing.T) {
			skewed := func(ctx context.Context) (func() error, error) { return s.Skew(ctx, by) }
			fault(skewed).while(t, func() {
				if off := worstSkew(t, passes(t, config, steps...)); off < by-2*time.Second || off > by+2*time.Second {
					t.Errorf("the clock is said to be wrong by %s, and it is by %s", off, by)
				}
			})
			if off := worstSkew(t, passes(t, config, steps...)); off.Abs() > time.Second {
				t.Errorf("the clock is said to be wrong by %s, and it is right", off)
			}
		})
	}
}

const (
	send587 = `I send a message from "alice" to "bob" via 587`
	read993 = `"bob" receives it over IMAP via 993 within 10s`
)

// worstSkew is what the output says of the clock that is wrong by the most. It wants the hops to be short.
func worstSkew(t *testing.T, out string) (worst time.Duration) {
	t.Helper()
	found := skewGauge.FindAllStringSubmatch(out, -1)
	for _, m := range found {
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Duration(seconds * float64(time.Second)); off.Abs() > worst.Abs() {
			worst = off
		}
	}
	hops := hopGauge.FindAllStringSubmatch(out, -1)
	for _, m := range hops {
		if took, err := strconv.ParseFloat(m[2], 64); err != nil || took < 0 || took > 5 {
			t.Errorf("the hop %s is said to have taken %s s, %v", m[1], m[2], err)
		}
	}
	if len(found) == 0 || len(hops) == 0 {
		t.Errorf("no clock or no hop:\n%s", out)
	}
	return worst
}

// TestInotifyExhausted takes away from Dovecot what it would notice mail by: a mail program in IDLE waits half a minute then,
// and stepwatch notices the message as soon as ever.
func TestInotifyExhausted(t *testing.T) {
	s := need(t)
	logs(t, "dovecot")
	taken := takeInotify(t)
	defer func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
	}()
	out := passes(t, filepath.Join(s.Dir, "stepwatch.yml"), send587, read993)
	m := regexp.MustCompile(`mail_detection_lag_seconds (\S+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no lag:\n%s", out)
	}
	if lag, err := strconv.ParseFloat(m[1], 64); err != nil || lag > 0.25 {
		t.Errorf("the message was noticed %s s late", strings.TrimSpace(m[1]))
	}
	delivered := regexp.MustCompile(`mail_delivery_seconds (\S+)`).FindStringSubmatch(out)
	if took, err := strconv.ParseFloat(delivered[1], 64); err != nil || took > 5 {
		t.Errorf("the delivery took %s s, %v", delivered[1], err)
	}
}

// takeInotify opens every inotify instance that the owner of the mailboxes may have. The kernel counts them by user, so a
// thread becomes that user for it, and is never used again.
func takeInotify(t *testing.T) []int {
	t.Helper()
	type outcome struct {
		taken []int
		err   error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var o outcome
		if _, _, failed := unix.RawSyscall(unix.SYS_SETRESUID, stack.MailUID, stack.MailUID, stack.MailUID); failed != 0 {
			done <- outcome{err: failed}
			return
		}
		for {
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			if err != nil {
				o.err = err
				break
			}
			o.taken = append(o.taken, fd)
		}
		done <- o
	}()
	o := <-done
	if o.err != unix.EMFILE || len(o.taken) == 0 {
		t.Fatalf("took %d inotify instances: %v, want EMFILE", len(o.taken), o.err)
	}
	t.Logf("took %d inotify instances", len(o.taken))
	return o.taken
}
