package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences about files of Aruba, of cuken and of cucumber-nagios 0.8. A relative path starts at the directory that the
// scenario's commands run in. A scenario writes only below its own directory, which is removed after it.

func init() {
	steps.RegisterArea(steps.Area{Name: "cucumber-nagios", Title: "cucumber-nagios", Place: 1000})
	steps.RegisterKind(steps.Kind{Name: "path", Means: "the path of a file or directory on this machine",
		Pattern: `[^"]*`, Quote: `"`, Sample: "text"})
	const area = "cucumber-nagios"
	const own = " It is in the scenario's own directory, which is removed after the scenario."
	writing := func(sentence string, also []string, act, does, example string, do func(b *bench, name string, a steps.Args) error) {
		steps.Register(steps.Definition{Area: area, Sentence: sentence, Also: also, Does: does + own, Example: example, Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
			b, err := benchOf(w)
			if err != nil {
				return err
			}
			name, err := b.own(a.Text(0))
			if err != nil {
				return err
			}
			if err := do(b, name, a); err != nil {
				return steps.FailScenario("%s %q: %w", act, a.Text(0), err)
			}
			return nil
		}})
	}
	writing("a directory named {path}", []string{"the directory {path}"}, "make the directory", "Creates a directory and its parents.", `Given a directory named "site/css"`,
		func(b *bench, name string, _ steps.Args) error { return b.root.MkdirAll(name, 0o700) })
	writing("a file named {path} with:", []string{"I write to {path} with:", "I write to {path}:", "the file {path} contains:"}, "write", "Writes the doc string below to a file.",
		"Given a file named \"site.conf\" with:\n  \"\"\"\n  listen 80\n  \"\"\"", writeFile(os.O_CREATE|os.O_TRUNC))
	writing("an empty file named {path}", []string{"we have an empty file named {single}", "the file {path} contains nothing"}, "write", "Writes an empty file.", `Given an empty file named "site.conf"`, writeNothing)
	writing("I overwrite {path} with:", []string{"I overwrite {path}:"}, "overwrite", "Overwrites a file with the doc string below. Fails when the file does not exist.",
		"When I overwrite \"site.conf\" with:\n  \"\"\"\n  listen 443\n  \"\"\"", writeFile(os.O_TRUNC))
	writing("I append to {path} with:", []string{"I append to {path}:"}, "append to", "Appends the doc string below to a file. Creates the file if it does not exist.",
		"When I append to \"site.conf\" with:\n  \"\"\"\n  gzip on\n  \"\"\"", writeFile(os.O_CREATE|os.O_APPEND))
	writing("I remove the file {path}", nil, "remove", "Removes a file. Fails when it does not exist.", `When I remove the file "site.conf"`,
		func(b *bench, name string, _ steps.Args) error { return b.root.Remove(name) })

	judging := func(sentence string, also []string, does, example string, do func(w *steps.World, b *bench, a steps.Args) error) {
		steps.Register(steps.Definition{Area: area, Sentence: sentence, Also: also, Does: does, Example: example, Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
			b, err := benchOf(w)
			if err != nil {
				return err
			}
			if err := b.settle(ctx, w); err != nil {
				return err
			}
			return do(w, b, a)
		}})
	}
	for _, k := range []struct{ kind, plural string }{{"file", "files"}, {"directory", "directories"}} {
		kind := k.kind
		missing := []string{"a " + kind + " named {path} should not exist", "a " + kind + " named {single} should not exist"}
		if kind == "file" {
			missing = append(missing, "the file {path} should not exist")
		}
		judging("the "+kind+" {path} exists", []string{"a " + kind + " named {path} should exist", "a " + kind + " named {single} should exist"},
			"Fails unless this "+kind+" exists on the machine that stepwatch runs on.", `Then the `+kind+` "/var/run/app" exists`,
			func(_ *steps.World, b *bench, a steps.Args) error { return b.exists(kind, a.Text(0), true) })
		judging("the "+kind+" {path} does not exist", missing,
			"Fails when this "+kind+" exists on the machine that stepwatch runs on.", `Then the `+kind+` "/var/run/app" does not exist`,
			func(_ *steps.World, b *bench, a steps.Args) error { return b.exists(kind, a.Text(0), false) })
		for _, should := range []bool{true, false} {
			not, verb := "", "exist"
			if !should {
				not, verb = "not ", "do not exist"
			}
			judging("these "+k.plural+" "+verb+":", []string{"the following " + k.plural + " should " + not + "exist:"},
				"Does what `the "+kind+" … "+map[bool]string{true: "exists", false: "does not exist"}[should]+"` does, for the first cell of each row of the table below.",
				"Then these "+k.plural+" "+verb+":\n  | /var/run/app |", func(_ *steps.World, b *bench, a steps.Args) error {
					if len(a.Table) == 0 {
						return steps.FailScenario("the step needs a table below it, with one %s in each row", kind)
					}
					for _, row := range a.Table {
						if err := b.exists(kind, row[0], should); err != nil {
							return err
						}
					}
					return nil
				})
		}
		judging("the "+kind+" {path} is owned by {text}", []string{"the " + kind + " named {single} should be owned by {single}"},
			"Fails unless this user owns the "+kind+".", `Then the `+kind+` "/var/spool/app" is owned by "app"`, func(_ *steps.World, b *bench, a steps.Args) error { return b.ownedBy(kind, a) })
		judging("the "+kind+" {path} has octal mode \"{int}\"", []string{"the " + kind + " named {single} should have mode {single}"},
			"Fails unless the "+kind+" has these permissions, in octal.", `Then the `+kind+` "/var/spool/app" has octal mode "750"`, func(_ *steps.World, b *bench, a steps.Args) error { return b.hasMode(kind, a, 8) })
		judging("the "+kind+" {path} has decimal mode \"{int}\"", nil,
			"Fails unless the "+kind+" has these permissions, as a decimal number.", `Then the `+kind+` "/var/spool/app" has decimal mode "488"`, func(_ *steps.World, b *bench, a steps.Args) error { return b.hasMode(kind, a, 10) })
	}
	judging("the file {path} contains {text}", []string{"the file {path} should contain {text}"}, "Fails unless the file contains the text.",
		`Then the file "/var/log/backup.log" contains "finished"`, fileShould(true, containing))
	judging("the file {path} does not contain {text}", []string{"the file {path} should not contain {text}"}, "Fails when the file contains the text or does not exist.",
		`Then the file "/var/log/backup.log" does not contain "ERROR"`, fileShould(false, containing))
	judging("the file {path} contains {regexp}", []string{"the file {path} should match {regexp}", "a file named {single} should contain {single}"},
		"Fails unless the regular expression matches part of the file.", `Then the file "/var/log/backup.log" contains /finished|nothing to do/`, fileShould(true, matchesPattern))
	judging("the file {path} does not contain {regexp}", []string{"the file {path} should not match {regexp}"},
		"Fails when the regular expression matches part of the file, or the file does not exist.", `Then the file "/var/log/backup.log" does not contain /ERROR|FATAL/`, fileShould(false, matchesPattern))
	judging("the file {path} contains exactly:", []string{"the file {path} should contain exactly:"}, "Fails unless the doc string below equals the file, to the last line break.",
		"Then the file \"/etc/app/version\" contains exactly:\n  \"\"\"\n  1.2\n\n  \"\"\"", fileShould(true, equals))
	judging("the file {path} does not contain exactly:", nil, "Fails when the doc string below equals the file, or the file does not exist.",
		"Then the file \"/etc/app/version\" does not contain exactly:\n  \"\"\"\n  1.1\n\n  \"\"\"", fileShould(false, equals))
	judging(`the file {path} contains {text} exactly "{int}" times`, nil, "Fails unless the file contains the text exactly that many times.",
		`Then the file "/etc/hosts" contains "localhost" exactly "1" times`, fileHasTimes(true, strings.Count))
	judging(`the file {path} does not contain {text} exactly "{int}" times`, nil, "Fails when the file contains the text exactly that many times or does not exist.",
		`Then the file "/etc/hosts" does not contain "localhost" exactly "0" times`, fileHasTimes(false, strings.Count))
	steps.Register(steps.Definition{Area: area, Sentence: `a file named {single} should contain {single} only {single} times`,
		Pattern: `^a file named {single} should contain {single} only {single} times?$`,
		Does:    "Fails unless the regular expression matches that many lines of the file.",
		Example: `Then a file named '/etc/hosts' should contain 'localhost$' only '1' time`, Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
			b, err := benchOf(w)
			if err != nil {
				return err
			}
			if err := b.settle(ctx, w); err != nil {
				return err
			}
			re, err := steps.CompileRuby(a.Text(1))
			if err != nil {
				return err
			}
			return fileHasTimes(true, func(text, _ string) int { return matchingLines(text, re) })(w, b, a)
		}})
	judging("{single} should exist and raise error when copying", nil, "Fails unless the file exists and stepwatch may not read it.",
		`Then '/etc/shadow' should exist and raise error when copying`, unreadable)
	judging("we record the a-mtime of {path}", []string{"we have the atime/mtime of {single}"}, "Records when a file was last read and changed, for `the mtime of … changes`.",
		`Given we record the a-mtime of "/var/log/syslog"`, recordTimes)
	steps.Register(steps.Definition{Area: area, Sentence: `the {word}time of {path} changes`, Pattern: `^the (.)time of "([^"]*)" changes$`, Also: []string{`/^the (.)time of {single} should be different$/`},
		Does:    "Fails unless a file was changed (mtime) or read (atime) since its times were recorded. A file system mounted with noatime or relatime does not record each read.",
		Example: `Then the mtime of "/var/log/syslog" changes`, Func: timeChanges})
}

