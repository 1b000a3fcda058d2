// Package maildir reads a Maildir while other programs deliver into it and read it
// (https://cr.yp.to/proto/maildir.html). It finds new messages, and a message wherever a mail program has moved it. It
// takes no locks, like all other programs. It ignores tmp, where deliveries are not finished, and the folders of
// Maildir++ below, each of which is a Maildir.
package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// Folder is an open Maildir. It is not safe for concurrent use.
type Folder struct {
	root *os.Root
	subs [2]sub
	seen map[string]string // last place of each message by its unique name: "new/1700000000.M1P2.host"
}

// sub is one of the two directories that hold messages.
type sub struct {
	name    string
	changed time.Time // time of the directory's last change, when it was last read
	read    time.Time // time of that read
}

// ErrGone means that a message no longer exists.
var ErrGone = errors.New("the message is gone")

const (
	// settled is how old a change of a directory must be for its time to differ from that of the next change. File
	// systems take the time from a clock that advances every few milliseconds, some only every second or two.
	settled = 3 * time.Second

	// trusted is how long the time of a change is trusted, because it may be that of a file server with a wrong clock.
	trusted = 2 * time.Second

	// entriesLimit is the maximum number of messages in a directory.
	entriesLimit = 1_000_000
)

// Open opens the Maildir at path. The error wraps fs.ErrNotExist when it, or a part of it, does not exist: the first
// delivery creates it.
func Open(path string) (*Folder, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	f := &Folder{root: root, subs: [2]sub{{name: "new"}, {name: "cur"}}, seen: make(map[string]string)}
	for _, s := range f.subs {
		info, err := root.Stat(s.name)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", s.name)
		}
		if err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	return f, nil
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Fresh returns the unique names of the messages that no earlier call has returned; the first call returns all. A
// message that is only moved keeps its name. Directories without changes are not read again.
func (f *Folder) Fresh() (names []string, err error) {
	for i := range f.subs {
		s := &f.subs[i]
		now := time.Now()
		info, err := f.root.Stat(s.name)
		if err != nil {
			return nil, err
		}
		if changed := info.ModTime(); changed.Equal(s.changed) && s.read.Sub(changed) > settled && now.Sub(s.read) < trusted {
			continue
		}
		entries, err := f.entries(s.name)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			name := unique(entry)
			if _, known := f.seen[name]; !known {
				names = append(names, name)
			}
			f.seen[name] = path.Join(s.name, entry)
		}
		s.changed, s.read = info.ModTime(), now
	}
	return names, nil
}

func (f *Folder) entries(dir string) (entries []string, err error) {
	d, err := f.root.Open(dir)
	if err != nil {
		return nil, err
	}
	entries, err = d.Readdirnames(entriesLimit)
	if errors.Is(err, io.EOF) { // it is empty
		err = nil
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	kept := entries[:0]
	for _, entry := range entries {
		if !strings.HasPrefix(entry, ".") { // the standard makes readers skip these
			kept = append(kept, entry)
		}
	}
	return kept, nil
}

// unique returns the part of a file's name that stays when the message is moved or its flags change.
func unique(entry string) string {
	name, _, _ := strings.Cut(entry, ":")
	return name
}

// Delivered returns when a message was delivered: by convention its name begins with that time in seconds. For any
// other name it returns the zero time, and also for a time before Maildirs existed.
func Delivered(name string) time.Time {
	seconds, _, _ := strings.Cut(name, ".")
	if n, err := strconv.ParseInt(seconds, 10, 64); err == nil && n >= 800_000_000 {
		return time.Unix(n, 0)
	}
	return time.Time{}
}

// Read returns the first limit bytes of a message. The error is ErrGone when the message no longer exists.
func (f *Folder) Read(name string, limit int64) (content []byte, err error) {
	err = f.at(name, func(file string) error {
		// The owner of the mailbox may have put anything there, and reading a pipe would not end.
		info, err := f.root.Lstat(file)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", file)
		}
		r, err := f.root.Open(file)
		if err != nil {
			return err
		}
		content, err = io.ReadAll(io.LimitReader(r, limit))
		return errors.Join(err, r.Close())
	})
	return content, err
}

// Remove removes a message, and subtracts it from the mailbox's quota if the Maildir keeps one (Maildir++). A message
// that is already gone is not an error.
func (f *Folder) Remove(name string) error {
	var size int64
	err := f.at(name, func(file string) error {
		info, err := f.root.Lstat(file)
		if err != nil {
			return err
		}
		size = info.Size()
		return f.root.Remove(file)
	})
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	count, err := f.root.OpenFile("maildirsize", os.O_WRONLY|os.O_APPEND, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil // no quota is kept; or others keep it, and recount when it is used up
	case err != nil:
		return err
	}
	_, err = fmt.Fprintf(count, "%d -1\n", -size)
	return errors.Join(err, count.Close())
}

// at calls act with the file of a message, and again if a mail program has moved it meanwhile.
func (f *Folder) at(name string, act func(file string) error) error {
	if file, known := f.seen[name]; known {
		if err := act(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, s := range f.subs {
		entries, err := f.entries(s.name)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if unique(entry) != name {
				continue
			}
			f.seen[name] = path.Join(s.name, entry)
			if err := act(f.seen[name]); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return ErrGone
}
