package maillog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// labelled is a line of the corpus with the Kind that it has.
type labelled struct {
	file, line string
	kind       Kind
}

// message returns the line without stamp and host, if it has them.
func (l labelled) message() (tagged string, ok bool) {
	if strings.Contains(l.file, "-file-") || strings.HasPrefix(l.file, "exim-4") {
		return "", false // of a server's own file
	}
	return l.line[len("Nov 30 08:29:32 mail "):], true
}

// corpus returns the lines that real servers wrote; testdata/corpus/README.md says how.
func corpus(t testing.TB) (all []labelled) {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.log")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			kind, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if !ok {
				t.Fatalf("%s: no Kind before %q", path, line)
			}
			all = append(all, labelled{filepath.Base(path), text, Kind(kind)})
		}
	}
	return all
}

// corpusTime is after all of its lines.
var corpusTime = utc("2026-12-01 00:00:00")

// TestCorpus reads what real servers wrote: each line is what its label says, and none is unknown.
func TestCorpus(t *testing.T) {
	parsers := make(map[string]*Parser)
	for _, l := range corpus(t) {
		if parsers[l.file] == nil {
			parsers[l.file] = NewParser(corpusTime, time.UTC)
		}
		e, class := parsers[l.file].Parse(l.line)
		if class != ClassMail || e.Kind != l.kind {
			t.Errorf("%s: class %d, %s may be %d, wanted %s: %s", l.file, class, e.Kind, e.May, l.kind, l.line)
		}
		if e.Daemon == "" || !strings.HasPrefix(l.file, product(e.Daemon)) {
			t.Errorf("%s: by %q: %s", l.file, e.Daemon, l.line)
		}
	}
}

// TestEveryFormat writes each line as other syslog daemons do, and folded.
func TestEveryFormat(t *testing.T) {
	summarised := func(line string) string {
		e, class := NewParser(corpusTime, time.UTC).Parse(line)
		return fmt.Sprintf("%s %s %s %d %s", summary(e, class), e.Service, e.Reply, e.May, e.Time.Format(time.DateTime))
	}
	for _, l := range corpus(t) {
		tagged, ok := l.message()
		if !ok {
			continue
		}
		stamp, err := time.Parse(time.Stamp, l.line[:len(time.Stamp)])
		if err != nil {
			t.Fatal(err)
		}
		stamp = stamp.AddDate(2026, 0, 0)
		tag, message, _ := strings.Cut(tagged, ": ")
		program, pid, _ := strings.Cut(strings.TrimSuffix(tag, "]"), "[")
		if pid == "" {
			pid = "-"
		}
		want := summarised(l.line)
		for format, line := range map[string]string{
			"RFC 3164 with a priority": "<22>" + l.line,
			"RFC 3339":                 stamp.Format("2006-01-02T15:04:05.000000+00:00") + " mail " + tagged,
			"RFC 5424":                 "<22>1 " + stamp.Format("2006-01-02T15:04:05.000Z") + " mail " + program + " " + pid + ` - [meta x="a\]b" y="1"][m@1 z="2"] ` + message,
			"RFC 5424 without data":    "<22>1 " + stamp.Format("2006-01-02T15:04:05.000Z") + " mail " + program + " " + pid + " - - \ufeff" + message,
		} {
			if got := summarised(line); got != want {
				t.Errorf("%s:\n got %s\nwant %s\n%s", format, got, want, line)
			}
		}
		once, _ := NewParser(corpusTime, time.UTC).Parse(l.line)
		p := NewParser(corpusTime, time.UTC)
		p.Parse(l.line)
		for format, line := range map[string]string{
			"rsyslog": l.line[:len("Nov 30 08:29:32 mail ")] + tag + ": message repeated 7 times: [ " + message + "]",
			"syslogd": l.line[:len("Nov 30 08:29:32 mail ")] + "last message repeated 7 times",
		} {
			if many, _ := p.Parse(line); many.Kind != once.Kind || many.Count != 7*once.Count || many.Client != once.Client || many.User != once.User || many.Recipient != once.Recipient {
				t.Errorf("folded by %s: %+v\nwanted 7 of %+v\n%s", format, many, once, line)
			}
		}
	}
}
