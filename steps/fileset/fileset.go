// Package fileset finds the files that a path or a pattern of paths stands for. Unlike filepath.Glob it says when a directory
// could not be read: what nobody may see is not the same as what is not there.
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

// Limit is how many files a pattern may stand for, and a directory may hold.
const Limit = 100_000

// Why files could not be found. A lack of rights is fs.ErrPermission.
var (
	ErrPattern  = errors.New("a pattern has * for any text, ? for one letter and [a-z] for one of these")
	ErrTooMany  = fmt.Errorf("more than %d files", Limit)
	ErrDangling = errors.New("it is a link that leads nowhere")
)

// File is one file, or a directory with all that it holds. Links are followed.
type File struct {
	Path     string
	Modified time.Time // of a directory: the newest in it, itself included
	Size     int64     // in bytes; of a directory: of all files in it
	Mode     fs.FileMode
	Owner    Owner
}

// Find gives the files that a pattern stands for, the newest first; of the same age the last by name is first. None is no
// error. A path without *, ? and [ stands for itself.
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
			continue // it went since the directory was read, or is a link to nowhere
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

// leadsNowhere says whether there is nothing behind a link, or nothing but links that go round.
func leadsNowhere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP)
}

// Root is the directory that a pattern looks in: the part of it before the first element with a *, ? or [.
func Root(pattern string) string {
	for isPattern(pattern) {
		pattern = filepath.Dir(pattern)
	}
	return pattern
}

func isPattern(path string) bool { return strings.ContainsAny(path, `*?[\`) }

// expand gives the paths that a pattern stands for.
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
			if hidden := strings.HasPrefix(entry, ".") && !strings.HasPrefix(name, "."); hidden { // as a shell does it
				return nil
			}
			if fits, _ := filepath.Match(name, entry); fits { // the pattern was tried before
				found = append(found, filepath.Join(dir, entry))
			}
			if len(found) > Limit {
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

// each calls do with the name of each entry of a directory, without holding all of them.
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
		if seen++; seen > Limit {
			return fmt.Errorf("%s holds %w", path, ErrTooMany)
		}
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went meanwhile
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
