// Package host holds the sentences about the machine that stepwatch runs on: files, backups, load, disks and units.
package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/archive"
	"github.com/stepwatch/stepwatch/steps/dump"
	"github.com/stepwatch/stepwatch/steps/fileset"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences about files of the machine that stepwatch itself runs on. One step looks, the next ones judge.

func init() {
	steps.RegisterArea(steps.Area{Name: "file", Title: "Files", Place: 100})
	const looks = " A directory counts as a file: its size is that of all files in it, its age that of the newest. A file that stepwatch may not read is UNKNOWN, never missing. " +
		"The sentences about the file follow."
	const measures = "Measurements file_age_seconds, file_size_bytes and files_found (number of files that match)."
	steps.Register(
		steps.Definition{
			Area: "file", Sentence: `I look at the file {text}`,
			Does:     "Looks at a file of the machine that stepwatch runs on. Fails when it does not exist." + looks,
			Measures: measures,
			Example:  `When I look at the file "/var/lib/app/last-run"`,
			Func:     lookAtFile,
		},
		steps.Definition{
			Area: "file", Sentence: `I look at the newest file of {text}`,
			Does: "Looks at the newest of the files that match the pattern: * is any text, ? any one character, [a-z] one of these; none of them matches a /. " +
				"Fails when there is none." + looks,
			Measures: measures,
			Example:  `When I look at the newest file of "/var/backups/mail-*.tar.zst"`,
			Func:     lookAtFile,
		},
		steps.Definition{
			Area: "file", Sentence: `there is no file {text}`,
			Does:     "Fails when a file has this name or matches this pattern, and names it.",
			Measures: "Measurement files_found.",
			Example:  `Then there is no file "/var/spool/app/*.failed"`,
			Func:     noFile,
		},
		steps.Definition{
			Area: "file", Sentence: `the file is younger than {duration}`,
			Does:    "Fails when it was last changed that long ago or longer. A time in the future fails too: a clock is wrong.",
			Example: `Then the file is younger than 26 hours`,
			Func:    judgeFile(fileIsYounger),
		},
		steps.Definition{
			Area: "file", Sentence: `the file is older than {duration}`,
			Does:    "Fails when it was last changed less than that long ago.",
			Example: `Then the file is older than 5 minutes`,
			Func:    judgeFile(fileIsOlder),
		},
		steps.Definition{
			Area: "file", Sentence: `the file has at least {size}`,
			Does:    "Fails when it is smaller. Units are powers of 1024.",
			Example: `Then the file has at least 10 MB`,
			Func:    judgeFile(fileHasAtLeast),
		},
		steps.Definition{
			Area: "file", Sentence: `the file has between {size} and {size}`,
			Does:    "Fails when it is smaller than the first or larger than the second. Units are powers of 1024.",
			Example: `Then the file has between 10 MB and 20 GB`,
			Func:    judgeFile(fileHasBetween),
		},
		steps.Definition{
			Area: "file", Sentence: `the file has at least {number}% of the size of the one before`,
			Does: "Compares the file with the next newest that matches the same pattern: a backup that is suddenly half as large has lost something. " +
				"Without a previous file the result is UNKNOWN, not passed.",
			Measures: "Measurement file_size_change_ratio: its size divided by that of the previous file.",
			Example:  `Then the file has at least 50% of the size of the one before`,
			Func:     judgeFile(fileIsPlausible),
		},
		steps.Definition{
			Area: "file", Sentence: `at least {int} files are kept`,
			Does:    "Fails when fewer files match the pattern.",
			Example: `Then at least 7 files are kept`,
			Func:    judgeFile(filesAreKept),
		},
		steps.Definition{
			Area: "file", Sentence: `no file is older than {duration}`,
			Does:    "Fails when a file that matches the pattern was last changed that long ago or longer: old files are not removed.",
			Example: `Then no file is older than 35 days`,
			Func:    judgeFile(noFileIsOlder),
		},
		steps.Definition{
			Area: "file", Sentence: `the file contains {text}`,
			Does:    "Fails unless the file contains the text. A compressed file is unpacked first.",
			Example: `Then the file contains "backup finished"`,
			Func:    judgeFile(fileContains(true)),
		},
		steps.Definition{
			Area: "file", Sentence: `the file does not contain {text}`,
			Does:    "Fails when the file contains the text. A compressed file is unpacked first.",
			Example: `Then the file does not contain "ERROR"`,
			Func:    judgeFile(fileContains(false)),
		},
		steps.Definition{
			Area: "file", Sentence: `the file matches {text}`,
			Does:    "Fails unless the regular expression (RE2) matches somewhere in the file; ^ and $ match at line breaks. A compressed file is unpacked first.",
			Example: `Then the file matches "^exit code: 0$"`,
			Func:    judgeFile(fileMatches),
		},
		steps.Definition{
			Area: "file", Sentence: `the file is owned by {text}`,
			Does:    "Fails unless the file belongs to this user, or to this user and group: \"root:adm\".",
			Example: `Then the file is owned by "root:adm"`,
			Func:    judgeFile(fileIsOwned),
		},
		steps.Definition{
			Area: "file", Sentence: `the file has mode {text}`,
			Does:    "Fails unless the file has these permissions, in octal as for chmod.",
			Example: `Then the file has mode "640"`,
			Func:    judgeFile(fileHasMode),
		},
		steps.Definition{
			Area: "file", Sentence: `the file is a whole archive`,
			Does: "Reads an archive or compressed file to its end and checks its checksums: gzip, bzip2, zstd, xz, lz4, tar (compressed or not), zip. " +
				"Fails when it is truncated, damaged or not an archive. Give the scenario enough time with @timeout: a gigabyte takes some seconds.",
			Measures: "Time to read it. Measurements archive_files and archive_unpacked_bytes.",
			Example:  `Then the file is a whole archive`,
			Func:     judgeFile(fileIsArchive),
		},
		steps.Definition{
			Area: "file", Sentence: `the file is a complete PostgreSQL dump`,
			Does: "Reads a dump of pg_dump or pg_dumpall to its end: plain (compressed or not), custom, directory or tar. Fails when it has no proper end, when " +
				"data of its table of contents are missing or do not unpack, and when it is not a dump. It needs neither PostgreSQL nor pg_restore.",
			Measures: "Time to read it. Measurement dump_tables.",
			Example:  `Then the file is a complete PostgreSQL dump`,
			Func:     judgeFile(fileIsDump(dump.Postgres, "PostgreSQL")),
		},
		steps.Definition{
			Area: "file", Sentence: `the file is a complete MySQL dump`,
			Does: "Reads a dump of mysqldump or mariadb-dump, compressed or not, to its end. Fails unless it ends with \"Dump completed\". A dump made with --compact or " +
				"--skip-comments has no such end and fails.",
			Measures: "Time to read it. Measurement dump_tables.",
			Example:  `Then the file is a complete MySQL dump`,
			Func:     judgeFile(fileIsDump(dump.MySQL, "MySQL")),
		},
		steps.Definition{
			Area: "file", Sentence: `the dump has at least {int} tables`,
			Does:    "Checks the dump that was read last. Fails when it defines fewer tables, or, if it defines none, holds the rows of fewer tables.",
			Example: `Then the dump has at least 20 tables`,
			Func:    judgeFile(dumpHasTables),
		},
	)
}

