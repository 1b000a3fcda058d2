//go:build linux

package bench

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// realMail is the running stack of real servers that ".ci/stack run" starts, as its environment variable names it.
type realMail struct {
	dir     string
	target  *steps.Target
	secrets stepstest.Secrets
}

func needStack(b *testing.B) *realMail {
	b.Helper()
	dir := os.Getenv("STACK_DIR")
	if dir == "" {
		b.Skip("needs the real servers: run it as README.md says")
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	s := &realMail{dir: dir, secrets: stepstest.Secrets{}, target: &steps.Target{Accounts: map[string]*steps.Account{},
		Roots: func() (*x509.CertPool, error) { return roots, nil }}}
	for _, name := range []string{"alice", "bob", "carol", "holder"} {
		user, host := name, stack.Mail
		if name == "holder" { // sends as alice, through the host that keeps mail
			user, host = "alice", stack.Holding
		}
		password, err := os.ReadFile(filepath.Join(dir, user+".password"))
		if err != nil {
			b.Fatal(err)
		}
		s.secrets[name] = strings.TrimSpace(string(password))
		address := user + "@" + stack.Domain
		s.target.Accounts[name] = &steps.Account{Name: name, Address: address, Username: address, Password: name, SMTP: host, IMAP: stack.Mail}
	}
	for _, to := range []string{"bob", "carol"} { // Dovecot makes a mailbox when it is first used
		outcome, err := stepstest.Scenario{Target: s.target, Secrets: s.secrets}.Run(b.Context(), fmt.Sprintf(`
			When I send a message from "alice" to %q via 587
			Then %q receives it over IMAP within 60s`, to, to))
		if err != nil || outcome.Err() != nil {
			b.Fatal(err, outcome.Err())
		}
	}
	return s
}

// letGo releases what Postfix keeps, each message when it has been kept for that long, until ctx ends.
func (s *realMail) letGo(ctx context.Context, after time.Duration) error {
	kept := map[string]time.Time{}
	config := filepath.Join(s.dir, "etc/postfix")
	for ctx.Err() == nil {
		found, err := os.ReadDir(filepath.Join(s.dir, "postfix/queue/hold"))
		if err != nil {
			return err
		}
		for _, message := range found {
			id := message.Name()
			since, seen := kept[id]
			if !seen {
				kept[id] = time.Now()
			}
			if !seen || time.Since(since) < after {
				continue
			}
			for _, command := range [][]string{{"/usr/sbin/postsuper", "-c", config, "-H", id}, {"/usr/sbin/postqueue", "-c", config, "-i", id}} {
				if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
					return fmt.Errorf("%q: %w: %s", command, err, out)
				}
			}
			delete(kept, id)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// arrivals writes down when messages appear in an account's Maildir, by the kernel's word (inotify(7)), until stop.
func (s *realMail) arrivals(b *testing.B, account string) (stop func() []time.Time) {
	b.Helper()
	inbox := filepath.Join(s.dir, "mail", account, "Maildir")
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	for _, folder := range []string{"new", "cur"} { // Dovecot moves a message on as soon as a client saw it
		if _, err := unix.InotifyAddWatch(fd, filepath.Join(inbox, folder), unix.IN_MOVED_TO|unix.IN_CREATE); err != nil {
			b.Fatalf("watch %s: %v", inbox, err)
		}
	}
	var times []time.Time
	done, last := make(chan struct{}), filepath.Join(inbox, "new", "last")
	go func() {
		defer close(done)
		seen := map[string]bool{}
		buffer := make([]byte, 64<<10)
		for {
			n, err := unix.Read(fd, buffer)
			at := time.Now()
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
				length := int(binary.NativeEndian.Uint32(rest[12:]))
				name := strings.TrimRight(string(rest[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+length]), "\x00")
				rest = rest[unix.SizeofInotifyEvent+length:]
				name, _, _ = strings.Cut(name, ":") // behind it are the flags, which change
				if name == "last" {
					return
				}
				if !seen[name] {
					seen[name] = true
					times = append(times, at)
				}
			}
		}
	}()
	return func() []time.Time {
		if err := os.WriteFile(last, nil, 0o600); err != nil { // wakes the reader up
			b.Fatal(err)
		}
		<-done
		_ = os.Remove(last)
		_ = unix.Close(fd)
		return times
	}
}

// noted is a library in which "the time is noted" writes down when the step before it was over.
func noted(note func(time.Time)) *steps.Library {
	library := []steps.Definition{{Area: "bench", Sentence: "the time is noted",
		Func: func(context.Context, *steps.World, steps.Args) error { note(time.Now()); return nil }}}
	for _, d := range builtin.Library().Definitions() {
		if d.Area == "mail" {
			library = append(library, steps.Definition{Area: d.Area, Sentence: d.Sentence, Pattern: d.Pattern, Func: d.Func, Prepare: d.Prepare})
		}
	}
	return steps.NewLibrary(library...)
}

// BenchmarkStackDetection is by how much later than its arrival in Dovecot's Maildir the step has noticed a message, after
// waits of several lengths, and what the waiting costs both sides. An iteration is 8 messages that Postfix keeps for that
// long, half a second apart; "0s" are 8 messages one after another that it does not keep at all.
func BenchmarkStackDetection(b *testing.B) {
	s := needStack(b)
	for _, delay := range []time.Duration{0, 50 * time.Millisecond, 2 * time.Second, 30 * time.Second, 2 * time.Minute} {
		b.Run(delay.String(), func(b *testing.B) {
			sender, apart := "holder", time.Second/2
			if delay == 0 {
				sender, apart = "alice", 0
			}
			var lags, waits []time.Duration
			var client, server time.Duration
			for b.Loop() {
				ctx, cancel := context.WithCancel(context.Background())
				released := make(chan error, 1)
				go func() { released <- s.letGo(ctx, delay) }()
				var mu sync.Mutex
				seen := map[string][]time.Time{}
				var all sync.WaitGroup
				stops := map[string]func() []time.Time{"bob": s.arrivals(b, "bob"), "carol": s.arrivals(b, "carol")}
				clientBefore, serverBefore := cpu(), dovecotCPU()
				for i := range 8 {
					to := []string{"bob", "carol"}[i%2]
					run := func() {
						scenario := stepstest.Scenario{Target: s.target, Secrets: s.secrets, Origin: fmt.Sprintf("detection %d", i),
							Library: noted(func(at time.Time) {
								mu.Lock()
								defer mu.Unlock()
								seen[to] = append(seen[to], at)
							})}
						outcome, err := scenario.Run(context.Background(), fmt.Sprintf(`
							When I send a message from %q to %q via 587
							Then %q receives it over IMAP within 5m
							And the time is noted`, sender, to, to))
						if err != nil || outcome.Err() != nil {
							b.Error(err, outcome.Err())
							return
						}
						mu.Lock()
						defer mu.Unlock()
						waits = append(waits, outcome.Steps[1].Duration)
					}
					if delay == 0 {
						run()
						continue
					}
					all.Go(run)
					time.Sleep(apart)
				}
				all.Wait()
				client += cpu() - clientBefore
				server += dovecotCPU() - serverBefore
				cancel()
				if err := <-released; err != nil {
					b.Fatal(err)
				}
				for account, stop := range stops {
					lags = append(lags, differences(b, seen[account], stop())...)
				}
			}
			reportPercentiles(b, "lag", lags)
			var waited time.Duration
			for _, w := range waits {
				waited += w
			}
			b.ReportMetric(float64(percentile(waits, 0.5).Microseconds())/1000, "step-p50-ms")
			if delay >= time.Second {
				b.ReportMetric(client.Seconds()/waited.Seconds()*100, "client-cpu-%")
				b.ReportMetric(server.Seconds()/waited.Seconds()*100, "dovecot-cpu-%")
			}
		})
	}
}

// differences pairs what was seen with what arrived, in order: messages are further apart than any lag.
func differences(b *testing.B, seen, arrived []time.Time) (lags []time.Duration) {
	b.Helper()
	if len(seen) != len(arrived) {
		b.Fatalf("%d messages were seen and %d arrived", len(seen), len(arrived))
	}
	slices.SortFunc(seen, time.Time.Compare)
	for i, at := range seen {
		lags = append(lags, at.Sub(arrived[i]))
	}
	return lags
}

// dovecotCPU is the CPU time of all of Dovecot's processes, those that ended included.
func dovecotCPU() (total time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		name, fields := string(stat[open+1:end]), strings.Fields(string(stat[end+1:]))
		if !slices.Contains([]string{"dovecot", "imap", "imap-login", "lmtp", "auth", "anvil", "stats", "log", "config"}, name) {
			continue
		}
		count := 2 // utime, stime
		if name == "dovecot" {
			count = 4 // and those of the children that ended
		}
		for _, field := range fields[11 : 11+count] {
			n, _ := strconv.ParseInt(field, 10, 64)
			total += time.Duration(n) * tick
		}
	}
	return total
}

// BenchmarkStackTrips is round trips of a message through Postfix and Dovecot: stepwatch one after another and four at a
// time, `stepwatch check` as a process, and swaks with curl in a shell script.
func BenchmarkStackTrips(b *testing.B) {
	s := needStack(b)
	const feature = `Feature: Trips
  Scenario: Trip %d
    When I send a message from "alice" to "%s" via 587
    Then it is accepted
    And "%s" receives it over IMAP within 60s
`
	for _, workers := range []int{1, 4} {
		b.Run(fmt.Sprintf("stepwatch-%d-at-a-time", workers), func(b *testing.B) {
			runner := &agent.Runner{Direct: true, Target: s.target, Secrets: s.secrets}
			plans := make([]*agent.Plan, workers)
			for i := range plans {
				to := []string{"bob", "carol"}[i%2]
				plans[i] = compile(b, fmt.Sprintf(feature, i, to, to))[0]
			}
			trips(b, workers, func(worker int) error {
				r := runner.Run(context.Background(), plans[worker], agent.Occasion{})
				if r.State() != result.OK || r.Cleanup != "" {
					return errors.New(r.Summary() + r.Cleanup)
				}
				return nil
			})
		})
	}
	b.Run("stepwatch-check", func(b *testing.B) {
		dir := b.TempDir()
		binary, path := filepath.Join(dir, "stepwatch"), filepath.Join(dir, "trip.feature")
		if out, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "../cmd/stepwatch").CombinedOutput(); err != nil {
			b.Fatalf("build: %v\n%s", err, out)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, feature, 1, "bob", "bob"), 0o600); err != nil {
			b.Fatal(err)
		}
		trips(b, 1, func(int) error {
			return finish(exec.Command(binary, "check", "--config", filepath.Join(s.dir, "stepwatch.yml"), path))
		})
	})
	b.Run("swaks-and-curl", func(b *testing.B) {
		for _, needs := range [][]string{{"swaks", "--version"}, {"perl", "-MNet::SSLeay", "-e1"}, {"curl", "--version"}} {
			if err := exec.Command(needs[0], needs[1:]...).Run(); err != nil {
				b.Skipf("install swaks, libnet-ssleay-perl and curl: %q: %v", needs, err)
			}
		}
		script := filepath.Join(b.TempDir(), "trip.sh")
		if err := os.WriteFile(script, []byte(trip), 0o700); err != nil {
			b.Fatal(err)
		}
		trips(b, 1, func(int) error {
			cmd := exec.Command("sh", "-eu", script)
			cmd.Env = append(os.Environ(), "HOST="+stack.Mail, "DOMAIN="+stack.Domain, "CA="+filepath.Join(s.dir, "ca.pem"),
				"ALICE="+s.secrets["alice"], "BOB="+s.secrets["bob"])
			return finish(cmd)
		})
	})
}

