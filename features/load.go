package features

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Options says where Load reads and what it selects.
type Options struct {
	FS        fs.FS    // file system of the paths, in slash form; nil means the operating system's
	Tags      string   // tag expression such as "@mail and not @every:1m"; empty keeps every scenario
	Sentences []string // more files and directories, of which only the definitions of sentences count
}

// Set is the result of Load: the features with at least one selected scenario, each with only the selected ones.
type Set struct {
	Features  []*Feature
	Sentences []*Sentence // all that the files and those next to them define, whatever is selected
	Broken    []*Feature  // of the files and paths with mistakes, with what is readable of each; they must not run
	Partial   bool        // tags or lines left some scenarios out
	Warnings  []Problem   // valid but likely mistakes, in the order of Error.Problems
}

// Scenarios returns the scenarios of all features, in order.
func (s *Set) Scenarios() []*Scenario {
	var all []*Scenario
	for _, f := range s.Features {
		all = append(all, f.Scenarios...)
	}
	return all
}

// Named reports whether a file of this name, without its directory, counts as a feature in a directory. Names that begin with
// a dot belong to editors: ".#x.feature" is a lock of Emacs.
func Named(name string) bool {
	return (strings.HasSuffix(name, ".feature") || isMarkdown(name)) && !strings.HasPrefix(name, ".")
}

// maxFile limits the memory for a file that is not a feature.
const maxFile = 1 << 20

// Load reads and compiles feature files. A path is a file, a directory (all *.feature and *.feature.md files in it in lexical
// order; files and directories whose names begin with a dot and symbolic links to directories are left out), or either PATH:LINE. The line
// selects
//   - a scenario, by any line of it, its steps with their arguments and its tags included;
//   - all rows of one Examples table, by its keyword, its tags or the header of the table;
//   - one row of an outline, by that row;
//   - all scenarios of a feature or rule, by its keyword, tags, description or background.
//
// A file that is named several times is read once, with the union of its selections. Labels are unique among all content of
// the loaded files, whatever is selected, so a selection changes no label.
//
// Sentences that scenarios tagged @step define are also taken from the files next to a loaded file, and from the directories
// called "steps" in its directory and its parents: up to one called "features", or else up to the working directory, or
// else only in its own directory. So a file means the same if it is loaded alone.
//
// The error is an *Error with every mistake that concerns a whole file or path. Each such path has an entry in Set.Broken, and
// the rest of the Set may run: one file never stops another. A problem without a path is in no file, and nothing is selected.
// Without an error the Set has at least one scenario or sentence. Each has at least one step, unless it has Mistakes.
func Load(paths []string, o Options) (*Set, error) {
	l := loader{fs: o.FS, files: map[string]*file{}}
	filter, err := parseTagExpression(o.Tags)
	if err != nil {
		l.problems = append(l.problems, Problem{Message: err.Error(), Rule: RuleFile})
	}
	if len(paths) == 0 {
		l.problems = append(l.problems, Problem{Message: "no feature file or directory is given", Rule: RuleFile})
	}
	for _, p := range paths {
		l.add(p)
	}
	l.addSentences(o.Sentences)

	set := &Set{}
	beside, shared := make(map[string]bool), make(texts)
	var documents []*document
	for _, f := range l.order {
		d, problems, warnings := read(f.path, f.content, shared)
		l.problems = append(l.problems, inOrder(problems)...)
		if beside[f.path] = f.beside; !f.beside {
			set.Warnings = append(set.Warnings, inOrder(warnings)...)
		}
		if d == nil {
			continue
		}
		for _, u := range d.defined {
			u.sentence.Named = !f.beside
			set.Sentences = append(set.Sentences, u.sentence)
		}
		if d.lines, d.asked = f.lines, f.asked; !f.beside && (len(d.units) > 0 || d.lines != nil) {
			documents = append(documents, d)
		}
	}
	set.Warnings = append(set.Warnings, qualify(documents)...)

	selected := false
	for _, d := range documents {
		units, problems := d.selected()
		if d.broken {
			set.Broken = append(set.Broken, d.checked(units, filter))
			continue
		}
		set.Partial = set.Partial || len(units) < len(d.units)
		l.problems = append(l.problems, problems...)
		for _, u := range units {
			if filter != nil && !filter(u.scenario.Tags) {
				set.Partial = true
				continue
			}
			selected = true
			if err := u.scenario.checkSource(u.pickle); err != nil {
				u.scenario.Mistakes = append(u.scenario.Mistakes, Problem{d.feature.Path, u.scenario.Line, 1, err.Error(), RuleSyntax})
			}
			d.feature.Scenarios = append(d.feature.Scenarios, u.scenario)
		}
		if len(d.feature.Scenarios) > 0 {
			set.Features = append(set.Features, d.feature)
		}
	}
	if !selected && len(l.problems) == 0 && (len(documents) > 0 || len(set.Sentences) == 0) {
		l.problems = append(l.problems, Problem{Message: fmt.Sprintf("no scenario has tags that match %q", o.Tags), Rule: RuleFile})
	}
	if len(l.problems) > 0 {
		set.Broken = append(set.Broken, unread(l.problems, set.Broken, beside)...)
		return set, &Error{l.problems}
	}
	return set, nil
}

