package maillog

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/statedir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sent is a line of now that reports a delivery.
func sent(n int) string {
	return time.Now().Format(time.Stamp) + fmt.Sprintf(" mail postfix/smtp[%d]: 4jWmm25qFkz1VF5h: to=<a@b.test>, relay=m[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 Ok)\n", n)
}

// server writes a log like a mail server: it keeps the file open until it is told to reopen it.
type server struct {
	t     *testing.T
	path  string
	state string // directory
	file  *os.File
	n     int
	line  func(n int) string

	trace []string // the actions
}

func newServer(t *testing.T) *server {
	dir := t.TempDir()
	s := newServerIn(t, dir, filepath.Join(dir, "state"))
	t.Cleanup(s.end)
	return s
}

func newServerIn(t *testing.T, dir, state string) *server {
	s := &server{t: t, path: filepath.Join(dir, "mail.log"), state: state, line: sent}
	s.must(os.MkdirAll(dir, 0o755))
	s.reopen()
	return s
}

// inMemory is a directory for states. On a disk a test of thousands of readings spends most of its time waiting,
// because each state is synced. If there is no such directory, the state is on the disk.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "stepwatch-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (s *server) end() {
	s.file.Close()
	os.RemoveAll(filepath.Dir(s.path)) // the next one's files then have the same inodes
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) reopen() {
	s.did("reopen")
	if s.file != nil {
		s.must(s.file.Close())
	}
	var err error
	s.file, err = os.OpenFile(s.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	s.must(err)
}

func (s *server) write(lines int) {
	s.t.Helper()
	s.did("write %d", lines)
	var text strings.Builder
	for range lines {
		s.n++
		text.WriteString(s.line(s.n))
	}
	_, err := s.file.WriteString(text.String())
	s.must(err)
}

// age makes room for a new .1, as logrotate does.
func (s *server) age() {
	for i := 9; i > 0; i-- {
		for _, gz := range []string{"", ".gz"} {
			err := os.Rename(fmt.Sprintf("%s.%d%s", s.path, i, gz), fmt.Sprintf("%s.%d%s", s.path, i+1, gz))
			if !errors.Is(err, fs.ErrNotExist) {
				s.must(err)
			}
		}
	}
}

func (s *server) rename() {
	s.did("rename")
	s.age()
	s.must(os.Rename(s.path, s.path+".1"))
	s.must(os.WriteFile(s.path, nil, 0o644))
}

func (s *server) copyTruncate() {
	s.age()
	content, err := os.ReadFile(s.path)
	s.must(err)
	s.must(os.WriteFile(s.path+".1", content, 0o644))
	s.must(os.Truncate(s.path, 0))
}

func (s *server) compress(n int) {
	name := fmt.Sprintf("%s.%d", s.path, n)
	content, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	s.must(err)
	info, err := os.Stat(name)
	s.must(err)
	f, err := os.Create(name + ".gz")
	s.must(err)
	z := gzip.NewWriter(f)
	_, err = z.Write(content)
	s.must(errors.Join(err, z.Close(), f.Close(), os.Chtimes(name+".gz", time.Time{}, info.ModTime()), os.Remove(name)))
}

func (s *server) log() Log {
	return Log{File: s.path, State: s.state}
}

func catchUp(t *testing.T, l Log) *Reading {
	t.Helper()
	r, err := l.CatchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantSent(t *testing.T, r *Reading, want int) {
	t.Helper()
	if got := r.Count(KindSent, Kept); got != want {
		t.Fatalf("counted %d, want %d", got, want)
	}
	if from, to, lost := r.Lost(Kept); lost {
		t.Fatalf("lost lines of %s to %s", from, to)
	}
}

// TestNothingIsLostOrCountedTwice rotates a log in every way at every moment between two readings.
func TestNothingIsLostOrCountedTwice(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := newServer(t)
		copies := seed%3 == 0 // one log is rotated in one way
		s.write(1 + random.IntN(20))
		for step := range 60 {
			switch random.IntN(9) {
			case 0, 1, 2:
				s.write(1 + random.IntN(30))
			case 3:
				if copies {
					s.copyTruncate()
				} else {
					s.rename()
					s.write(random.IntN(5)) // to the old file
					if random.IntN(2) == 0 {
						wantSent(t, catchUp(t, s.log()), s.n)
						s.write(random.IntN(5)) // still
					}
					s.reopen()
				}
				s.write(1)
			case 4:
				s.compress(2)
			case 5:
				s.compress(1)
			default:
				wantSent(t, catchUp(t, s.log()), s.n)
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
		t.Logf("seed %d: %d lines", seed, s.n)
		wantSent(t, catchUp(t, s.log()), s.n)
	}
}

func TestALineWithoutItsEndIsLeftForTheNextTime(t *testing.T) {
	s := newServer(t)
	s.write(1)
	line := sent(2)
	_, err := s.file.WriteString(line[:60])
	s.must(err)
	wantSent(t, catchUp(t, s.log()), 1)
	_, err = s.file.WriteString(line[60:])
	s.must(err)
	r := catchUp(t, s.log())
	wantSent(t, r, 2)
	if _, _, unknown := r.LinesOf(); unknown != 0 {
		t.Errorf("%d lines are unknown", unknown)
	}
}

func TestManyAtOnceCountOnce(t *testing.T) {
	s := newServer(t)
	s.write(5000)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := s.log().CatchUp(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	wantSent(t, catchUp(t, s.log()), 5000)
}

func TestAReadingThatIsCutShortGoesOn(t *testing.T) {
	s := newServer(t)
	s.write(3500)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	if _, err := s.log().CatchUp(ctx); err == nil || !strings.Contains(err.Error(), "is too long to read in time") {
		t.Fatalf("got %v", err)
	}
	wantSent(t, catchUp(t, s.log()), 3500)

	s.write(3500)
	s.rename()
	s.reopen()
	s.write(10)
	if _, err := s.log().CatchUp(ctx); err == nil {
		t.Fatal("no error")
	}
	wantSent(t, catchUp(t, s.log()), 7010)
}

func TestWhatWasRotatedAwayUnreadIsSaid(t *testing.T) {
	s := newServer(t)
	s.write(10)
	wantSent(t, catchUp(t, s.log()), 10)
	s.write(10)
	s.must(os.Remove(s.path))
	s.reopen()
	s.write(3)
	r := catchUp(t, s.log())
	if got := r.Count(KindSent, Kept); got != 13 {
		t.Errorf("counted %d, want the 13 that could be read", got)
	}
	if _, _, lost := r.Lost(time.Minute); !lost {
		t.Error("nothing is said of the lines that were lost")
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty":   "",
		"nginx":   "127.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET / HTTP/1.1\" 200 1\n",
		"syslog":  "Nov 21 13:00:00 mail sshd[7]: Accepted publickey for root\n",
		"damaged": "Nov 21 13:00:00 mail postfix/smtpd[7]: connect from x[192.0.2.1]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	damaged := Log{File: filepath.Join(dir, "damaged"), State: dir}
	if err := os.WriteFile(filepath.Join(damaged.State, damaged.stateFile()), []byte(`{"version":3,"counts":{"buckets":[null]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"missing": "the log DIR/missing does not exist: correct the path, or use journal if the system has no such file: ",
		".":       "the log DIR is a directory: name the file in it",
		"empty":   "the log DIR/empty is empty: does the mail server write to it?",
		"nginx":   `the log DIR/nginx has no line of Postfix, Dovecot, Exim, OpenDKIM or another known mail server among 1: its format is unknown, or it is another log: "127.0.0.1 - - [21/Nov`,
		"syslog":  "the log DIR/syslog has no line of Postfix, Dovecot, Exim, OpenDKIM or another known mail server among 1, only lines of other programs: set the log that the mail server writes",
		"damaged": "the state of the log DIR/damaged is damaged (span 0): remove DIR/maillog-",
	} {
		_, err := Log{File: filepath.Join(dir, name), State: dir}.CatchUp(t.Context())
		if err == nil || !strings.HasPrefix(strings.ReplaceAll(err.Error(), dir, "DIR"), want) {
			t.Errorf("%s: got %v\nwant %s", name, err, want)
		}
	}
	if text := unreadable("/var/log/mail.log", fs.ErrPermission).Error(); !strings.Contains(text, "add stepwatch's user to the group that may read it, mostly adm") {
		t.Error(text)
	}
}

func TestWhatIsQuotedHidesPasswords(t *testing.T) {
	for line, want := range map[string]string{
		`smtp wrong-command command="AUTH PLAIN AGFsaWNlAGFsaWNlcHc=" result="x"`: `smtp wrong-command command="AUTH PLAIN [hidden]" result="x"`,
		"login user=bob password=secret, rip=192.0.2.1":                           "login user=bob password=[hidden], rip=192.0.2.1",
		"SASL PLAIN authentication refused":                                       "SASL PLAIN authentication refused",
		"\xff":                                                                    "?",
	} {
		if got := quoted(line); got != want {
			t.Errorf("%q is quoted as %q, want %q", line, got, want)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("Nov 21 13:00:00 m postfix/smtpd[1]: connect from x[1.2.3.4]\nrest"))
	f.Add([]byte("\x1f\x8b\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "log")
		for _, name := range []string{path, path + ".1.gz"} {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		lines := 0
		_, _ = (&files{}).next(t.Context(), path, time.Time{}, func([]byte) { lines++ })
		if lines > 2*(1+strings.Count(string(content), "\n")) {
			t.Errorf("%d lines", lines)
		}
	})
}

// A stored state that is larger than stateLimit is not read into memory.
func TestStateLimit(t *testing.T) {
	state := t.TempDir()
	l := Log{File: filepath.Join(t.TempDir(), "log"), State: state}
	path := filepath.Join(state, l.stateFile())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(stateLimit.Most+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	dir, err := statedir.Open(state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, err = l.load(dir, l.stateFile())
	if exceeded := (*limit.Error)(nil); !errors.As(err, &exceeded) || exceeded.Limit != stateLimit || !strings.Contains(err.Error(), "remove "+path) {
		t.Error(err)
	}
}
