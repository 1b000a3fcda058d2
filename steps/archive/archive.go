// Package archive reads compressed files and archives to their end, as a restore would, and checks that they are
// complete. It holds only a window of them in memory.
//
// It supports gzip, bzip2, zstd (RFC 8878) and zip by itself, xz and lz4 through their programs, and tar in any of
// them.
package archive

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/stepwatch/stepwatch/steps/program"
)

// Reasons why a file is not a complete archive. Errors wrap one of them, an error of the file system or the context's.
var (
	ErrFormat    = errors.New("it is not an archive of a known format")
	ErrTruncated = errors.New("it is truncated")
	ErrDamaged   = errors.New("it is damaged")
	ErrProgram   = errors.New("it cannot be unpacked here")
)

// maxWindow is the largest window of a zstd file, in bytes: that of "zstd --ultra -22" and "--long".
const maxWindow = 128 << 20

// Content describes a complete archive.
type Content struct {
	Kind  string // "gzip", "tar with zstd", "zip"
	Files int    // number of files; 1 for a single compressed file
	Bytes int64  // unpacked size of all files
}

// Reader reads a file and unpacks it. It returns an uncompressed file unchanged.
type Reader struct {
	Kind string // "gzip", "bzip2", "zstd", "xz", "lz4"; empty when it is not compressed

	unpacked *bufio.Reader
	close    []func()
}

// Open opens a file. Reading fails with ErrTruncated or ErrDamaged, or with the context's error when that ends.
func Open(ctx context.Context, path string) (*Reader, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	r, err := Unpack(ctx, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.close = append(r.close, func() { _ = f.Close() }) // nothing was written
	return r, nil
}

// openRegular opens only regular files: opening another one, such as a pipe, may block.
func openRegular(path string) (*os.File, error) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%w: it is a directory", ErrFormat)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is not a regular file (%s)", ErrFormat, info.Mode().Type())
	}
	return os.Open(path)
}

// Unpack returns a Reader that unpacks packed.
func Unpack(ctx context.Context, packed io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(&patient{ctx, packed}, 64<<10)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	r := &Reader{}
	var unpacked io.Reader = in
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		r.Kind = "gzip"
		unpacked, err = gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte("BZh")):
		r.Kind = "bzip2"
		unpacked, err = bzip2.NewReader(in), nil
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		r.Kind = "zstd"
		var d *zstd.Decoder
		d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			unpacked = d
			r.close = append(r.close, d.Close)
		}
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		r.Kind = "xz"
		unpacked, err = r.through(ctx, in, "xz"), nil
	case bytes.HasPrefix(head, []byte("\x04\x22\x4d\x18")):
		r.Kind = "lz4"
		unpacked, err = r.through(ctx, in, "lz4"), nil
	default:
		err = nil
	}
	if err != nil {
		return nil, judge(err)
	}
	r.unpacked = bufio.NewReaderSize(&judged{unpacked}, 64<<10)
	return r, nil
}

// Read reads the unpacked bytes.
func (r *Reader) Read(p []byte) (int, error) { return r.unpacked.Read(p) }

// ReadSlice is like that of bufio.Reader.
func (r *Reader) ReadSlice(delimiter byte) ([]byte, error) { return r.unpacked.ReadSlice(delimiter) }

// Peek is like that of bufio.Reader: it returns the next bytes without advancing.
func (r *Reader) Peek(n int) ([]byte, error) { return r.unpacked.Peek(n) }

// Close ends the reading. It may be called before the end.
func (r *Reader) Close() {
	for _, c := range r.close {
		c()
	}
	r.close = nil
}

// through unpacks in through the program called name.
func (r *Reader) through(ctx context.Context, in io.Reader, name string) io.Reader {
	ctx, cancel := context.WithCancel(ctx)
	out, into := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended, err := program.Run(ctx, program.Command{Path: name, Args: []string{"-d", "-c"}, Env: []string{"LC_ALL=C"}, Input: in, Stdout: into})
		switch {
		case err != nil && ended == nil:
			err = fmt.Errorf("%w: %w", ErrProgram, err)
		case err == nil && ended.ExitCode != 0:
			said, _, _ := bytes.Cut(bytes.TrimSpace(ended.Stderr), []byte("\n"))
			fault := ErrDamaged
			if bytes.Contains(said, []byte("nexpected end")) || bytes.Contains(said, []byte("nfinished")) {
				fault = ErrTruncated
			}
			err = fmt.Errorf("%w: %.200s", fault, said)
		}
		_ = into.CloseWithError(err) // it never fails
	}()
	r.close = append(r.close, func() {
		cancel()
		_ = out.Close() // it never fails
		<-done
	})
	return out
}