// looked holds the files that the scenario looked at last.
type looked struct {
	pattern string         // as written in the feature; empty until a step looks at a file
	files   []fileset.File // the newest first
	dump    *dump.Dump     // of the newest, after it is read
}

func (l *looked) file() fileset.File { return l.files[0] }

// findFiles finds files and reports those that stepwatch may not read.
func findFiles(ctx context.Context, w *steps.World, a steps.Args) ([]fileset.File, error) {
	files, err := fileset.Find(ctx, a.Path(0))
	act := fmt.Sprintf("look for %q", a.Text(0))
	switch {
	case errors.Is(err, fileset.ErrPattern):
		return nil, steps.FailScenario("%q is not a pattern: %w", a.Text(0), err)
	case errors.Is(err, fs.ErrPermission):
		return nil, steps.FailDenied(act, err)
	case errors.Is(err, fileset.ErrDangling):
		return nil, steps.Fail(result.ReasonNotFound, result.BlameTarget, "%s: %w", act, err)
	case ctx.Err() != nil:
		return nil, steps.FailNet(ctx, ctx.Err(), result.BlameTarget, act)
	case err != nil:
		return nil, steps.Fail(result.ReasonConfig, result.BlameMonitor, "%s: %w", act, err)
	}
	w.Measure("files_found", "Number of files that match the path or pattern.", float64(len(files)))
	return files, nil
}

