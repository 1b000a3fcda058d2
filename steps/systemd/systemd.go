// Package systemd asks systemd about units, with systemctl.
package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/program"
)

// Reasons why systemd could not be asked.
var (
	ErrAbsent = errors.New("this machine does not run systemd")
	ErrName   = errors.New("it is not a name of a unit")
	ErrFormat = errors.New("unknown format of systemctl's answer")
)

// Unit is the state of a unit, in systemd's terms (systemd(1)).
type Unit struct {
	Name   string // with its suffix, "nginx.service"
	Load   string // "loaded", "not-found", "masked", …
	Active string // "active", "inactive", "failed", "activating", …
	Sub    string // "running", "exited", "auto-restart", …
	Result string // "success", "exit-code", "timeout", "oom-kill", …
	Since  time.Time

	// Only for timers:
	Starts      string    // the unit that it starts
	LastTrigger time.Time // zero when it never started it
}

// Exists reports whether the unit exists.
func (u *Unit) Exists() bool { return u.Load != "not-found" }

// Show returns the state of a unit. A unit that does not exist is not an error.
func Show(ctx context.Context, name string) (*Unit, error) {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "*?[ \t\n") {
		return nil, ErrName
	}
	output, err := systemctl(ctx, "show", "--property=Id,LoadState,ActiveState,SubState,Result,StateChangeTimestamp,Unit,LastTriggerUSec", "--", name)
	if err != nil {
		return nil, err
	}
	return parse(output)
}

// Failed returns the names of the units that have failed.
func Failed(ctx context.Context) ([]string, error) {
	output, err := systemctl(ctx, "list-units", "--state=failed", "--all", "--full", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			names = append(names, fields[0])
		}
	}
	return names, nil
}

// systemctl runs systemctl with times in UTC and without translations.
func systemctl(ctx context.Context, args ...string) ([]byte, error) {
	out, err := program.Run(ctx, program.Command{Path: "systemctl", Args: args, Env: []string{"TZ=UTC", "LC_ALL=C"}})
	switch {
	case err != nil && out == nil && ctx.Err() == nil:
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	case err != nil:
		return nil, err
	case bytes.Contains(out.Stderr, []byte("not been booted with systemd")):
		return nil, ErrAbsent
	case out.ExitCode != 0 || out.StdoutCut:
		said, _, _ := bytes.Cut(bytes.TrimSpace(out.Stderr), []byte("\n"))
		return nil, fmt.Errorf("systemctl %s failed: %.200s", args[0], said)
	}
	return out.Stdout, nil
}

// parse reads the output of "systemctl show": lines of NAME=VALUE.
func parse(output []byte) (*Unit, error) {
	values := make(map[string]string)
	for line := range strings.Lines(string(output)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[name] = value
	}
	u := &Unit{Name: values["Id"], Load: values["LoadState"], Active: values["ActiveState"], Sub: values["SubState"], Result: values["Result"], Starts: values["Unit"]}
	if u.Name == "" || u.Load == "" || u.Active == "" {
		return nil, fmt.Errorf("%w: it contains no state", ErrFormat)
	}
	for name, at := range map[string]*time.Time{"StateChangeTimestamp": &u.Since, "LastTriggerUSec": &u.LastTrigger} {
		text := values[name]
		if text == "" || text == "n/a" || text == "0" {
			continue
		}
		t, err := time.Parse("Mon 2006-01-02 15:04:05 MST", text)
		if err != nil || !strings.HasSuffix(text, " UTC") {
			return nil, fmt.Errorf("%w: %s is %.60q", ErrFormat, name, text)
		}
		*at = t
	}
	return u, nil
}