// patient stops reading when ctx ends.
type patient struct {
	ctx context.Context
	of  io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.of.Read(b)
}

// judged classifies the errors of unpacking.
type judged struct{ of io.Reader }

func (j *judged) Read(p []byte) (int, error) {
	n, err := j.of.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
		err = judge(err)
	}
	return n, err
}

func judge(err error) error {
	var path *os.PathError
	switch {
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrTruncated), errors.Is(err, ErrProgram), errors.As(err, &path),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ErrTruncated
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch):
		return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	case errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("%w: there is other data after its end", ErrDamaged)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: it needs more than %d MB of memory", ErrProgram, maxWindow>>20)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// Read reads an archive, or one compressed file, to its end, and checks its checksums.
func Read(ctx context.Context, path string) (*Content, error) {
	if kind, err := kindOf(path); err != nil {
		return nil, err
	} else if kind == "zip" {
		return readZip(ctx, path)
	}
	r, err := Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.all(nil)
}

// kindOf returns "zip" or "". It opens the file, so that an unreadable file is never reported as something else.
func kindOf(path string) (string, error) {
	f, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return "", fmt.Errorf("%w: it is empty", ErrTruncated)
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return "", err
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return "zip", nil
	}
	return "", nil
}

// Each calls do with each file of a tar archive. do need not read the content. Each returns ErrFormat if it is not a
// tar archive.
func (r *Reader) Each(do func(name string, content io.Reader) error) (*Content, error) {
	if !r.isTar() {
		return nil, ErrFormat
	}
	return r.all(do)
}

// isTar detects POSIX and GNU archives by the magic in the first header.
func (r *Reader) isTar() bool {
	head, _ := r.Peek(262) // a shorter file is not one
	return len(head) == 262 && bytes.Equal(head[257:], []byte("ustar"))
}

func (r *Reader) all(do func(name string, content io.Reader) error) (*Content, error) {
	if !r.isTar() {
		if r.Kind == "" {
			return nil, ErrFormat
		}
		n, err := io.Copy(io.Discard, r.unpacked)
		return &Content{Kind: r.Kind, Files: 1, Bytes: n}, err
	}
	c := &Content{Kind: "tar"}
	if r.Kind != "" {
		c.Kind = "tar with " + r.Kind
	}
	counted := &counter{of: r.unpacked}
	t := tar.NewReader(counted)
	for {
		before := counted.n
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			// An archive ends with two blocks of zeros (POSIX pax, "ustar Interchange Format"). One truncated between
			// two files ends without them, which the tar package accepts.
			if counted.n-before < 1024 {
				return c, fmt.Errorf("%w: the end of the tar archive is missing after %d files", ErrTruncated, c.Files)
			}
			_, err = io.Copy(io.Discard, r.unpacked)
			return c, err
		}
		if err != nil {
			return c, tarError(err)
		}
		if header.Typeflag == tar.TypeReg {
			c.Files++
		}
		content := &judged{t}
		if do != nil {
			if err := do(header.Name, content); err != nil {
				return c, err
			}
		}
		n, err := io.Copy(io.Discard, content)
		c.Bytes += n
		if err != nil {
			return c, err
		}
	}
}

func tarError(err error) error {
	if errors.Is(err, tar.ErrHeader) {
		return fmt.Errorf("%w: the tar archive has an invalid header", ErrDamaged)
	}
	return judge(err)
}

type counter struct {
	of io.Reader
	n  int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.of.Read(p)
	c.n += int64(n)
	return n, err
}

func readZip(ctx context.Context, path string) (*Content, error) {
	z, err := zip.OpenReader(path)
	switch {
	case errors.Is(err, zip.ErrFormat):
		return nil, fmt.Errorf("%w: the directory at the end of the zip archive is missing", ErrTruncated)
	case err != nil:
		return nil, judge(err)
	}
	defer z.Close() //nolint:errcheck // nothing was written
	c := &Content{Kind: "zip"}
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		if f.Flags&1 != 0 {
			return c, fmt.Errorf("%w: %.80q is encrypted", ErrProgram, f.Name)
		}
		content, err := f.Open()
		if err != nil {
			return c, fmt.Errorf("%w: %.80q: %w", ErrDamaged, f.Name, err)
		}
		n, err := io.Copy(io.Discard, &patient{ctx, content})
		c.Files++
		c.Bytes += n
		if err := errors.Join(err, content.Close()); err != nil {
			if ctx.Err() != nil {
				return c, ctx.Err()
			}
			return c, fmt.Errorf("%w: %.80q: %w", ErrDamaged, f.Name, err)
		}
	}
	return c, nil
}