// unread returns a feature for each path with problems of which nothing could be read.
func unread(problems []Problem, read []*Feature, beside map[string]bool) (all []*Feature) {
	known := func(path string) bool {
		return slices.ContainsFunc(slices.Concat(read, all), func(f *Feature) bool { return f.Path == path })
	}
	for _, p := range problems {
		if p.Path != "" && !beside[p.Path] && !known(p.Path) {
			all = append(all, &Feature{Path: p.Path, Name: p.Path, Line: 1})
		}
	}
	return all
}

// checked returns the feature of a broken document with the scenarios that the filter selects.
func (d *document) checked(units []unit, filter func([]Tag) bool) *Feature {
	for _, u := range units {
		if filter == nil || filter(u.scenario.Tags) {
			d.feature.Scenarios = append(d.feature.Scenarios, u.scenario)
		}
	}
	return d.feature
}

// loader collects the files that paths name.
type loader struct {
	fs       fs.FS // nil for that of the operating system
	files    map[string]*file
	order    []*file
	beside   bool // the current file was not asked for: only its sentences count
	quiet    bool // the current file need not be readable: it may have nothing to do with stepwatch
	listed   bool // the current file is one of a directory: it may have been removed since
	problems []Problem
}

// links reports whether a name exists, as a link to nothing does.
func (l *loader) links(name string) bool {
	if l.fs != nil {
		return false
	}
	_, err := os.Lstat(name)
	return err == nil
}

// file is one file, read but not parsed.
type file struct {
	path    string
	content []byte
	lines   []int // the selecting lines; nil selects everything
	asked   []int // all lines that were given
	beside  bool  // it was not asked for: only its sentences count
}

// fail records that a path cannot be loaded.
func (l *loader) fail(name, format string, args ...any) {
	l.problems = append(l.problems, Problem{Path: name, Message: fmt.Sprintf(format, args...), Rule: RuleFile})
}

// add reads one path.
func (l *loader) add(name string) {
	info, err := l.stat(name)
	line := 0
	if err != nil {
		// Only a path that does not exist can be a selection: a colon and digits may be part of a file name.
		if at, n, found := cutLine(name); found {
			if info, err = l.stat(at); err == nil {
				name, line = at, n
			}
		}
	}
	switch {
	case err != nil && l.pasted(name) != "":
		l.fail(name, "only a line can be selected: write %s", l.pasted(name))
	case err != nil:
		l.fail(name, "%s", reason(err))
	case !info.IsDir():
		l.read(name, line)
	case line > 0:
		l.fail(name, "a line can be selected only in a file, but this is a directory")
	default:
		l.walk(name)
	}
}

// pasted returns PATH:LINE of PATH:LINE:COLUMN, the printed place of a problem, or "" for anything else.
func (l *loader) pasted(name string) string {
	selection, _, column := cutLine(name)
	file, _, line := cutLine(selection)
	if !column || !line {
		return ""
	}
	if _, err := l.stat(file); err != nil {
		return ""
	}
	return selection
}

// cutLine splits PATH:LINE.
func cutLine(name string) (file string, line int, found bool) {
	colon := strings.LastIndexByte(name, ':')
	if colon <= 0 {
		return name, 0, false
	}
	line, err := strconv.Atoi(name[colon+1:])
	if err != nil || line <= 0 {
		return name, 0, false
	}
	return name[:colon], line, true
}

// reason returns the text of a file system error without the operation and path.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file or directory"
	}
	return "cannot be read: " + err.Error()
}

func (l *loader) stat(name string) (fs.FileInfo, error) {
	if l.fs != nil {
		return fs.Stat(l.fs, path.Clean(name))
	}
	return os.Stat(name)
}

// walk reads the features in a directory and its subdirectories.
func (l *loader) walk(dir string) {
	root, start, join := l.fs, path.Clean(dir), func(p string) string { return p }
	if root == nil {
		// Through the directory itself, so that a symbolic link works.
		root, start, join = os.DirFS(dir), ".", func(p string) string { return filepath.Join(dir, p) }
	}
	found := false
	err := fs.WalkDir(root, start, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && p != start: // removed since it was listed
		case err != nil:
			l.fail(join(p), "%s", reason(err))
			found = true // the unreadable part may contain features
			return nil
		case entry.IsDir():
			if p != start && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
		case Named(entry.Name()):
			found = true
			l.listed = true
			l.read(join(p), 0)
			l.listed = false
		}
		return nil
	})
	if err != nil {
		l.fail(dir, "%s", reason(err))
	} else if !found && !l.beside {
		l.fail(dir, "the directory contains no .feature file")
	}
}