// finish runs a command to its end; its error holds what it printed.
func finish(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// trip sends a message, looks for it as often as curl can, and removes it: what an operator would put under cron.
const trip = `id=probe-$$-$(date +%s%N)
swaks --silent 2 --tls --tls-verify --tls-ca-path "$CA" --server "$HOST:587" --auth PLAIN --auth-user "alice@$DOMAIN" --auth-password "$ALICE" \
	--from "alice@$DOMAIN" --to "bob@$DOMAIN" --header "Subject: $id"
imap() { curl -sS --cacert "$CA" -u "bob@$DOMAIN:$BOB" "imaps://$HOST/INBOX" -X "$1"; }
for try in $(seq 60); do
	uid=$(imap "UID SEARCH SUBJECT $id" | tr -dc '0-9 ' | tr -d ' ')
	[ -n "$uid" ] && break
	sleep 0.1
done
[ -n "$uid" ]
curl -sS --cacert "$CA" -u "bob@$DOMAIN:$BOB" "imaps://$HOST/INBOX" -X "UID STORE $uid +FLAGS.SILENT (\\Deleted)" --next \
	-sS --cacert "$CA" -u "bob@$DOMAIN:$BOB" "imaps://$HOST/INBOX" -X "UID EXPUNGE $uid" >/dev/null
`

// trips does b.N trips and reports their rate and the CPU of this process and those that it started.
func trips(b *testing.B, workers int, do func(worker int) error) {
	both := func() (total time.Duration) {
		for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
			var usage syscall.Rusage
			if err := syscall.Getrusage(who, &usage); err != nil {
				b.Fatal(err)
			}
			total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
		return total
	}
	before, serverBefore := both(), dovecotCPU()
	work := make(chan struct{})
	var all sync.WaitGroup
	var mu sync.Mutex
	var times []time.Duration
	for worker := range workers {
		all.Go(func() {
			for range work {
				start := time.Now()
				if err := do(worker); err != nil {
					b.Error(err)
				}
				mu.Lock()
				times = append(times, time.Since(start))
				mu.Unlock()
			}
		})
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "trips/s")
	b.ReportMetric(float64((both()-before).Microseconds())/float64(b.N)/1000, "cpu-ms/op")
	b.ReportMetric(float64((dovecotCPU()-serverBefore).Microseconds())/float64(b.N)/1000, "dovecot-cpu-ms/op")
	reportPercentiles(b, "trip", times)
}