func lookAtFile(ctx context.Context, w *steps.World, a steps.Args) error {
	l := steps.State[looked](w)
	*l = looked{}
	files, err := findFiles(ctx, w, a)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		root := fileset.Root(a.Path(0))
		if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) && root != a.Path(0) {
			return steps.Fail(result.ReasonNotFound, result.BlameTarget, "there is no file %q: there is no directory %s", a.Text(0), root)
		}
		return steps.Fail(result.ReasonNotFound, result.BlameTarget, "there is no file %q", a.Text(0))
	}
	*l = looked{pattern: a.Text(0), files: files}
	f := l.file()
	age := time.Since(f.Modified)
	w.Measure("file_age_seconds", "Seconds since the newest matching file was last changed.", age.Seconds())
	w.Measure("file_size_bytes", "Size of the newest matching file.", float64(f.Size))
	note := fmt.Sprintf("%s, %s, %s old", f.Path, shownSize(f.Size), wording.Span(age))
	if age < 0 {
		note = fmt.Sprintf("%s, %s, changed %s from now", f.Path, shownSize(f.Size), wording.Span(-age))
	}
	if len(files) > 1 {
		note += fmt.Sprintf(", the newest of %d", len(files))
	}
	w.Note(note)
	return nil
}

func noFile(ctx context.Context, w *steps.World, a steps.Args) error {
	files, err := findFiles(ctx, w, a)
	if err != nil || len(files) == 0 {
		return err
	}
	more := ""
	if len(files) > 1 {
		more = fmt.Sprintf(", and %d more that match", len(files)-1)
	}
	f := files[0]
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "there is %s (%s, %s old)%s, wanted no file %q", f.Path, shownSize(f.Size), wording.Span(time.Since(f.Modified)), more, a.Text(0))
}

// judgeFile returns the function of a sentence about the file that was looked at.
func judgeFile(judge func(context.Context, *steps.World, *looked, steps.Args) error) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		l := steps.State[looked](w)
		if l.pattern == "" {
			return steps.FailScenario("no step has looked at a file yet: write `I look at the newest file of \"/var/backups/mail-*.tar.zst\"` before this step")
		}
		return judge(ctx, w, l, a)
	}
}

func (l *looked) unexpected(format string, args ...any) error {
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s "+format, append([]any{l.file().Path}, args...)...)
}

func fileIsYounger(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	if err := l.notFromFuture(); err != nil {
		return err
	}
	if age := time.Since(l.file().Modified); age >= limit {
		return l.unexpected("is %s old, wanted younger than %s: the job that writes it has not run, or has failed", wording.Span(age), a.Text(0))
	}
	return nil
}

// notFromFuture refuses a file with a time in the future: its age is unknown.
func (l *looked) notFromFuture() error {
	if ahead := time.Until(l.file().Modified); ahead > steps.ClockTolerance {
		return l.unexpected("was changed %s from now: the clock of this machine, or of the machine that wrote it, is wrong", wording.Span(ahead))
	}
	return nil
}

func fileIsOlder(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	if age := time.Since(l.file().Modified); age <= limit {
		return l.unexpected("is %s old, wanted older than %s", wording.Span(age), a.Text(0))
	}
	return nil
}

// largestFile is the largest size that a sentence may contain, in gigabytes.
const largestFile = 1 << 20

func fileHasAtLeast(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	least, err := steps.ParseSize(a.Text(0), largestFile)
	if err != nil {
		return err
	}
	if size := l.file().Size; size < least {
		return l.unexpected("has %s, wanted at least %s", shownSize(size), a.Text(0))
	}
	return nil
}

func fileHasBetween(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	least, err := steps.ParseSize(a.Text(0), largestFile)
	if err != nil {
		return err
	}
	most, err := steps.ParseSize(a.Text(1), largestFile)
	if err != nil {
		return err
	}
	if most < least {
		return steps.FailScenario("no file has between %s and %s: the first size is larger than the second", a.Text(0), a.Text(1))
	}
	if size := l.file().Size; size < least || size > most {
		return l.unexpected("has %s, wanted between %s and %s", shownSize(size), a.Text(0), a.Text(1))
	}
	return nil
}

