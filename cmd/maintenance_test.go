package cmd

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/silence"
)

// TestOpenSilences holds that an agent keeps silences where it may write, and says so where it may not.
func TestOpenSilences(t *testing.T) {
	dir := t.TempDir()
	open := func(mine bool) (*silence.Book, string) {
		t.Helper()
		c, err := config.Parse(filepath.Join(dir, "stepwatch.yml"), []byte("state: state\nmaintenance:\n  - {name: w, scenarios: {owner: mail}, when: [{from: 2000-01-01, until: 2001-01-01}]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		book, err := openSilences(t.Context(), &set{config: c}, mine, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return book, log.String()
	}
	request := silence.Request{Author: "alice", Reason: "x", Duration: 3600, Matchers: silence.Matchers{All: true}}
	book, said := open(true)
	added, err := book.Add(t.Context(), request, nil)
	if err != nil || said != "" {
		t.Fatal(err, said)
	}
	if why, _, quiet := book.Quiet(result.Identity{Owner: "mail"}, nil, time.Date(2000, 6, 1, 0, 0, 0, 0, time.UTC)); !quiet || why != "maintenance window w" {
		t.Errorf("got %q", why)
	}
	if err := book.Close(); err != nil {
		t.Error(err)
	}
	book, _ = open(true)
	if _, err := book.Get(added.ID); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	_ = book.Close()
	const lost = "silences are in memory only: they end when the agent restarts"
	if book, said := open(false); !strings.Contains(said, lost) || len(book.List()) > 0 {
		t.Errorf("the directory of another agent: %s", said)
	}
	if err := os.WriteFile(filepath.Join(dir, "state", silence.File), []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	book, said = open(true)
	defer book.Close()
	if aside, _ := filepath.Glob(filepath.Join(dir, "state", silence.File+".damaged-*")); len(aside) != 1 || !strings.Contains(said, "set aside") {
		t.Errorf("a damaged file: %q, %s", aside, said)
	}
}
