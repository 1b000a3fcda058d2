// Package fileset finds the files that match a path or a pattern. Unlike filepath.Glob it returns an error when a
// directory cannot be read: an unreadable file is not a missing one.
package fileset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// fileLimit is the number of files that a pattern may match, and that a directory may contain.
const fileLimit = 100_000

// Reasons why files could not be found. Missing rights are fs.ErrPermission.
var (
	ErrPattern  = errors.New("a pattern has * for any text, ? for any one character and [a-z] for one of these")
	ErrTooMany  = fmt.Errorf("more than %d files", fileLimit)
	ErrDangling = errors.New("it is a dangling symbolic link")
)

// File is one file, or a directory with its contents. Symbolic links are followed.
type File struct {
	Path     string
	Modified time.Time // for a directory, the newest time in it, including its own
	Size     int64     // in bytes; for a directory, that of all files in it
	Mode     fs.FileMode
	Owner    Owner
}

// Find returns the files that match a pattern, the newest first, and those of the same age in reverse order of their
// names. No match is not an error. A path without *, ? and [ matches itself.
func Find(ctx context.Context, pattern string) ([]File, error) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, ErrPattern
	}
	paths, err := expand(ctx, pattern)
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(paths))
	for _, path := range paths {
		f, err := look(ctx, path)
		switch {
		case leadsNowhere(err) && isPattern(pattern):
			continue // it was removed after the directory was read, or is a dangling link
		case leadsNowhere(err):
			return nil, ErrDangling
		case err != nil:
			return nil, err
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(b.Modified.Compare(a.Modified), strings.Compare(b.Path, a.Path))
	})
	return files, nil
}

// leadsNowhere reports whether err is that of a dangling link or of a loop of links.
func leadsNowhere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP)
}

// Root returns the directory in which a pattern searches: the part before the first element with a *, ? or [.
func Root(pattern string) string {
	for isPattern(pattern) {
		pattern = filepath.Dir(pattern)
	}
	return pattern
}

func isPattern(path string) bool { return strings.ContainsAny(path, `*?[\`) }

// expand returns the paths that match a pattern.
func expand(ctx context.Context, pattern string) ([]string, error) {
	dir, name := filepath.Split(pattern)
	dir = filepath.Clean(dir)
	if !isPattern(pattern) {
		switch _, err := os.Lstat(pattern); {
		case errors.Is(err, fs.ErrNotExist), missesDirectory(err):
			return nil, nil
		case err != nil:
			return nil, err
		}
		return []string{pattern}, nil
	}
	dirs := []string{dir}
	if isPattern(dir) {
		var err error
		if dirs, err = expand(ctx, dir); err != nil {
			return nil, err
		}
	}
	var found []string
	for _, dir := range dirs {
		err := each(ctx, dir, func(entry string) error {
			if hidden := strings.HasPrefix(entry, ".") && !strings.HasPrefix(name, "."); hidden { // as in a shell
				return nil
			}
			if fits, _ := filepath.Match(name, entry); fits { // the pattern is valid
				found = append(found, filepath.Join(dir, entry))
			}
			if len(found) > fileLimit {
				return ErrTooMany
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !missesDirectory(err) {
			return nil, err
		}
	}
	return found, nil
}

// each calls do with the name of each entry of a directory, without keeping all of them in memory.
func each(ctx context.Context, dir string, do func(entry string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // nothing was written
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if err := do(name); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
	}
}

func look(ctx context.Context, path string) (File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	f := File{Path: path, Modified: info.ModTime(), Size: info.Size(), Mode: info.Mode(), Owner: ownerOf(info)}
	if !info.IsDir() {
		return f, nil
	}
	f.Size = 0
	seen := 0
	err = filepath.WalkDir(path, func(inner string, entry fs.DirEntry, err error) error {
		if seen++; seen > fileLimit {
			return fmt.Errorf("%s contains %w", path, ErrTooMany)
		}
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			f.Size += info.Size()
		}
		if info.ModTime().After(f.Modified) {
			f.Modified = info.ModTime()
		}
		return nil
	})
	return f, err
}