func fileIsPlausible(_ context.Context, w *steps.World, l *looked, a steps.Args) error {
	percent, err := a.Number(0)
	if err != nil || percent <= 0 {
		return steps.FailScenario("%s%% is not a share of a size: give one above 0%%", a.Text(0))
	}
	if len(l.files) < 2 {
		return steps.Fail(result.ReasonNotFound, result.BlameMonitor, "there is nothing to compare %s with: no other file matches %q", l.file().Path, l.pattern)
	}
	f, before := l.file(), l.files[1]
	if before.Size == 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "there is nothing to compare %s with: the previous file, %s, is empty", f.Path, before.Path)
	}
	ratio := float64(f.Size) / float64(before.Size)
	w.Measure("file_size_change_ratio", "Size of the newest file divided by that of the previous file.", ratio)
	if 100*ratio < percent {
		return l.unexpected("has %s, which is %.1f%% of the %s of the previous file (%s), wanted at least %s%%", shownSize(f.Size), 100*ratio, shownSize(before.Size), before.Path, a.Text(0))
	}
	w.Note(fmt.Sprintf("%.1f%% of the size of %s", 100*ratio, before.Path))
	return nil
}

func filesAreKept(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	least, err := a.Int(0)
	if err != nil {
		return err
	}
	if n := len(l.files); n < least {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d files match %q, wanted at least %d: the oldest is %s (%s old)", n, l.pattern, least,
			l.files[n-1].Path, wording.Span(time.Since(l.files[n-1].Modified)))
	}
	return nil
}

func noFileIsOlder(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	old := 0
	for _, f := range l.files {
		if time.Since(f.Modified) >= limit {
			old++
		}
	}
	if old == 0 {
		return nil
	}
	oldest := l.files[len(l.files)-1]
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d of the %d files that match %q are older than %s: the oldest, %s, is %s old", old, len(l.files), l.pattern,
		a.Text(0), oldest.Path, wording.Span(time.Since(oldest.Modified)))
}

// readFile reads the file that was looked at, unpacked. Its errors are Failures.
func (l *looked) readFile(ctx context.Context, read func(r io.Reader) error) error {
	ctx, cancel := lifeline.WithEvidenceTime(ctx)
	defer cancel()
	r, err := archive.Open(ctx, l.file().Path)
	if err != nil {
		return l.unreadable(ctx, "read", err)
	}
	defer r.Close()
	if err := read(r); err != nil {
		return l.unreadable(ctx, "read", err)
	}
	return nil
}

// beingWritten is the age below which a file may still be unfinished.
const beingWritten = 2 * time.Minute

// unreadable returns the Failure for a file that cannot be read to its end or has the wrong format.
func (l *looked) unreadable(ctx context.Context, act string, err error) error {
	f := l.file()
	act += " " + f.Path
	truncated, failure := errors.Is(err, archive.ErrTruncated), (*steps.Failure)(nil)
	switch {
	case errors.As(err, &failure):
		return err
	case errors.Is(context.Cause(ctx), steps.ErrStopped):
		return steps.FailNet(ctx, err, result.BlameMonitor, act)
	case ctx.Err() != nil:
		return steps.Fail(result.ReasonTimeout, result.BlameScenario, "%s: the time was not enough to read its %s: give the scenario more with @timeout", act, shownSize(f.Size))
	case errors.Is(err, fs.ErrPermission):
		return steps.FailDenied(act, err)
	case errors.Is(err, fs.ErrNotExist):
		return steps.Fail(result.ReasonNotFound, result.BlameTarget, "%s: the file was removed meanwhile", act)
	case errors.Is(err, archive.ErrProgram):
		return steps.Fail(result.ReasonConfig, result.BlameMonitor, "%s: %w", act, err)
	case truncated && time.Since(f.Modified).Abs() < beingWritten:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s: %w (it was changed %s ago and may still be incomplete)", act, err, wording.Span(time.Since(f.Modified)))
	case truncated, errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrFormat), errors.Is(err, dump.ErrFormat):
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s: %w", act, err)
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "%s: %w", act, err)
}

func fileContains(wanted bool) func(context.Context, *steps.World, *looked, steps.Args) error {
	return func(ctx context.Context, _ *steps.World, l *looked, a steps.Args) error {
		if a.Text(0) == "" {
			return steps.FailScenario("the text is empty, and every file contains it: give a text")
		}
		found := false
		err := l.readFile(ctx, func(r io.Reader) (err error) {
			found, err = contains(r, []byte(a.Text(0)))
			return err
		})
		switch {
		case err != nil:
			return err
		case wanted && !found:
			return l.unexpected("does not contain %s", wording.Quote(a.Text(0)))
		case !wanted && found:
			return l.unexpected("contains %s", wording.Quote(a.Text(0)))
		}
		return nil
	}
}

