package main

import (
	"bytes"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms are the packages under steps that know the World of a run: the core, what several subjects share of a run, and the
// subjects. Each may import the rooms that are listed for it here, and no other room; the reason is next to them. Every other
// package under steps knows no World: it may import pure packages only.
var rooms = map[string]struct {
	below []string
	why   string
}{
	"steps": {nil, "the core knows what a sentence is and what a run has, and no subject"},

	"steps/httpwire": {[]string{"steps"}, "an HTTP exchange reports its phases to the run"},
	"steps/lookup":   {[]string{"steps"}, "a question to DNS goes where the target's resolver is"},
	"steps/mailhost": {[]string{"steps", "steps/httpwire"}, "where a host keeps its log and queue is told by its settings; an API may answer for the queue"},

	"steps/web":          {[]string{"steps", "steps/httpwire", "steps/mail"}, "a link from a mail is opened as a page"},
	"steps/mail":         {[]string{"steps", "steps/lookup", "steps/mailhost"}, "a message that is missing is looked for in the log and queue of the server that took it"},
	"steps/mail/verdict": {[]string{"steps", "steps/lookup", "steps/mail"}, "a verdict is about the message that was received"},
	"steps/mailserver":   {[]string{"steps", "steps/mail", "steps/mailhost"}, "a log is asked what became of the message that was sent last"},
	"steps/dns":          {[]string{"steps", "steps/httpwire", "steps/lookup", "steps/mail"}, "DANE and reputation greet mail servers, MTA-STS policies are on websites"},
	"steps/network":      {[]string{"steps"}, "ports, TLS and ping know no protocol above them"},
	"steps/host":         {[]string{"steps"}, "files and the machine need nobody else"},
	"steps/command":      {[]string{"steps"}, "programs and SSH need nobody else"},
	"steps/job":          {[]string{"steps"}, "the reports of jobs are in files of the state directory"},
	"steps/service":      {[]string{"steps", "steps/httpwire"}, "APIs and exporters answer over HTTP"},
}

// gathering are the packages under steps that may import every room: they bring rooms together.
var gathering = []string{"steps/builtin", "steps/stepstest", "steps/stepstest/fixture", "steps/stepstest/nameserver", "steps/stepstest/stack", "steps/stepstest/stack/stackctl"}

func TestRooms(t *testing.T) {
	used := make(map[string]bool)
	goFiles(t, func(path string, file *ast.File) {
		folder := filepath.ToSlash(filepath.Dir(path))
		if folder != "steps" && !strings.HasPrefix(folder, "steps/") || slices.Contains(gathering, folder) {
			return
		}
		room, isRoom := rooms[folder]
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			other, ours := strings.CutPrefix(imported, module)
			if _, known := rooms[other]; !ours || !known {
				continue
			}
			switch {
			case !isRoom:
				t.Errorf("%s imports %s: %s knows no World, so it may not import a room; a new room belongs into rooms in this file", path, other, folder)
			case !slices.Contains(room.below, other):
				t.Errorf("%s imports %s, which is not below it: %s", path, other, room.why)
			}
			used[folder+" "+other] = true
		}
	})
	for _, folder := range slices.Sorted(maps.Keys(rooms)) {
		for _, below := range rooms[folder].below {
			if !used[folder+" "+below] {
				t.Errorf("%s does not import %s: take that out of the rooms", folder, below)
			}
		}
	}
}

// TestBuiltinHasEveryRoom fails when a room of sentences is not linked into the program.
func TestBuiltinHasEveryRoom(t *testing.T) {
	linked, registering := make(map[string]bool), make(map[string]bool)
	goFiles(t, func(path string, file *ast.File) {
		folder := filepath.ToSlash(filepath.Dir(path))
		if folder == "steps/builtin" {
			for _, spec := range file.Imports {
				imported, _ := strconv.Unquote(spec.Path.Value)
				linked[strings.TrimPrefix(imported, module)] = true
			}
		}
		if _, isRoom := rooms[folder]; isRoom && folder != "steps" {
			registering[folder] = true
		}
	})
	for folder := range registering {
		if folder == "steps/httpwire" || folder == "steps/lookup" || folder == "steps/mailhost" {
			continue // linked by the rooms above them
		}
		if !linked[folder] {
			t.Errorf("steps/builtin does not import %s: its sentences are in no program", folder)
		}
	}
}

// The bounds of the rooms: whoever opens the core must be able to read it, and no room may become what the flat package was.
const (
	coreFiles = 20
	coreLines = 4000
	roomLines = 11000
)

func TestRoomsStaySmall(t *testing.T) {
	files, lines := make(map[string]int), make(map[string]int)
	countLines(t, func(path string, count int) {
		folder := filepath.ToSlash(filepath.Dir(path))
		if folder == "steps" || strings.HasPrefix(folder, "steps/") {
			files[folder]++
			lines[folder] += count
		}
	})
	if files["steps"] > coreFiles || lines["steps"] > coreLines {
		t.Errorf("steps has %d files and %d lines, wanted at most %d and %d: a subject belongs to a room", files["steps"], lines["steps"], coreFiles, coreLines)
	}
	for folder, count := range lines {
		if count > roomLines {
			t.Errorf("%s has %d lines, wanted at most %d: move down what is pure", folder, count, roomLines)
		}
	}
}

// countLines visits every Go file of the module that is not a test, with its number of lines.
func countLines(t *testing.T, visit func(path string, lines int)) {
	t.Helper()
	goFiles(t, func(path string, _ *ast.File) {
		content, err := os.ReadFile(filepath.Join("../..", path))
		if err != nil {
			t.Fatal(err)
		}
		visit(path, bytes.Count(content, []byte{'\n'}))
	})
}