// read reads one file. line 0 selects all of it.
func (l *loader) read(name string, line int) {
	key := l.key(name)
	if f, known := l.files[key]; known {
		if l.beside {
			return
		}
		if line == 0 {
			f.lines = nil
			return
		}
		if f.lines != nil {
			f.lines = append(f.lines, line)
		}
		f.asked = append(f.asked, line)
		return
	}
	content, err := l.content(name)
	if err != nil && (l.quiet || l.listed && errors.Is(err, fs.ErrNotExist) && !l.links(name)) {
		return
	}
	if err != nil {
		l.files[key] = &file{} // reported once, even if named several times
		l.fail(name, "%s", reason(err))
		return
	}
	if l.beside && !bytes.Contains(content, []byte("@"+definitionTag)) {
		return
	}
	f := &file{path: name, content: content, beside: l.beside}
	if line > 0 {
		f.lines, f.asked = []int{line}, []int{line}
	}
	l.files[key] = f
	l.order = append(l.order, f)
}

// key returns the same key for all names of one file.
func (l *loader) key(name string) string {
	if l.fs == nil {
		if absolute, err := filepath.Abs(name); err == nil {
			return absolute
		}
	}
	return filepath.Clean(name)
}

// addSentences reads the definitions next to the requested files, and those in more.
func (l *loader) addSentences(more []string) {
	l.beside = true
	defer func() { l.beside = false }()
	seen := map[string]bool{}
	for _, f := range slices.Clone(l.order) {
		dir := filepath.Dir(f.path)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		entries, err := l.readDir(dir)
		if err != nil {
			continue // its requested files were read nevertheless
		}
		l.quiet = true
		for _, entry := range entries {
			if Named(entry.Name()) && !entry.IsDir() {
				l.read(filepath.Join(dir, entry.Name()), 0)
			}
		}
		l.quiet = false
		for _, above := range l.above(dir) {
			steps := filepath.Join(above, "steps")
			if info, err := l.stat(steps); err == nil && info.IsDir() && !seen[l.key(steps)] {
				seen[l.key(steps)] = true
				l.walk(steps)
			}
		}
	}
	for _, name := range more {
		l.add(name)
	}
}

// SentenceDirs returns the directories, existing or not, in which Load looks for the sentences of a feature in dir, in
// addition to dir itself.
func SentenceDirs(dir string) []string {
	dirs := (&loader{}).above(dir)
	for i := range dirs {
		dirs[i] = filepath.Join(dirs[i], "steps")
	}
	return dirs
}

// above lists the directories whose "steps" a feature in dir uses, dir itself first.
func (l *loader) above(dir string) []string {
	working, here := ".", filepath.Clean(dir)
	if l.fs == nil {
		var errs [2]error
		working, errs[0] = os.Getwd()
		here, errs[1] = filepath.Abs(dir)
		if errs[0] != nil || errs[1] != nil {
			return []string{dir}
		}
	}
	all := []string{dir}
	toWorking := 0 // how many of them are in the working directory
	for {
		if filepath.Base(here) == "features" {
			return all
		}
		if here == working {
			toWorking = len(all)
		}
		up := filepath.Dir(here)
		if up == here {
			return all[:max(1, toWorking)]
		}
		here, dir = up, filepath.Join(dir, "..")
		all = append(all, dir)
	}
}

func (l *loader) readDir(dir string) ([]fs.DirEntry, error) {
	if l.fs != nil {
		return fs.ReadDir(l.fs, filepath.ToSlash(dir))
	}
	return os.ReadDir(dir)
}

func (l *loader) content(name string) ([]byte, error) {
	info, err := l.stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would block
		return nil, errors.New("it is not a regular file")
	}
	var r io.ReadCloser
	if l.fs != nil {
		r, err = l.fs.Open(path.Clean(name))
	} else {
		r, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close() // nothing was written
	content := make([]byte, 0, min(info.Size(), maxFile)+1)
	for {
		n, err := r.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		switch {
		case len(content) > maxFile:
			return nil, errors.New("it is larger than 1 MiB: split it into several features")
		case err == io.EOF:
			return content, nil
		case err != nil:
			return nil, err
		case len(content) == cap(content):
			content = slices.Grow(content, len(content))
		}
	}
}