// contains reports whether r contains text. It holds only a part of r in memory.
func contains(r io.Reader, text []byte) (bool, error) {
	part := make([]byte, 64<<10+len(text))
	kept := 0
	for {
		n, err := r.Read(part[kept:])
		kept += n
		if bytes.Contains(part[:kept], text) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		overlap := min(kept, len(text)-1) // the text may begin in this part and end in the next
		copy(part, part[kept-overlap:kept])
		kept = overlap
	}
}

func fileMatches(ctx context.Context, _ *steps.World, l *looked, a steps.Args) error {
	expression, err := regex.Compile("(?m:"+a.Text(0)+")", 0)
	if err != nil {
		return steps.FailScenario("%q is not a regular expression: %w", a.Text(0), err)
	}
	found := false
	err = l.readFile(ctx, func(r io.Reader) error {
		watched := &watchedReader{of: r}
		found = expression.MatchReader(bufio.NewReader(watched))
		if found {
			return nil
		}
		return watched.err
	})
	if err == nil && !found {
		return l.unexpected("does not match %s", wording.Quote(a.Text(0)))
	}
	return err
}

// watchedReader keeps the error that ended the reading. regexp takes it for the end of the input.
type watchedReader struct {
	of  io.Reader
	err error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.of.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

func fileIsOwned(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	owner := l.file().Owner
	got, name := owner.User(), a.Text(0)
	if strings.Contains(name, ":") {
		got += ":" + owner.Group()
	}
	if got != name {
		return l.unexpected("is owned by %q, wanted %q", got, name)
	}
	return nil
}

func fileHasMode(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	wanted, err := strconv.ParseUint(a.Text(0), 8, 16)
	if err != nil || wanted > 0o7777 {
		return steps.FailScenario("%q is not a mode: write it in octal, as for chmod: \"640\"", a.Text(0))
	}
	mode := l.file().Mode
	got := uint64(mode.Perm())
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&flag != 0 {
			got |= bit
		}
	}
	if got != wanted {
		return l.unexpected("has mode %o (%s), wanted %o", got, mode, wanted)
	}
	return nil
}

func fileIsArchive(ctx context.Context, w *steps.World, l *looked, _ steps.Args) error {
	ctx, cancel := lifeline.WithEvidenceTime(ctx)
	defer cancel()
	c, err := archive.Read(ctx, l.file().Path)
	if err != nil {
		return l.unreadable(ctx, "unpack", err)
	}
	w.Measure("archive_files", "Files in the archive.", float64(c.Files))
	w.Measure("archive_unpacked_bytes", "Unpacked size of the contents of the archive.", float64(c.Bytes))
	w.Note(fmt.Sprintf("%s, %d files, %s unpacked", c.Kind, c.Files, shownSize(c.Bytes)))
	return nil
}

func fileIsDump(read func(context.Context, string) (*dump.Dump, error), of string) func(context.Context, *steps.World, *looked, steps.Args) error {
	return func(ctx context.Context, w *steps.World, l *looked, _ steps.Args) error {
		l.dump = nil
		ctx, cancel := lifeline.WithEvidenceTime(ctx)
		defer cancel()
		d, err := read(ctx, l.file().Path)
		if errors.Is(err, dump.ErrFormat) {
			err = fmt.Errorf("%w (of %s)", err, of)
		}
		if err != nil {
			return l.unreadable(ctx, "read the dump", err)
		}
		l.dump = d
		w.Measure("dump_tables", "Tables that the database dump defines, or, if it defines none, whose rows it holds.", float64(d.Tables))
		note := fmt.Sprintf("%s, %d tables", d.Format, d.Tables)
		if d.Database != "" {
			note += ", of the database " + wording.Quote(d.Database)
		}
		if d.Server != "" {
			note += ", from version " + wording.Excerpt(d.Server)
		}
		w.Note(note)
		return nil
	}
}

func dumpHasTables(_ context.Context, _ *steps.World, l *looked, a steps.Args) error {
	if l.dump == nil {
		return steps.FailScenario("no dump has been read yet: write `the file is a complete PostgreSQL dump` before this step")
	}
	least, err := a.Int(0)
	if err != nil {
		return err
	}
	if l.dump.Tables < least {
		return l.unexpected("has %d tables, wanted at least %d", l.dump.Tables, least)
	}
	return nil
}

// shownSize formats a number of bytes with a suitable unit, in powers of 1024.
func shownSize(bytes int64) string {
	switch n := float64(bytes); {
	case bytes < 1<<10:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f KB", n/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MB", n/(1<<20))
	default:
		return fmt.Sprintf("%.1f GB", n/(1<<30))
	}
}