func writeFile(flags int) func(*bench, string, steps.Args) error {
	return func(b *bench, name string, a steps.Args) error {
		if a.DocString == nil {
			return errors.New("the step needs a doc string below it, with the text to write")
		}
		return b.write(name, flags, a.DocString.Content)
	}
}

func writeNothing(b *bench, name string, _ steps.Args) error {
	return b.write(name, os.O_CREATE|os.O_TRUNC, "")
}

func (b *bench) write(name string, flags int, content string) error {
	if flags&os.O_CREATE != 0 {
		if err := b.root.MkdirAll(path.Dir(filepath.ToSlash(name)), 0o700); err != nil {
			return err
		}
	}
	if info, err := b.root.Stat(name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	f, err := b.root.OpenFile(name, os.O_WRONLY|flags, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	return errors.Join(err, f.Close())
}

// status returns the information about a file or directory. A file that stepwatch may not stat is never reported as
// missing.
func (b *bench) status(kind, name string) (fs.FileInfo, error) {
	info, err := os.Stat(b.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the %s %q: it does not exist", kind, b.path(name))
	case err != nil:
		return nil, steps.Fail(result.ReasonConfig, result.BlameMonitor, "look at the %s %q: %w", kind, b.path(name), err)
	case info.IsDir() != (kind == "directory"):
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %q to be a %s: it is not", b.path(name), kind)
	}
	return info, nil
}

func (b *bench) exists(kind, name string, should bool) error {
	_, err := b.status(kind, name)
	failure := (*steps.Failure)(nil)
	switch {
	case err == nil && !should:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect no %s %q: it exists", kind, b.path(name))
	case err != nil && !should && errors.As(err, &failure) && failure.Reason == result.ReasonUnexpected:
		return nil
	}
	return err
}

func (b *bench) ownedBy(kind string, a steps.Args) error {
	info, err := b.status(kind, a.Text(0))
	if err != nil {
		return err
	}
	wanted, err := user.Lookup(a.Text(1))
	if err != nil {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "expect %q to be owned by %q: %w", b.path(a.Text(0)), a.Text(1), err)
	}
	uid, known := ownerOf(info)
	switch {
	case !known:
		return steps.Fail(result.ReasonConfig, result.BlameMonitor, "this system does not report who owns %q", b.path(a.Text(0)))
	case uid == wanted.Uid:
		return nil
	}
	got := "uid " + uid
	if owner, err := user.LookupId(uid); err == nil {
		got = owner.Username
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the %s %q to be owned by %s, got %s", kind, b.path(a.Text(0)), a.Text(1), got)
}

func (b *bench) hasMode(kind string, a steps.Args, base int) error {
	info, err := b.status(kind, a.Text(0))
	if err != nil {
		return err
	}
	wanted, err := strconv.ParseUint(a.Text(1), base, 16)
	if err != nil || wanted > 0o7777 {
		return steps.FailScenario("%q is not a mode of a file: use 0 to 7777 in octal", a.Text(1))
	}
	got := uint64(info.Mode().Perm())
	for bit, set := range map[fs.FileMode]uint64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if info.Mode()&bit != 0 {
			got |= set
		}
	}
	if got == wanted {
		return nil
	}
	shown := func(mode uint64) string {
		if base == 8 {
			return fmt.Sprintf("%04o", mode)
		}
		return fmt.Sprintf("%d (octal %04o)", mode, mode)
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the %s %q to have the mode %s, got %s", kind, b.path(a.Text(0)), shown(wanted), shown(got))
}

// fileLimit is the size of the largest file that a step reads, in bytes.
const fileLimit = 16 << 20

// readable fails unless a file is a regular one. Opening any other, such as a pipe, may block forever.
func (b *bench) readable(name string) error {
	info, err := b.status("file", name)
	if err == nil && !info.Mode().IsRegular() {
		err = steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %q to be a regular file: it is not (%s)", b.path(name), info.Mode().Type())
	}
	return err
}

// content reads a file that a step checks.
func (b *bench) content(w *steps.World, name string) (printed, error) {
	if err := b.readable(name); err != nil {
		return printed{}, err
	}
	f, err := os.Open(b.path(name))
	if err != nil {
		return printed{}, steps.Fail(result.ReasonConfig, result.BlameMonitor, "read the file %q: %w", b.path(name), err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err != nil {
		return printed{}, steps.Fail(result.ReasonConfig, result.BlameMonitor, "read the file %q: %w", b.path(name), err)
	}
	if len(text) > fileLimit {
		return printed{}, steps.Fail(result.ReasonTooLarge, result.BlameScenario, "the file %q is larger than %d MiB, the most that a step reads: check it with a command", b.path(name), fileLimit>>20)
	}
	return printed{of: fmt.Sprintf("the file %q", b.path(name)), text: w.Redacted(string(text))}, nil
}

func fileShould(should bool, c comparison) func(*steps.World, *bench, steps.Args) error {
	return func(w *steps.World, b *bench, a steps.Args) error {
		wanted, err := expected(a, 1)
		if err != nil {
			return err
		}
		p, err := b.content(w, a.Text(0))
		if err != nil {
			return err
		}
		return c.judge(w, b, p, wanted, should)
	}
}

func fileHasTimes(should bool, count func(text, part string) int) func(*steps.World, *bench, steps.Args) error {
	return func(w *steps.World, b *bench, a steps.Args) error {
		wanted, err := a.Int(2)
		if err != nil {
			return err
		}
		p, err := b.content(w, a.Text(0))
		if err != nil {
			return err
		}
		got := count(p.text, a.Text(1))
		switch {
		case a.Text(1) == "":
			return steps.FailScenario("the text is empty, and every file contains it: give a text")
		case got != wanted && should:
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %s to contain %s %d times, got %d", p.of, wording.Quote(a.Text(1)), wanted, got)
		case got == wanted && !should:
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %s not to contain %s %d times, but it does", p.of, wording.Quote(a.Text(1)), wanted)
		}
		return nil
	}
}

func unreadable(_ *steps.World, b *bench, a steps.Args) error {
	if err := b.readable(a.Text(0)); err != nil {
		return err
	}
	f, err := os.Open(b.path(a.Text(0)))
	if err != nil {
		return nil //nolint:nilerr // the step wants it to be unreadable
	}
	return errors.Join(steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the file %q to be unreadable: stepwatch can read it", b.path(a.Text(0))), f.Close())
}

// fileTimes holds the times of the file that the scenario recorded last.
type fileTimes struct {
	file          string
	changed, read time.Time
	readIsUnknown bool
}

func recordTimes(w *steps.World, b *bench, a steps.Args) error {
	info, err := os.Stat(b.path(a.Text(0)))
	if err != nil {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "look at %q: %w", b.path(a.Text(0)), err)
	}
	read, known := readTime(info)
	*steps.State[fileTimes](w) = fileTimes{b.path(a.Text(0)), info.ModTime(), read, !known}
	return nil
}

func timeChanges(ctx context.Context, w *steps.World, a steps.Args) error {
	b, err := benchOf(w)
	if err != nil {
		return err
	}
	if err := b.settle(ctx, w); err != nil {
		return err
	}
	before := *steps.State[fileTimes](w)
	name := b.path(a.Text(1))
	if before.file != name {
		return steps.FailScenario("the times of %q were not recorded: write `we record the a-mtime of %q` before this step", name, a.Text(1))
	}
	after := &steps.World{}
	if err := recordTimes(after, b, steps.Args{Captured: []string{a.Text(1)}}); err != nil {
		return err
	}
	now := steps.State[fileTimes](after)
	switch a.Text(0) {
	case "m":
		if now.changed.Equal(before.changed) {
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the mtime of %q to change, but it is still %s", name, now.changed.Format(time.RFC3339Nano))
		}
	case "a":
		if before.readIsUnknown {
			return steps.Fail(result.ReasonConfig, result.BlameMonitor, "this system does not report when %q was last read", name)
		}
		if now.read.Equal(before.read) {
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the atime of %q to change, but it is still %s", name, now.read.Format(time.RFC3339Nano))
		}
	default:
		return steps.FailScenario("a file has an mtime and an atime, but no %stime", a.Text(0))
	}
	return nil
}
